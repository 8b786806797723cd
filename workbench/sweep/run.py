"""A sweep: many configurations on one market, in batches, on any engine.

Enters: a grid, a market, an engine. Leaves: a SweepResult whose every row equals `run_study` of its configuration. What configurations
share is computed once: rankings, schedules, growth since a trade, portfolios that differ in costs only, optimised weights.
"""

from __future__ import annotations

import functools
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from workbench.config import StudyConfig
from workbench.core.optimisation import OPTIMISERS
from workbench.errors import ConfigError
from workbench.execution import Engine
from workbench.market.tables import Market
from workbench.progress import note
from workbench.registry import Signal, find_signal, register_signal
from workbench.result import versions
from workbench.study import data_provenance
from workbench.sweep.books import RANKING, Bookkeeper
from workbench.sweep.checkpoint import Parts, writable
from workbench.sweep.chunk import Chunk, evaluate_span, wanted_fits
from workbench.sweep.fits import Fit, FitKey, compute_fits
from workbench.sweep.grid import Grid, as_grid, product_grid
from workbench.sweep.result import Columns, StoredColumns, SweepResult
from workbench.sweep.tables import Memory, chunk_table, errors_of, fits_of, fits_table, returns_table

LARGEST_SPAN = 65_536
SMALLEST_SPAN = 1_024
_SPANS = 16  # cut a grid into this many, so that a few workers are busy to the end
_SERIES_BYTES = 1 << 25
FITS_OF_A_TASK = 8
ROWS_IN_MEMORY = 2_000_000
_SECONDS_OF_A_ROW, _SECONDS_OF_A_RANKING, _SECONDS_OF_A_FIT = 1e-5, 2e-3, 0.02


class SweepRecorder(Protocol):
    """Is told of every sweep, so that trials can be counted."""

    def record_sweep(self, result: SweepResult) -> None:
        """Take note of a finished sweep."""


Progress = Callable[[int, str, str], AbstractContextManager[Callable[[int], None]]]
"""(total, label, unit) -> a context that gives a function to call with what was done."""


@dataclass
class Work:
    """What all spans of a sweep have in common. It travels to the workers; each makes a bookkeeper of it, once."""

    market: Market
    grid: Grid
    signals: tuple[Signal, ...]
    fits: dict[FitKey, Fit] = field(default_factory=dict)
    with_series: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(8))


_BOOKKEEPERS: dict[str, Bookkeeper] = {}
_LOCK = threading.Lock()


def _bookkeeper(work: Work) -> Bookkeeper:
    """Return this process's bookkeeper of a sweep, whose rankings the next span may need again."""
    with _LOCK:
        if work.token not in _BOOKKEEPERS:
            _BOOKKEEPERS.clear()
            _BOOKKEEPERS[work.token] = Bookkeeper(work.market, max(work.grid.values["top_n"]), work.fits)
        return _BOOKKEEPERS[work.token]


def run_span(span: tuple[int, int], work: Work) -> Chunk:
    """Compute the rows of one span: the plain function behind every engine."""
    for signal in work.signals:  # the user's own, which another process does not know, or knows as it was before
        register_signal(signal.name, signal.function, signal.version)
    return evaluate_span(span, work.grid, _bookkeeper(work), work.with_series)


