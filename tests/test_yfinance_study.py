"""A study on Yahoo's prices, end to end: real yfinance against a local fake, through the store, the report and the command line."""

import datetime as dt
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from fake_yahoo import FakeYahoo, made_up_bars, real_bars, running_fake

from workbench import StudyConfig, load_market, run_study
from workbench.market.remote import fetch_in_threads
from workbench.market.store import PriceStore
from workbench.universe import universe_by_month

SYMBOLS = ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF"]
DAYS = ("2022-02-01", "2022-03-31")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeYahoo]:
    """A fake Yahoo, and a workbench home of its own."""
    with running_fake() as yahoo:
        monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("WORKBENCH_YAHOO_URL", yahoo.url)
        monkeypatch.setenv("WORKBENCH_YAHOO_PER_SECOND", "500")
        monkeypatch.setenv("WORKBENCH_YAHOO_BACKOFF", "0.01")
        monkeypatch.setenv("WORKBENCH_YAHOO_TIMEOUT", "2")
        yield yahoo


def table(folder: Path, symbols: list[str]) -> Path:
    """A sentiment table in which every symbol qualifies."""
    rows = [
        (day, symbol, 50.0, 20.0 + place, 100.0, 1000.0, None)
        for day in pd.date_range(*DAYS, freq="3D").strftime("%Y-%m-%d")
        for place, symbol in enumerate(symbols)
    ]
    names = "date,symbol,twitterPosts,twitterComments,twitterLikes,twitterImpressions,twitterSentiment".split(",")
    path = folder / "table.csv"
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)
    return path


def served(fake: FakeYahoo, symbols: list[str]) -> None:
    fake.add(made_up_bars([*symbols, "QQQ"], days=90))


def workbench(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=dict(os.environ), capture_output=True, text=True, timeout=300)


@pytest.mark.real
def test_a_study_through_yfinance_equals_the_same_study_on_the_file(fake: FakeYahoo, real_data: Path) -> None:
    fake.add(real_bars(real_data))
    sentiment = real_data / "sentiment_data.csv"
    through = run_study(StudyConfig(), load_market(sentiment, "yfinance"))
    on_file = run_study(StudyConfig(), load_market(sentiment, real_data / "prices.csv.gz"))
    assert (through.returns - on_file.returns).abs().to_numpy().max() < 1e-10
    assert through.selection == on_file.selection
    for name, value in on_file.summary.items():
        assert through.summary[name] == pytest.approx(value, abs=1e-10), name
    assert through.published is not None
    assert max(fake.chart_requests().values()) == 1
    # Run again from what it stores: nothing is asked, and it is the same market to the last bit.
    fake.forget()
    again = load_market(sentiment, through.provenance["prices"])
    assert again.prices.source.sha256 == through.provenance["prices_sha256"]
    assert run_study(StudyConfig(), again).returns.equals(through.returns)
    assert fake.requests() == []


