"""Sweeps on Ray: the bytes of a local one, also where a worker is killed in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_market import prices_frame, sentiment_frame

from workbench import load_market, register_signal
from workbench.execution import LocalEngine
from workbench.market.tables import Market
from workbench.scaling import same_bits
from workbench.sweep import run as sweep_run
from workbench.sweep.run import run_sweep


@pytest.fixture(scope="module")
def market() -> Market:
    return load_market(sentiment_frame(), prices_frame())


@pytest.fixture(autouse=True)
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_run, "SMALLEST_SPAN", 20)
    monkeypatch.setattr(sweep_run, "LARGEST_SPAN", 20)


def test_rows_and_files_are_those_of_the_local_engine_to_the_last_bit(engine, market: Market, tmp_path: Path):
    register_signal("likes_on_ray", lambda table: table["twitterLikes"] + 0.5, "1")
    grid = {
        "signal": ["engagement_ratio", "likes_on_ray"],
        "weighting": ["equal", "inverse_volatility", "min_variance", "hrp"],
        "top_n": [2, 4, 5],  # the last fails
        "lookback_days": [15],
        "cost_bps": [0.0, 10.0],
    }
    there = run_sweep(grid, market, engine, out=tmp_path / "there.parquet", returns=tmp_path / "there-returns.parquet")
    here = run_sweep(
        grid, market, LocalEngine(workers=2), out=tmp_path / "here.parquet", returns=tmp_path / "here-returns.parquet"
    )
    assert same_bits(here, there)
    assert len(here.failures) == len(here) // 3
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()
    assert (tmp_path / "here-returns.parquet").read_bytes() == (tmp_path / "there-returns.parquet").read_bytes()
    assert there.provenance["execution"]["tasks"] > 0


def test_a_worker_killed_in_the_middle_changes_no_byte(engine, market: Market, tmp_path: Path):
    log = tmp_path / "pids"

    def slow(table: Any) -> Any:
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.05)
        return table["twitterLikes"]

    register_signal("slow_on_ray", slow, "1")
    grid = {
        "signal": ["slow_on_ray"],
        "min_likes": list(range(20)),
        "cost_bps": [0.0, 5.0, 10.0, 20.0],
        "top_n": [1, 3],
    }
    killed: list[int] = []

    @contextlib.contextmanager
    def kill_at_the_first_part(total: int, label: str, unit: str) -> Iterator[Callable[[int], None]]:
        def tick(done: int) -> None:
            if not killed and log.exists():
                killed.append(int(log.read_text().split()[-1]))
                os.kill(killed[0], signal.SIGKILL)

        yield tick

    run_sweep(grid, market, engine, out=tmp_path / "there.parquet", progress=kill_at_the_first_part)
    assert killed and killed[0] != os.getpid()
    run_sweep(grid, market, LocalEngine(workers=1), out=tmp_path / "here.parquet")
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_optimisers_survive_a_killed_worker_on_both_engines(engine, market: Market, tmp_path: Path):
    grid = {"weighting": ["min_variance"], "top_n": [2, 3, 4], "lookback_days": [10, 12, 14, 16, 18, 20]}
    files = []
    for place, name in ((engine, "there"), (LocalEngine(workers=2), "here"), (LocalEngine(workers=1), "alone")):
        killed: list[int] = []

        @contextlib.contextmanager
        def kill(total: int, label: str, unit: str, killed: list[int] = killed) -> Iterator[Callable[[int], None]]:
            def tick(done: int) -> None:
                if label == "optimiser" and done and not killed:
                    killed.extend(_kill_one_worker())

            yield tick

        out = tmp_path / f"{name}.parquet"
        run_sweep(grid, market, place, out=out, progress=kill if name != "alone" else None)
        files.append(out.read_bytes())
        assert name == "alone" or killed
    assert files[0] == files[1] == files[2]


def _kill_one_worker() -> list[int]:
    """Kill a worker of either engine that belongs to this process: a child, or a Ray worker that holds the workbench."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if (line.startswith("ray::") and "Agent" not in line) or "workbench.workers" in line:
                process.kill()
                return [process.pid]
    return []
