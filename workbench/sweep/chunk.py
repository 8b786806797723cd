"""One span of a grid's rows: from their knobs to their numbers.

Enters: a span and a bookkeeper. Leaves: arrays with one entry per row. A row's numbers depend on no other row, so that spans may be cut
anywhere and computed anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.config import StudyConfig
from workbench.core.metrics import RELATIVE_METRICS, RETURN_METRICS, daily_rate
from workbench.core.optimisation import OPTIMISERS
from workbench.errors import WorkbenchError
from workbench.plan import rank
from workbench.study import study_summary
from workbench.sweep.books import RANKING, Book, Bookkeeper, Ranked
from workbench.sweep.fits import FitKey, weigher
from workbench.sweep.grid import FIELDS, Grid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NUMBERS = (
    *RETURN_METRICS,
    *(f"gross_{name}" for name in RETURN_METRICS),
    *RELATIVE_METRICS,
    "mean_turnover",
    "n_symbols",
    "n_fallbacks",
    "n_unavailable",
)
"""The numbers of a row that the compiled loop writes, in its order."""

_FALLBACKS = NUMBERS.index("n_fallbacks")
BENCHMARK = tuple(f"benchmark_{name}" for name in RETURN_METRICS)
_BOOKS_BYTES = 1 << 26
_ROW = ("top_n", "drift", "missing", "max_weight", "risk_free_rate", "cost_bps")


@dataclass(frozen=True, eq=False)
class Chunk:
    """The rows start .. stop - 1 of a grid.

    numbers : (len(NUMBERS), R) float64, NaN where undefined.
    benchmark : (10, R) float64.
    n_periods, n_days : (R) int64. first, last : (R) datetime64[D], NaT where there is no day.
    errors : row of the grid -> why it failed; its numbers are NaN.
    series : (R, T) daily net returns by row of the price table, NaN on days that a row does not hold; None if not asked for.
    """

    start: int
    stop: int
    numbers: Floats
    benchmark: Floats
    n_periods: Ints
    n_days: Ints
    first: npt.NDArray[np.datetime64]
    last: npt.NDArray[np.datetime64]
    errors: dict[int, str]
    series: Floats | None


def empty_chunk(start: int, stop: int, n_days: int) -> Chunk:
    """Return a chunk in which nothing is known yet; `n_days` above 0 makes room for daily returns."""
    size = stop - start
    nothing = np.full(size, np.datetime64("NaT"), dtype="datetime64[D]")
    return Chunk(
        start,
        stop,
        np.full((len(NUMBERS) + 1, size), np.nan),
        np.full((len(BENCHMARK), size), np.nan),
        np.zeros(size, dtype=np.int64),
        np.zeros(size, dtype=np.int64),
        nothing,
        nothing.copy(),
        {},
        np.full((size, n_days), np.nan) if n_days else None,
    )


def evaluate_span(span: tuple[int, int], grid: Grid, books: Bookkeeper, with_series: bool = False) -> Chunk:
    """Compute the rows start .. stop - 1 of a grid."""
    from workbench.sweep import kernel  # numba costs a third of a second, which a look at a result should not

    start, stop = span
    chunk = empty_chunk(start, stop, len(books.market.prices.days) if with_series else 0)
    codes = {name: grid.codes(name, start, stop) for name in FIELDS}
    series = np.empty((0, 0)) if chunk.series is None else chunk.series
    for found in _batches(_books(grid, codes, books, chunk)):
        rows, inputs, schedules, placed = _arrays(grid, codes, found)
        kernel.evaluate(inputs, schedules, books.prices, books.benchmark, rows, chunk.numbers, series)
        for held in found:
            if held.book.fallbacks:
                chunk.numbers[_FALLBACKS, held.rows] += held.book.fallbacks
        _fill_spans(chunk, grid, codes, schedules, rows[-1], placed, books)
    for position in np.flatnonzero(chunk.numbers[-1] > 0):
        _compute_plainly(chunk, int(position), grid.config(start + int(position)), books)
    return chunk


def _fill_spans(
    chunk: Chunk, grid: Grid, codes: dict[str, Ints], schedules: Any, positions: Ints, placed: Ints, books: Bookkeeper
) -> None:
    """Write what depends on the days alone: their number, the first, the last, and the benchmark's numbers."""
    trades, untils, counts = schedules
    firsts, lasts = trades[:, 0], untils[np.arange(len(counts)), counts - 1]
    days = books.market.prices.days
    chunk.n_periods[positions] = counts[placed]
    chunk.n_days[positions] = (lasts - firsts)[placed]
    held = (lasts > firsts)[placed]
    chunk.first[positions[held]] = days[firsts[placed[held]] + 1]
    chunk.last[positions[held]] = days[lasts[placed[held]]]
    rates = codes["risk_free_rate"][positions]
    keys = placed * len(grid.values["risk_free_rate"]) + rates
    distinct, where = np.unique(keys, return_inverse=True)
    table = np.empty((len(BENCHMARK), len(distinct)))
    for column, key in enumerate(distinct):
        place, rate = divmod(int(key), len(grid.values["risk_free_rate"]))
        span = (int(firsts[place]), int(lasts[place]))
        table[:, column] = books.benchmark_numbers(span, grid.values["risk_free_rate"][rate])
    chunk.benchmark[:, positions] = table[:, where]


