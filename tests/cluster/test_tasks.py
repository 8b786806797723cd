"""Price downloads on Ray: the same prices as in threads, one request a symbol, one budget for all workers."""

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_yahoo import FakeYahoo, made_up_bars, running_fake

from workbench.market.remote import fetch_in_threads
from workbench.market.store import PriceStore

SYMBOLS = [f"S{number:02d}" for number in range(20)]
DAYS = (dt.date(2022, 1, 3), dt.date(2022, 3, 1))
PER_SECOND = 4


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeYahoo]:
    with running_fake() as yahoo:
        yahoo.add(made_up_bars(SYMBOLS))
        monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("WORKBENCH_YAHOO_URL", yahoo.url)
        monkeypatch.setenv("WORKBENCH_YAHOO_PER_SECOND", str(PER_SECOND))
        monkeypatch.setenv("WORKBENCH_YAHOO_BACKOFF", "0.01")
        yield yahoo


@pytest.mark.usefixtures("ray_with_two_workers")
def test_ray_gives_the_prices_of_threads_within_one_budget(fake: FakeYahoo, tmp_path: Path) -> None:
    from workbench.cluster.tasks import fetch_on_ray

    fake.behave("S07", "gone")
    on_ray = PriceStore(tmp_path / "ray")
    done = on_ray.ensure(SYMBOLS, *DAYS, fetch_on_ray)
    assert [one.status for one in done].count("ok") == len(SYMBOLS) - 1
    assert done[7].status == "missing"
    assert set(fake.chart_requests().values()) == {1}
    assert fake.most_in_one_second() <= PER_SECOND
    os.environ["WORKBENCH_YAHOO_PER_SECOND"] = "500"
    in_threads = PriceStore(tmp_path / "threads")
    in_threads.ensure(SYMBOLS, *DAYS, fetch_in_threads)
    first, second = (store.matrix(SYMBOLS) for store in (on_ray, in_threads))
    assert first.values.tobytes() == second.values.tobytes()
    assert first.source.sha256 == second.source.sha256


def test_a_ray_that_cannot_be_reached_is_one_line(fake: FakeYahoo, tmp_path: Path) -> None:
    environment = dict(os.environ, RAY_ADDRESS="127.0.0.1:9")
    command = [sys.executable, "-m", "workbench", "prices", "fetch", "--symbols", "S01", "--engine", "ray"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 3
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("workbench:")]
    assert len(lines) == 1
    assert "127.0.0.1:9" in lines[0]
    assert "Traceback" not in done.stderr