def run_sweep(
    grid: Grid | str | Mapping[str, Any] | Iterable[StudyConfig | Mapping[str, Any]],
    market: Market,
    engine: Engine,
    recorder: SweepRecorder | None = None,
    *,
    out: str | Path | None = None,
    returns: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Run every configuration of a grid.

    Parameters
    ----------
    grid
        "top_n=1..20;cost_bps=0,10", a mapping of fields to values, or configurations; see `as_grid`.
    market
        What `load_market` returned.
    engine
        Where it runs. The rows are the same on every engine, to the last bit.
    recorder
        Told of the result, if given.
    out
        A Parquet file for the rows. While the sweep runs, finished parts lie beside it; memory does not grow with the grid.
    returns
        A Parquet file for the daily net returns of every row; needs `out`.
    resume
        Go on from the parts of a sweep that was stopped.
    progress
        Told of rows and fits done.

    Returns
    -------
    SweepResult
        One row per configuration, in the order of the grid. One that fails is a row with its reason.

    Raises
    ------
    ConfigError
        The grid is wrong, or too large for memory without `out`.
    UnavailableError
        The engine or the file system failed; finished parts are kept.
    """
    rows = as_grid(grid)
    _check(rows, out, returns, resume)
    started = time.perf_counter()
    work = Work(market, rows, _own_signals(rows), with_series=returns is not None)
    _compile(market)
    spans = _spans(len(rows), len(market.prices.days) if work.with_series else 0)
    show = progress or _silent
    if out is None:
        work.fits = _fits(work, engine, spans, None, show)
        columns: Columns | StoredColumns
        columns, failures = _in_memory(work, engine, spans, show)
    else:
        out = Path(out).absolute()  # the result reads it later, wherever the process then is
        parts = Parts(out, _identity(work, spans), resume)
        try:
            work.fits = _fits(work, engine, spans, parts, show)
            failures = _in_parts(work, engine, spans, parts, show)
            names = [_part("rows", span) for span in spans]
            if returns is not None:
                parts.assemble([_part("returns", span) for span in spans], Path(returns))
            parts.assemble(names, out)
        except BaseException as error:
            parts.close()
            if isinstance(error, KeyboardInterrupt):
                note(f"stopped; what is finished is kept in {parts.folder}: --resume (resume=True) goes on from it")
            raise
        parts.remove()
        columns = StoredColumns(out)
    seconds = {"seconds": round(time.perf_counter() - started, 3)}
    provenance = data_provenance(market) | {
        "grid_id": rows.grid_id,
        "engine": engine.name,
        "execution": engine.account(),
    }
    result = SweepResult(rows, columns, failures, provenance | seconds, functools.partial(_series, work))
    if recorder is not None:
        recorder.record_sweep(result)
    return result


def _compile(market: Market) -> None:
    """Compile here where nobody did before: workers of this machine then read the machine code, and do not make it side by side."""
    from workbench.sweep import kernel
    from workbench.sweep.compiled import how_often, is_first_use

    if is_first_use(kernel.evaluate):
        note(f"compiling the sweep's inner loop, {how_often()}: some ten seconds")
        evaluate_span((0, 1), product_grid({"top_n": 1}), Bookkeeper(market, 1))


def estimate_seconds(grid: Grid, market: Market) -> float:
    """Return about how long one process would take; an upper bound, since configurations share most of the work."""
    optimised = sum(weighting in OPTIMISERS for weighting in grid.values["weighting"])
    asked = [len(grid.values[name]) for name in (*RANKING, "top_n", "lookback_days", "max_weight", "risk_free_rate")]
    days = market.sentiment.distinct_days[0]
    shortest = 7.0 if "weekly" in grid.values["rebalance"] else 30.0
    periods = int((days[-1] - days[0]).astype(int)) / shortest + 1.0
    fits = min(math.prod(asked) * optimised, len(grid)) * periods
    rankings = min(math.prod(asked[: len(RANKING)]), len(grid))
    return _SECONDS_OF_A_ROW * len(grid) + _SECONDS_OF_A_RANKING * rankings + _SECONDS_OF_A_FIT * fits


def _check(grid: Grid, out: str | Path | None, returns: str | Path | None, resume: bool) -> None:
    if out is None and (returns is not None or resume):
        raise ConfigError(
            f"{'returns' if returns is not None else '--resume'} needs a file for the rows; name one with -o"
        )
    for option, path in (("-o", out), ("--returns", returns)):
        if path is not None and (Path(path).suffix != ".parquet" or Path(path).is_dir()):
            raise ConfigError(f"{option} must name a .parquet file, got {str(path)!r}")
    if out is not None and returns is not None and Path(out).resolve() == Path(returns).resolve():
        raise ConfigError(f"--returns must name another file than -o, got {str(returns)!r} for both")
    for option, path in (("-o", out), ("--returns", returns)):
        if path is not None:
            with writable(Path(path), option):
                pass
    if out is None and len(grid) > ROWS_IN_MEMORY:
        raise ConfigError(
            f"a sweep in memory must have at most {ROWS_IN_MEMORY:,} configurations, got {len(grid):,}; "
            "name a file for the rows with -o (out=)"
        )


def _own_signals(grid: Grid) -> tuple[Signal, ...]:
    """Return the signals of the user's own, which a worker cannot know."""
    found = []
    for name in grid.values["signal"]:
        try:
            signal = find_signal(name)
        except ConfigError:
            continue  # its rows fail, and say why
        if not signal.columns:
            found.append(signal)
    return tuple(found)


def _spans(size: int, n_days: int) -> list[tuple[int, int]]:
    """Cut a grid into spans; they depend on its size alone, so that a sweep goes on on another machine."""
    step = min(max(-(-size // _SPANS), SMALLEST_SPAN), LARGEST_SPAN)
    if n_days:
        step = min(step, max(_SERIES_BYTES // (8 * n_days), 1))
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _part(kind: str, span: tuple[int, int]) -> str:
    return f"{kind}-{span[0]:012d}"


def _identity(work: Work, spans: list[tuple[int, int]]) -> dict[str, Any]:
    about = data_provenance(work.market)
    return {
        "grid": work.grid.grid_id,
        "rows": len(work.grid),
        "rows_of_a_part": spans[0][1],
        "returns": work.with_series,
        "versions": dict(versions()),
        **{name: about[name] for name in ("sentiment_sha256", "prices_sha256", "benchmark", "start", "end")},
        "columns": dict(work.market.columns or {}),
        "data_kind": about["data_kind"],
    }


def _fits(
    work: Work, engine: Engine, spans: list[tuple[int, int]], parts: Parts | None, progress: Progress
) -> dict[FitKey, Fit]:
    """Compute what the optimisers are asked, each question once."""
    if not any(weighting in OPTIMISERS for weighting in work.grid.values["weighting"]):
        return {}
    books = _bookkeeper(work)
    keys = list(dict.fromkeys(key for span in spans for key in wanted_fits(span, work.grid, books)))
    batches = [keys[start : start + FITS_OF_A_TASK] for start in range(0, len(keys), FITS_OF_A_TASK)]
    found: dict[FitKey, Fit] = {}
    waiting = []
    for number, batch in enumerate(batches):
        name = f"fits-{number:09d}"
        if parts is not None and parts.has(name):
            found |= zip(batch, fits_of(parts.read(name)), strict=True)
        else:
            waiting.append((name, batch))
    with progress(len(keys), "optimiser", "fits") as tick:
        tick(len(found))
        done = engine.map(compute_fits, (batch for _, batch in waiting), shared=(work.market,), holds_gil=True)
        for position, fits in done:
            name, batch = waiting[position]
            if parts is not None:
                parts.write(name, fits_table(fits))
            found |= zip(batch, fits, strict=True)
            tick(len(batch))
    books.fits.update(found)
    return found


def _in_memory(
    work: Work, engine: Engine, spans: list[tuple[int, int]], progress: Progress
) -> tuple[Columns, dict[int, str]]:
    memory = Memory(len(work.grid))
    with progress(len(work.grid), "sweep", "configurations") as tick:
        for _, chunk in engine.map(run_span, spans, shared=(work,)):
            memory.add(chunk)
            tick(chunk.stop - chunk.start)
    return Columns(memory.arrays), memory.failures


def _in_parts(
    work: Work, engine: Engine, spans: list[tuple[int, int]], parts: Parts, progress: Progress
) -> dict[int, str]:
    failures: dict[int, str] = {}
    days = work.market.prices.days
    waiting = [span for span in spans if not parts.has(_part("rows", span))]
    with progress(len(work.grid), "sweep", "configurations") as tick:
        for span in sorted(set(spans) - set(waiting)):
            failures |= errors_of(parts.read(_part("rows", span)), span[0])
            tick(span[1] - span[0])
        for position, chunk in engine.map(run_span, waiting, shared=(work,)):
            if work.with_series:
                parts.write(_part("returns", waiting[position]), returns_table(chunk, days))
            # The rows last: a part that has them is finished.
            parts.write(_part("rows", waiting[position]), chunk_table(chunk, work.grid))
            failures |= chunk.errors
            tick(chunk.stop - chunk.start)
    return failures


def _series(work: Work, rows: Sequence[int]) -> pd.DataFrame:
    """Return the daily net returns of some rows, computed again; ConfigError where a signal is no longer what it was."""
    for signal in work.signals:
        version = find_signal(signal.name).version
        if version != signal.version:
            raise ConfigError(
                f"signal {signal.name!r} must be version {signal.version!r}, as when the sweep ran, got {version!r}; run the sweep again"
            )
    days, columns = work.market.prices.days, {}
    for row in rows:
        work.grid.config(row)
        chunk = evaluate_span((row, row + 1), work.grid, _bookkeeper(work), with_series=True)
        if chunk.errors:
            raise ConfigError(chunk.errors[row])
        assert chunk.series is not None
        columns[row] = chunk.series[0]
    index = pd.DatetimeIndex(days.astype("datetime64[us]"), name="date")
    return pd.DataFrame(columns, index=index).dropna(how="all")


@contextmanager
def _silent(total: int, label: str, unit: str) -> Iterator[Callable[[int], None]]:
    yield lambda done: None
