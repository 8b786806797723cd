"""A sweep into a file: stopped at any moment it goes on, the bytes are the same, and memory does not grow with the grid."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_market import write_small_market

from workbench import StudyConfig, load_market, register_signal, run_study
from workbench.errors import ConfigError, UnavailableError
from workbench.execution import LocalEngine
from workbench.market.tables import Market
from workbench.sweep import run as sweep_run
from workbench.sweep.grid import FIELDS, as_grid
from workbench.sweep.result import SUMMARY, SweepResult
from workbench.sweep.run import run_sweep

GRID = "top_n=1..4;execution_lag=0..9;cost_bps=0..49;drift=true,false"  # 4,000 rows
SPAN = 200

SCRIPT = """
import sys
from workbench import load_market
from workbench.execution import LocalEngine
from workbench.sweep import run
run.SMALLEST_SPAN = run.LARGEST_SPAN = {span}
market = load_market({sentiment!r}, {prices!r})
run.run_sweep({grid!r}, market, LocalEngine(workers=1), out={out!r}, resume=True)
"""


class Counting(LocalEngine):
    """A local engine that remembers the spans it was given, and may be told to fail after some."""

    def __init__(self, fail_after: int | None = None) -> None:
        super().__init__(workers=1)
        self.spans: list[Any] = []
        self._fail_after = fail_after

    def map(self, function: Any, chunks: Any, *, shared: Any = (), holds_gil: bool = False) -> Any:
        def watched() -> Any:
            for chunk in chunks:
                if self._fail_after is not None and len(self.spans) >= self._fail_after:
                    raise KeyboardInterrupt
                self.spans.append(chunk)
                yield chunk

        return super().map(function, watched(), shared=shared)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def market(files: tuple[Path, Path]) -> Market:
    return load_market(*files)


@pytest.fixture(autouse=True)
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_run, "SMALLEST_SPAN", SPAN)
    monkeypatch.setattr(sweep_run, "LARGEST_SPAN", SPAN)


def test_a_stored_sweep_is_the_one_in_memory(market: Market, tmp_path: Path):
    stored = run_sweep(GRID, market, LocalEngine(workers=2), out=tmp_path / "s.parquet")
    memory = run_sweep(GRID, market, LocalEngine(workers=2))
    for name in SUMMARY:
        assert np.array_equal(stored.column(name), memory.column(name), equal_nan=memory.column(name).dtype.kind == "f")
    assert stored.summary(1234) == memory.summary(1234)
    assert stored.best(n=3) == memory.best(n=3)
    assert list(tmp_path.iterdir()) == [tmp_path / "s.parquet"]
    frame = pd.read_parquet(tmp_path / "s.parquet")
    assert [*frame.columns] == [*FIELDS, *SUMMARY, "n_fallbacks", "n_unavailable", "timing", "error"]
    assert ((frame["timing"] == "LOOK-AHEAD") == (frame["execution_lag"] == 0)).all()
    about = json.loads(pq.read_metadata(tmp_path / "s.parquet").metadata[b"workbench"])
    assert (about["data_kind"], about["grid"]) == ("real", stored.grid.grid_id)
    knobs = {name: frame[name].iloc[77] for name in ("top_n", "execution_lag", "cost_bps", "drift")}
    assert StudyConfig(**{name: value.item() for name, value in knobs.items()}) == memory.config(77)


def test_a_stopped_sweep_goes_on_without_repeating_a_part_and_gives_the_same_bytes(market: Market, tmp_path: Path):
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    run_sweep(GRID, market, LocalEngine(workers=2), out=whole)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(GRID, market, Counting(fail_after=7), out=out)
    assert not out.exists()
    finished = len(list((tmp_path / "out.parquet.parts").glob("rows-*.parquet")))
    assert finished > 0
    engine = Counting()
    run_sweep(GRID, market, engine, out=out, resume=True)
    assert len(engine.spans) == 4_000 // SPAN - finished
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.parquet.parts").exists()


def test_a_killed_driver_loses_nothing_that_was_finished(files: tuple[Path, Path], market: Market, tmp_path: Path):
    whole, out, parts = tmp_path / "whole.parquet", tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    run_sweep(GRID, market, LocalEngine(workers=2), out=whole)
    script = SCRIPT.format(span=SPAN, sentiment=str(files[0]), prices=str(files[1]), grid=GRID, out=str(out))
    for wanted in (1, 5, 11):
        process = subprocess.Popen([sys.executable, "-c", script])
        try:
            _wait_for_parts(parts, wanted, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if out.exists():
            break
    finished = len(list(parts.glob("rows-*.parquet")))
    engine = Counting()
    if not out.exists():
        run_sweep(GRID, market, engine, out=out, resume=True)
        assert len(engine.spans) == 4_000 // SPAN - finished
    assert out.read_bytes() == whole.read_bytes()


def _wait_for_parts(parts: Path, wanted: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while len(list(parts.glob("rows-*.parquet"))) < wanted and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)


def test_optimised_weights_that_are_finished_are_not_asked_for_again(market: Market, tmp_path: Path):
    grid = "weighting=min_variance;top_n=2,3,4;lookback_days=10,20;cost_bps=0,10"
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    run_sweep(grid, market, LocalEngine(workers=2), out=whole)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(grid, market, Counting(fail_after=2), out=out)
    finished = len(list((tmp_path / "out.parquet.parts").glob("fits-*.parquet")))
    assert finished > 0
    engine = Counting()
    result = run_sweep(grid, market, engine, out=out, resume=True)
    fits = [chunk for chunk in engine.spans if isinstance(chunk, list)]
    assert len(fits) == 3 - finished  # 24 questions, eight to a task
    assert out.read_bytes() == whole.read_bytes()
    assert result.summary(0)["total_return"] == pytest.approx(
        run_study(result.config(0), market).summary["total_return"], abs=1e-12
    )


def test_parts_of_this_sweep_are_neither_overwritten_nor_taken_for_another(market: Market, tmp_path: Path):
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(GRID, market, Counting(fail_after=5), out=out)
    with pytest.raises(ConfigError, match="--resume goes on from them"):
        run_sweep(GRID, market, Counting(), out=out)
    with pytest.raises(ConfigError, match="parts of another sweep"):
        run_sweep("top_n=1,2", market, Counting(), out=out, resume=True)
    run_sweep(GRID, market, Counting(), out=out, resume=True)
    assert out.exists()


def test_a_damaged_part_is_computed_again(market: Market, tmp_path: Path):
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    run_sweep(GRID, market, LocalEngine(workers=2), out=whole)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(GRID, market, Counting(fail_after=8), out=out)
    parts = sorted((tmp_path / "out.parquet.parts").glob("rows-*.parquet"))
    parts[0].write_bytes(parts[0].read_bytes()[:-20])
    data = bytearray(parts[1].read_bytes())
    data[len(data) // 2] ^= 1
    parts[1].write_bytes(data)
    (tmp_path / "out.parquet.parts" / ".tmp-rows-000000000000").write_bytes(b"half")
    run_sweep(GRID, market, Counting(), out=out, resume=True)
    assert out.read_bytes() == whole.read_bytes()


def test_two_processes_do_not_write_into_one_sweep(market: Market, tmp_path: Path):
    from workbench.sweep.checkpoint import Parts

    out = tmp_path / "out.parquet"
    parts = Parts(out, {"any": "thing"}, resume=False)
    with pytest.raises(UnavailableError, match="another process computes this sweep"):
        Parts(out, {"any": "thing"}, resume=True)
    parts.remove()


def test_failed_rows_are_stored_with_their_reason_and_found_again(market: Market, tmp_path: Path):
    out = tmp_path / "out.parquet"
    configs: list[Any] = [{"top_n": 1 + row % 6} for row in range(600)]
    with pytest.raises(KeyboardInterrupt):
        run_sweep(configs, market, Counting(fail_after=1), out=out)
    result = run_sweep(configs, market, Counting(), out=out, resume=True)
    bad = [row for row in range(600) if 1 + row % 6 > 4]
    assert sorted(result.failures) == bad
    errors = pq.read_table(out, columns=["error"]).column("error").to_pylist()
    assert [row for row, error in enumerate(errors) if error is not None] == bad
    assert errors[4] == "top_n must be between 1 and 4 (symbols in the table), got 5"


def test_returns_are_written_row_by_row(market: Market, tmp_path: Path):
    out, returns = tmp_path / "out.parquet", tmp_path / "returns.parquet"
    result = run_sweep(
        "top_n=1..4;cost_bps=0,10;min_likes=20,100000", market, LocalEngine(workers=1), out=out, returns=returns
    )
    table = pq.read_table(returns)
    assert table.column("row").to_pylist() == list(range(len(result)))
    for row in range(len(result)):
        expected = run_study(result.config(row), market).returns["net"]
        assert np.array(table.column("net")[row].as_py()).tobytes() == expected.to_numpy().tobytes()
        first = table.column("first_date")[row].as_py()
        assert (first is None) == (len(expected) == 0)
        assert first is None or str(first) == result.summary(row)["first_date"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resume": True}, "--resume needs a file"),
        ({"returns": "r.parquet"}, "returns needs a file"),
        ({"out": "out.csv"}, "-o must name a .parquet file, got 'out.csv'"),
        ({"out": "/proc/nowhere/out.parquet"}, "-o must name a file in a folder that can be written"),
        ({"out": "out.parquet", "returns": "out.csv"}, "--returns must name a .parquet file, got 'out.csv'"),
        ({"out": "out.parquet", "returns": "./out.parquet"}, "--returns must name another file than -o"),
        ({"out": "out.parquet", "returns": "/proc/no/r.parquet"}, "--returns must name a file in a folder"),
    ],
)
def test_wrong_files_are_refused_before_anything_runs(
    market: Market, arguments: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    engine = Counting()
    with pytest.raises(ConfigError, match=message):
        run_sweep(GRID, market, engine, **arguments)
    assert engine.spans == []
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_made_and_a_result_outlives_a_change_of_folder(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    result = run_sweep("top_n=1..4", market, Counting(), out="rows/o.parquet", returns="daily/r.parquet")
    monkeypatch.chdir("/")
    assert result.summary(3) == run_sweep("top_n=1..4", market, Counting()).summary(3)
    assert len(pq.read_table(tmp_path / "daily" / "r.parquet")) == 4


def test_a_full_disk_leaves_finished_parts_and_nothing_else(market: Market, tmp_path: Path):
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    run_sweep(GRID, market, Counting(), out=whole)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size // 2, hard))
    try:
        with pytest.raises(UnavailableError, match=r"out\.parquet: cannot be written.*--resume goes on"):
            run_sweep(GRID, market, Counting(), out=out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.rglob(".tmp-*"))
    engine = Counting()
    run_sweep(GRID, market, engine, out=out, resume=True)
    assert engine.spans == []  # the parts were small enough
    assert out.read_bytes() == whole.read_bytes()


def test_a_sweep_that_is_stopped_says_how_it_goes_on(market: Market, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(GRID, market, Counting(fail_after=3), out=tmp_path / "out.parquet")
    assert f"kept in {tmp_path / 'out.parquet.parts'}: --resume (resume=True) goes on from it" in capfd.readouterr().err


def test_a_grid_too_large_for_memory_is_told_the_way_out(market: Market):
    grid = as_grid("top_n=1..4;execution_lag=0..99;cost_bps=0..999;min_likes=0..9")
    with pytest.raises(ConfigError, match=r"at most 2,000,000 configurations, got 4,000,000; name a file"):
        run_sweep(grid, market, Counting())


def test_a_recorder_is_told_once_of_the_whole(market: Market):
    told: list[SweepResult] = []

    class Recorder:
        def record_sweep(self, result: SweepResult) -> None:
            told.append(result)

    result = run_sweep("top_n=1,2", market, Counting(), Recorder())
    assert told == [result]


def test_identity_holds_the_version_of_a_signal(market: Market, tmp_path: Path):
    out = tmp_path / "out.parquet"
    register_signal("versioned_in_sweep", lambda table: table["twitterLikes"], "1")
    grid = {"signal": ["versioned_in_sweep"], "cost_bps": [float(bps) for bps in range(600)]}
    with pytest.raises(KeyboardInterrupt):
        run_sweep(grid, market, Counting(fail_after=1), out=out)
    register_signal("versioned_in_sweep", lambda table: -table["twitterLikes"], "2")
    with pytest.raises(ConfigError, match="parts of another sweep"):
        run_sweep(grid, market, Counting(), out=out, resume=True)


MEMORY_SCRIPT = """
import resource, sys
from workbench import load_market
from workbench.execution import LocalEngine
from workbench.sweep.run import run_sweep
market = load_market({sentiment!r}, {prices!r})
grid = {{"cost_bps": [i / 16 for i in range({costs})], "top_n": [1, 2, 3, 4], "drift": [True, False]}}
run_sweep(grid, market, LocalEngine(workers=2), out={out!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_grid(files: tuple[Path, Path], tmp_path: Path):
    peaks = []
    for costs in (8_000, 15_900):  # 64,000 and 127,200 rows
        script = MEMORY_SCRIPT.format(
            sentiment=str(files[0]), prices=str(files[1]), costs=costs, out=str(tmp_path / f"{costs}.parquet")
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
        )
        peaks.append(int(done.stdout))
    assert (
        peaks[1] < peaks[0] + 60
    )  # MiB; in memory the second grid alone would take 45 more for its columns and as much for copies