def _compute_plainly(chunk: Chunk, position: int, config: StudyConfig, books: Bookkeeper) -> None:
    """Replace a row's numbers by those of the functions that `run_study` calls."""
    summary = study_summary(config, books.market, weigher(books.fits))
    for number, name in enumerate(NUMBERS):
        if name in summary:
            chunk.numbers[number, position] = np.nan if summary[name] is None else summary[name]


def combine(columns: Sequence[tuple[Ints, int]]) -> Ints:
    """Return one number per row that is the same for rows with equal codes in all columns, and orders them by these.

    Parameters
    ----------
    columns
        (codes, how many different ones there can be), the most significant first.
    """
    key, radix = np.zeros(len(columns[0][0]), dtype=np.int64), 1
    for codes, size in columns:
        if radix * size > 2**62:
            key = np.unique(key, return_inverse=True)[1].astype(np.int64)
            radix = int(key.max(initial=0)) + 1
        key, radix = key * size + codes, radix * size
    return key


@dataclass(frozen=True, eq=False)
class _Held:
    """A book and the rows of the chunk that hold it."""

    book: Book
    rows: Ints


def _books(grid: Grid, codes: dict[str, Ints], books: Bookkeeper, chunk: Chunk) -> Iterator[_Held]:
    """Yield the books of a chunk and the rows that hold them; write down the rows in which nothing is traded."""
    for config, ranked, rows in _groups(grid, codes, books, chunk):
        executed = books.scheduled(ranked, config.rebalance, config.execution_lag)
        if executed is not None:
            yield _Held(books.book(config, ranked, executed), rows)
            continue
        for name in ("n_symbols", "n_fallbacks", "n_unavailable"):
            chunk.numbers[NUMBERS.index(name), rows] = 0.0


def _batches(found: Iterator[_Held]) -> Iterator[list[_Held]]:
    """Yield as many books at a time as fit into memory, also where every row of a chunk has one of its own."""
    batch: list[_Held] = []
    size = 0
    for held in found:
        batch.append(held)
        size += held.book.columns.nbytes + held.book.scores.nbytes
        if size >= _BOOKS_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def wanted_fits(span: tuple[int, int], grid: Grid, books: Bookkeeper) -> Iterator[FitKey]:
    """Yield what optimisers have to be asked for a span of rows."""
    chunk = empty_chunk(*span, 0)
    codes = {name: grid.codes(name, *span) for name in FIELDS}
    for config, ranked, _ in _groups(grid, codes, books, chunk):
        executed = books.scheduled(ranked, config.rebalance, config.execution_lag)
        if config.weighting in OPTIMISERS and executed is not None:
            yield from books.fit_keys(config, ranked, executed)


def _groups(
    grid: Grid, codes: dict[str, Ints], books: Bookkeeper, chunk: Chunk
) -> Iterator[tuple[StudyConfig, Ranked, Ints]]:
    """Yield the rows that share a book, with the configuration of one of them; write down those that fail."""
    alive = np.ones(chunk.stop - chunk.start, dtype=bool)
    chunk.errors.update({row: grid.invalid[row][1] for row in grid.invalid if chunk.start <= row < chunk.stop})
    alive[[row - chunk.start for row in chunk.errors]] = False
    rankings = combine([(codes[name], len(grid.values[name])) for name in RANKING])
    keys = _book_keys(grid, codes, rankings)
    order = np.argsort(rankings, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(rankings[order])) + 1):
        members = _without_failed(grid, codes, members[alive[members]], books, chunk)
        if not len(members):
            continue
        ranked = books.ranked(grid.config(chunk.start + int(members[0])))
        if isinstance(ranked, str):
            chunk.errors.update(dict.fromkeys((chunk.start + members).tolist(), ranked))
            continue
        sorted_members = members[np.argsort(keys[members], kind="stable")]
        for rows in np.split(sorted_members, np.flatnonzero(np.diff(keys[sorted_members])) + 1):
            yield grid.config(chunk.start + int(rows[0])), ranked, rows