def test_five_symbols_that_fail_in_five_ways_are_named_and_the_rest_is_priced(fake: FakeYahoo, tmp_path: Path) -> None:
    bad = {"GONE": "gone", "LIMITED": "limited", "BROKEN": "broken", "CUT": "truncated", "VOID": "empty"}
    many = [f"A{number:02d}" for number in range(80)]
    served(fake, [*many, *bad])
    for symbol, kind in bad.items():
        fake.behave(symbol, kind)
    sentiment = table(tmp_path, [*many, *bad])
    done = workbench(
        "report", "--sentiment", sentiment, "--prices", "yfinance", "--top-n", 8, "-o", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    page = Path(tmp_path, done.stdout.strip())
    study = json.loads(page.with_suffix(".json").read_text())
    unpriced = {loss["symbol"]: loss["reason"] for loss in study["losses"] if loss["kind"] == "not_priced"}
    assert set(unpriced) == set(bad)
    assert unpriced["GONE"].startswith("missing")
    assert unpriced["LIMITED"].startswith("limited")
    assert unpriced["BROKEN"].startswith("error")
    text = page.read_text()
    for symbol, reason in unpriced.items():
        assert symbol in text
        assert reason.split(";")[0].replace("'", "&#x27;") in text or reason.split(";")[0] in text
    assert "-100.00 %" in text
    assert study["provenance"]["prices"].startswith("snapshot:")
    verified = workbench("verify", page.with_suffix(".ipynb"), cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_when_everything_fails_the_store_stays_as_it_was(fake: FakeYahoo, tmp_path: Path) -> None:
    served(fake, SYMBOLS)
    for symbol in [*SYMBOLS, "QQQ"]:
        fake.behave(symbol, "gone")
    done = workbench("backtest", "--sentiment", table(tmp_path, SYMBOLS), "--prices", "yfinance", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert list((tmp_path / "home" / "prices" / "symbols").glob("*")) == []
    assert list((tmp_path / "home" / "prices" / "objects").glob("*")) == []


def test_a_symbol_that_could_not_be_updated_is_named_and_not_called_delisted(fake: FakeYahoo, tmp_path: Path) -> None:
    served(fake, SYMBOLS)
    sentiment = table(tmp_path, SYMBOLS)
    names = ",".join([*SYMBOLS, "QQQ"])
    days = ("--start", "2021-01-01", "--end", "2022-02-20")
    assert workbench("prices", "fetch", "--symbols", names, *days, cwd=tmp_path).returncode == 0
    fake.behave("AAA", "broken")
    fake.behave("BBB", "limited")
    study = ("--sentiment", sentiment, "--prices", "yfinance", "--top-n", 6)
    done = workbench("backtest", *study, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    losses = json.loads(done.stdout)["losses"]
    found = {loss["symbol"]: loss["reason"] for loss in losses if loss["kind"] == "not_updated"}
    assert set(found) == {"AAA", "BBB"}
    assert found["AAA"].startswith("error")
    assert found["BBB"].startswith("limited")
    assert "2022-02-18" in found["AAA"]
    name = json.loads(done.stdout)["provenance"]["prices"]
    universe = universe_by_month(load_market(sentiment, name))
    assert universe.loc["2022-03", "not_updated"] == 2
    assert universe.loc["2022-03", "delisted"] == 0


def test_when_everybody_fails_old_bars_do_not_pass_for_new_ones(fake: FakeYahoo, tmp_path: Path) -> None:
    served(fake, SYMBOLS)
    names = ",".join([*SYMBOLS, "QQQ"])
    days = ("--start", "2021-01-01", "--end", "2022-02-20")
    assert workbench("prices", "fetch", "--symbols", names, *days, cwd=tmp_path).returncode == 0
    for symbol in [*SYMBOLS, "QQQ"]:
        fake.behave(symbol, "broken")
    done = workbench("backtest", "--sentiment", table(tmp_path, SYMBOLS), "--prices", "yfinance", cwd=tmp_path)
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1
    fetched = workbench("prices", "fetch", "--symbols", names, "--start", "2021-01-01", cwd=tmp_path)
    assert fetched.returncode == 3


def test_rows_of_an_answer_that_are_no_bars_are_counted(fake: FakeYahoo, tmp_path: Path) -> None:
    bars = made_up_bars([*SYMBOLS, "QQQ"], days=90)
    gone = (bars["symbol"] == "CCC") & (bars["date"].astype(str) == "2022-02-15")
    assert gone.sum() == 1
    bars.loc[gone, ["open", "high", "low", "close", "adj_close"]] = None
    fake.add(bars)
    market = load_market(table(tmp_path, SYMBOLS), "yfinance")
    found = [(loss.symbol, loss.count, loss.first) for loss in market.losses if loss.kind == "no_close"]
    assert found == [("CCC", 1, "2022-02-15")]
    again = load_market(table(tmp_path, SYMBOLS), market.prices.source.name)
    assert again.losses == market.losses


def test_a_benchmark_without_prices_is_one_line(fake: FakeYahoo, tmp_path: Path) -> None:
    served(fake, SYMBOLS)
    fake.behave("QQQ", "gone")
    done = workbench("backtest", "--sentiment", table(tmp_path, SYMBOLS), "--prices", "yfinance", cwd=tmp_path)
    assert done.returncode == 3
    assert "benchmark QQQ" in done.stderr


def test_prices_are_fetched_shown_and_checked_from_the_command_line(fake: FakeYahoo, tmp_path: Path) -> None:
    served(fake, SYMBOLS)
    fake.behave("FFF", "gone")
    days = ("--start", "2022-01-03", "--end", "2022-04-01")
    first = workbench("prices", "fetch", "--symbols", ",".join(SYMBOLS), *days, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "5 of 6 symbols are stored" in first.stdout
    assert "FFF" in first.stdout
    fake.forget()
    again = workbench("prices", "fetch", "--symbols", ",".join(SYMBOLS), *days, cwd=tmp_path)
    assert again.returncode == 0
    assert fake.chart_requests() == {}
    shown = workbench("prices", "status", cwd=tmp_path)
    assert all(symbol in shown.stdout for symbol in SYMBOLS)
    assert workbench("prices", "verify", cwd=tmp_path).returncode == 0
    damaged = next((tmp_path / "home" / "prices" / "objects").glob("AAA*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    found = workbench("prices", "verify", cwd=tmp_path)
    assert found.returncode == 1
    assert "AAA" in found.stdout
    healed = workbench("prices", "fetch", "--symbols", "AAA", *days, cwd=tmp_path)
    assert healed.returncode == 0, healed.stderr
    assert fake.chart_requests() == {"AAA": 1}
    assert workbench("prices", "verify", cwd=tmp_path).returncode == 0


def test_requests_are_those_that_are_needed_and_no_more(fake: FakeYahoo, tmp_path: Path) -> None:
    served(fake, SYMBOLS)
    store = PriceStore(tmp_path / "store")
    start, end = dt.date(2022, 1, 3), dt.date(2022, 4, 14)

    def requests(last: dt.date) -> set[int]:
        fake.forget()
        done = store.ensure(SYMBOLS, start, last, fetch_in_threads)
        assert {one.status for one in done} == {"ok"}
        return {fake.chart_requests()[symbol] for symbol in SYMBOLS}

    assert requests(end) == {1}
    assert requests(end) == {0}
    for symbol in SYMBOLS:
        fake.add_day(symbol, "2022-05-10", open=10.0, high=10.0, low=10.0, close=10.0, adj_close=10.0, volume=5.0)
    assert requests(dt.date(2022, 5, 10)) == {1}
    for symbol in SYMBOLS:
        fake.add_day(symbol, "2022-05-11", open=9.0, high=9.0, low=9.0, close=9.0, adj_close=9.0, volume=5.0)
        fake.pay_dividend(symbol, "2022-05-11", 1.0)
    assert requests(dt.date(2022, 5, 11)) == {2}
    for symbol in SYMBOLS:
        expected = fake.served(symbol, "2022-01-03", "2022-05-11")["adj_close"].to_numpy()
        assert store.read(symbol).column("adj_close") == pytest.approx(expected, rel=1e-12)


def test_eight_processes_that_fetch_overlapping_symbols_ask_once_for_each(fake: FakeYahoo, tmp_path: Path) -> None:
    names = [f"P{number:02d}" for number in range(16)]
    fake.add(made_up_bars(names))
    days = ["--start", "2022-01-03", "--end", "2022-03-01"]
    commands = [
        [sys.executable, "-m", "workbench", "prices", "fetch", "--symbols", ",".join(names[k : k + 9]), *days]
        for k in range(8)
    ]
    running = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert fake.chart_requests() == dict.fromkeys(names, 1)
    stored = PriceStore.default().matrix(names)
    assert stored.symbols == tuple(names)
    assert PriceStore.default().verify(gaps=False) == []


def test_a_fetch_that_is_killed_at_any_moment_is_completed_by_the_next(fake: FakeYahoo, tmp_path: Path) -> None:
    names = [f"K{number:02d}" for number in range(12)]
    fake.add(made_up_bars(names))
    fetch = ["prices", "fetch", "--symbols", ",".join(names), "--start", "2022-01-03", "--end", "2022-03-01"]
    whole = PriceStore(tmp_path / "whole")
    whole.ensure(names, dt.date(2022, 1, 3), dt.date(2022, 3, 1), fetch_in_threads)
    expected = whole.matrix(names).values.tobytes()
    moments = random.Random(7)
    for _ in range(50 if os.environ.get("WORKBENCH_FULL") else 5):
        shutil.rmtree(tmp_path / "home", ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *fetch],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        fake.forget()
        while process.poll() is None and not fake.requests():
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.4))
        process.kill()
        process.wait()
        # A file that was written and not yet named by a manifest may lie there unused; none may be damaged.
        assert {finding.kind for finding in PriceStore.default().verify(gaps=False)} <= {"unused"}
        assert workbench(*fetch, cwd=tmp_path).returncode == 0
        assert PriceStore.default().matrix(names).values.tobytes() == expected


def test_stocks_can_be_asked_for_without_a_table(fake: FakeYahoo, tmp_path: Path) -> None:
    served(fake, SYMBOLS)
    days = ("--start", "2022-02-01", "--end", "2022-03-31")
    done = workbench("stocks", "AAA", "BBB", "--prices", "yfinance", *days, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "AAA" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["prices", "fetch"], "--symbols"),
        (["prices", "fetch", "--symbols", ","], "symbols"),
        (["prices", "fetch", "--symbols", "A", "--start", "2024-02-30"], "start"),
        (["prices", "fetch", "--symbols", "A", "--start", "2024-02-01", "--end", "2024-01-01"], "start"),
        (["prices", "fetch", "--symbols", "A", "--engine", "dask"], "engine"),
        (["backtest", "--prices", "snapshot:none"], "snapshot"),
        (["backtest", "--prices", "yfinance"], "simulated"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(fake: FakeYahoo, tmp_path: Path, arguments: list[str], word: str) -> None:
    done = workbench(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert fake.requests() == []
