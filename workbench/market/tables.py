"""The two tables a market is made of, as the rest of the workbench sees them.

Enters: nothing; these are types. Both tables hold their rows as sorted arrays, made once when they are loaded, so that a study
need not sort or group anything again. Symbols are text and are ordered by code point everywhere.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.losses import Loss
from workbench.shown import html_rows, text_rows

Days = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

SNAPSHOT = "snapshot:"
"""How the name of a snapshot of the price store begins."""


@dataclass(frozen=True)
class InputFile:
    """Where an input came from. `name` as the user gave it, `path` resolved ("memory" for a frame), `sha256` of its bytes."""

    name: str
    path: str
    sha256: str

    @property
    def base(self) -> str:
        """The name without its folder: the same wherever the file lies."""
        return self.name.rpartition("/")[2] or self.name


@dataclass(frozen=True, eq=False)
class SentimentTable:
    """The daily engagement table.

    frame : DataFrame, one row per (date, symbol), sorted by both; `date` datetime64, `symbol` str, then METHOD's counts
        (float64, no NaN), `twitterSentiment` (float64, NaN where missing) and any extra column as read.
    days : (rows,) datetime64[D], the same dates as `frame["date"]`.
    symbols : the distinct symbols in code-point order.
    symbol_codes : (rows,) int32, position of each row's symbol in `symbols`.
    losses : rows that were dropped on reading.
    """

    frame: pd.DataFrame
    days: Days
    symbols: tuple[str, ...]
    symbol_codes: Ints
    source: InputFile
    losses: tuple[Loss, ...] = ()

    @cached_property
    def distinct_days(self) -> tuple[Days, npt.NDArray[np.int64]]:
        """The table's distinct days, increasing, and the number of rows of each."""
        days, counts = np.unique(self.days, return_counts=True)
        return days, counts

    @cached_property
    def fingerprint(self) -> str:
        """Sha256 of the (date, symbol, comments, likes) rows: the same data, however its file is written."""
        digest = hashlib.sha256("\n".join(self.symbols).encode())
        for array in (self.days.astype("datetime64[D]").astype(np.int64), self.symbol_codes.astype(np.int64)):
            digest.update(array.astype("<i8").tobytes())
        for column in ("twitterComments", "twitterLikes"):
            digest.update(self.frame[column].to_numpy(dtype="<f8").tobytes())
        return digest.hexdigest()

    def _shown(self) -> list[tuple[str, str]]:
        days, _ = self.distinct_days
        return [
            ("sentiment", self.source.base),
            ("rows", f"{len(self.frame):,}"),
            ("symbols", f"{len(self.symbols):,}"),
            ("days", _span(days)),
            ("dropped on reading", f"{sum(loss.count for loss in self.losses):,}"),
        ]

    def __repr__(self) -> str:
        return text_rows("Sentiment table", self._shown())

    def _repr_html_(self) -> str:
        return html_rows("Sentiment table", self._shown())


@dataclass(frozen=True, eq=False)
class PriceTable:
    """Adjusted closes.

    days : (T,) datetime64[D], increasing.
    symbols : (N) names in code-point order, the benchmark among them.
    values : (T, N) float64, NaN where a symbol has no price.
    """

    days: Days
    symbols: tuple[str, ...]
    values: Floats
    source: InputFile
    losses: tuple[Loss, ...] = ()

    @cached_property
    def columns(self) -> dict[str, int]:
        """Position of each symbol in `symbols`."""
        return {symbol: column for column, symbol in enumerate(self.symbols)}

    @cached_property
    def first_row(self) -> npt.NDArray[np.int64]:
        """(N) row of each symbol's first price; T where it has none."""
        known = ~np.isnan(self.values)
        return np.where(known.any(axis=0), known.argmax(axis=0), len(self.days))

    @cached_property
    def gapless(self) -> npt.NDArray[np.bool_]:
        """(N) True where a symbol has a price on every day."""
        return np.asarray(~np.isnan(self.values).any(axis=0))

    @cached_property
    def filled(self) -> Floats:
        """(T, N) the last known price of each day; NaN before a symbol's first."""
        rows = np.arange(len(self.days))[:, None]
        last = np.maximum.accumulate(np.where(np.isnan(self.values), 0, rows), axis=0)
        return np.take_along_axis(self.values, last, axis=0)

    def _shown(self) -> list[tuple[str, str]]:
        missing = f"{int(np.isnan(self.values).sum()):,} of {self.values.size:,}"
        return [
            ("prices", self.source.base),
            ("symbols with prices", f"{len(self.symbols):,}"),
            ("trading days", _span(self.days)),
            ("prices missing", missing),
        ]

    def __repr__(self) -> str:
        return text_rows("Price table", self._shown())

    def _repr_html_(self) -> str:
        return html_rows("Price table", self._shown())


def _span(days: Days) -> str:
    return f"{len(days):,} from {days[0]} to {days[-1]}" if len(days) else "none"


@dataclass(frozen=True)
class Wanted:
    """Which prices a study needs, for sources that have to ask for them: the symbols, the benchmark, the first and last day."""

    symbols: tuple[str, ...]
    benchmark: str
    first: dt.date
    last: dt.date


@dataclass(frozen=True, eq=False)
class Market:
    """A sentiment table and the prices to trade it on: what a study runs on.

    `sentiment` holds the rows within start..end; `prices` holds trading days only, which are the days on which `benchmark` has
    a price. `data_kind` is "real", "simulated" or "mixed". `columns` is the mapping of column names that the table was read with.
    """

    sentiment: SentimentTable
    prices: PriceTable
    benchmark: str
    data_kind: str
    start: str | None = None
    end: str | None = None
    losses: tuple[Loss, ...] = field(default=())
    columns: Mapping[str, str] | None = None

    @cached_property
    def price_columns(self) -> npt.NDArray[np.int64]:
        """Position in `prices` of each symbol of the sentiment table; -1 where it has no prices at all."""
        return np.array([self.prices.columns.get(symbol, -1) for symbol in self.sentiment.symbols], dtype=np.int64)

    def _shown(self) -> tuple[str, list[tuple[str, str]]]:
        rows = [*self.sentiment._shown(), *self.prices._shown(), ("benchmark", self.benchmark)]
        return f"Market of {self.data_kind} data", rows

    def __repr__(self) -> str:
        return text_rows(*self._shown())

    def _repr_html_(self) -> str:
        return html_rows(*self._shown())