def _book_keys(grid: Grid, codes: dict[str, Ints], rankings: Ints) -> Ints:
    """Return a number per row that is the same for rows which can be held from one book."""
    sizes = {name: len(values) for name, values in grid.values.items()}
    weightings = np.array([weighting in OPTIMISERS for weighting in grid.values["weighting"]])
    estimated = np.array([weighting not in ("equal", "signal") for weighting in grid.values["weighting"]])
    # An optimiser's weights belong to one selection; those of the others can be taken from a longer one.
    own = combine([(codes[name], sizes[name]) for name in ("top_n", "max_weight", "risk_free_rate")]) + 1
    return combine(
        [
            (np.unique(rankings, return_inverse=True)[1].astype(np.int64), len(rankings) + 1),
            (codes["execution_lag"], sizes["execution_lag"]),
            (codes["weighting"], sizes["weighting"]),
            (np.where(estimated[codes["weighting"]], codes["lookback_days"], 0), sizes["lookback_days"]),
            (np.where(weightings[codes["weighting"]], own, 0), int(own.max()) + 1),
        ]
    )


def _without_failed(grid: Grid, codes: dict[str, Ints], members: Ints, books: Bookkeeper, chunk: Chunk) -> Ints:
    """Return the rows whose top_n the table can fill; write down why the others fail."""
    fits = np.array([top_n <= len(books.market.sentiment.symbols) for top_n in grid.values["top_n"]])
    good = fits[codes["top_n"][members]]
    for code in np.unique(codes["top_n"][members[~good]]):
        rows = members[codes["top_n"][members] == code]
        try:
            rank(grid.config(chunk.start + int(rows[0])), books.market)
        except WorkbenchError as error:
            chunk.errors.update({chunk.start + int(row): str(error) for row in rows})
    return members[good]


def _arrays(grid: Grid, codes: dict[str, Ints], found: list[_Held]) -> tuple[Any, Any, Any, Ints]:
    """Stack the books for the compiled loop; return its rows, books and schedules, and the schedule of each of its rows."""
    places = {id(held.book.schedule): held.book.schedule for held in found}
    numbers = {key: number for number, key in enumerate(places)}
    longest = max(len(one.trades) for one in places.values())
    schedule = np.array([numbers[id(held.book.schedule)] for held in found], dtype=np.int64)
    schedules = (
        _stack([one.trades for one in places.values()], longest),
        _stack([one.untils for one in places.values()], longest),
        np.array([len(one.trades) for one in places.values()], dtype=np.int64),
    )
    books = (
        _stack([held.book.columns for held in found], longest),
        _stack([held.book.available for held in found], longest),
        _stack([held.book.scores for held in found], longest),
        _stack([held.book.sizes for held in found], longest),
        np.array([held.book.explicit for held in found]),
        schedule,
    )
    positions = np.concatenate([held.rows for held in found])
    book = np.repeat(np.arange(len(found)), [len(held.rows) for held in found])
    own = {name: codes[name][positions] for name in _ROW}
    # Rows of one schedule follow each other, then those of one book, of one portfolio, of one rate.
    order = np.argsort(
        combine(
            [(schedule[book], len(places)), (book, len(found))] + [(own[name], len(grid.values[name])) for name in _ROW]
        ),
        kind="stable",
    )
    knobs = {name: np.array(grid.values[name])[own[name][order]] for name in _ROW if name != "missing"}
    redistribute = np.array([value == "redistribute" for value in grid.values["missing"]])
    rates = np.array([daily_rate(rate) for rate in grid.values["risk_free_rate"]])
    rows = (
        book[order],
        knobs["top_n"].astype(np.int64),
        knobs["drift"],
        redistribute[own["missing"][order]],
        knobs["max_weight"].astype(np.float64),
        rates[own["risk_free_rate"][order]],
        knobs["cost_bps"].astype(np.float64) / 10_000,
        positions[order],
    )
    return rows, books, schedules, schedule[book[order]]


def _stack(arrays: Sequence[npt.NDArray[Any]], longest: int) -> npt.NDArray[Any]:
    """Return arrays of different length as one, filled up with zeros that are never read."""
    stacked = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for target, array in zip(stacked, arrays, strict=True):
        target[: len(array)] = array
    return stacked
