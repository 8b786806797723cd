"""The sentiment table: read, map column names, check, cut to bounds.

Enters: a CSV, CSV.gz or Parquet file, an address or a DataFrame with one row per (date, symbol). Leaves: a
`SentimentTable`, sorted by date and symbol, with everything that was dropped in its losses. METHOD.md, "Inputs", has
the rules.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from workbench.config import nearest
from workbench.errors import ConfigError, DataError
from workbench.losses import Loss
from workbench.market.cells import Fault, Kind, parse_day
from workbench.market.columns import Columns, Layout, split_columns
from workbench.market.files import show
from workbench.market.reader import read_columns
from workbench.market.tables import Days, Floats, InputFile, Ints, SentimentTable
from workbench.market.typed import stored_losses

COUNTS = ("twitterPosts", "twitterComments", "twitterLikes", "twitterImpressions")
COLUMNS = ("date", "symbol", *COUNTS, "twitterSentiment")

_SHORT = {name.removeprefix("twitter").lower(): name for name in COLUMNS}
# With a mapping the user has said what there is; these are needed whatever the signal.
_ALWAYS = ("date", "symbol", "twitterComments", "twitterLikes")


def read_sentiment(source: str | Path | pd.DataFrame, columns: Mapping[str, str] | None = None) -> SentimentTable:
    """Read the daily engagement table.

    Parameters
    ----------
    source
        A CSV, CSV.gz or Parquet file, an `http(s)://` address, or a DataFrame.
    columns
        METHOD's column names (`twitterLikes`, or short: `likes`) to the file's own. Without it all seven columns are
        needed; with it, posts, impressions and sentiment may be absent, and are then absent from the table.

    Returns
    -------
    SentimentTable
        Rows sorted by date, then symbol by code point. Rows with an empty count are dropped and counted. Extra
        columns are kept: from text, as float64 where all cells that are not empty are numbers, else as text. Losses that
        a Parquet file of the workbench names, of the table it was written from, come before those of this reading.

    Raises
    ------
    DataError
        The file cannot be read or breaks a rule: file, line, column, rule, value got, way out.
    ConfigError
        `columns` has an unknown key, or names one column twice.
    UnavailableError
        The address does not deliver.
    """
    names = _full_names(columns or {})
    file, read = read_columns(source, _layout(names))
    return _table(file, read, {own: name for name, own in names.items()})


def parse_columns(text: str) -> dict[str, str]:
    """Read a mapping as the command line has it: `likes=favourites,symbol=ticker`.

    Raises
    ------
    ConfigError
        A part is not `name=column`, or a name is unknown or given twice.
    """
    columns = split_columns(text)
    _full_names(columns)
    return columns


def _full_names(columns: Mapping[str, str]) -> dict[str, str]:
    """Return METHOD's full names to the file's own, in METHOD's order."""
    names: dict[str, str] = {}
    for key, own in columns.items():
        name = _SHORT.get(key, key)
        if name not in COLUMNS:
            hint = nearest(str(key), (*_SHORT, *COLUMNS))
            raise ConfigError(f"columns must map {', '.join(_SHORT)}, got {show(key)!r}{hint}")
        if name in names:
            raise ConfigError(f"columns must map {name} once, got {names[name]!r} and {own!r}")
        if own in names.values():
            raise ConfigError(f"columns must map each column of the file once, got {show(own)!r} twice")
        names[name] = own
    return {name: names[name] for name in COLUMNS if name in names}


def _layout(names: Mapping[str, str]) -> Layout:
    taken = set(names.values())

    def layout(where: str, header: Sequence[str]) -> dict[str, Kind]:
        kinds: dict[str, Kind] = dict.fromkeys(header, "extra")
        for name in COLUMNS:
            own = names.get(name, name)
            if own in kinds and (name in names or own not in taken):
                kinds[own] = _kind(name)
            elif name in names or name in _ALWAYS or not names:
                raise DataError(_missing(where, name, own, header))
            if name in kinds and own != name and name not in taken:
                raise DataError(
                    f"{where}: must not have a column {name} where {show(own)} is mapped to it; drop one of them"
                )
        return kinds

    return layout


def _kind(name: str) -> Kind:
    if name in ("date", "symbol"):
        return "date" if name == "date" else "symbol"
    return "count" if name in COUNTS else "number"


def _missing(where: str, name: str, own: str, header: Sequence[str]) -> str:
    short = name.removeprefix("twitter").lower()
    plain = {"".join(column.split()).lower(): column for column in reversed(header)}
    near = next((plain[key] for key in (own.lower(), short, short.rstrip("s")) if key in plain), None)
    hint = f"; did you mean {show(near)!r}?" if near else nearest(own, [show(column) for column in header])
    way = f"; give your own name for it, as in --columns {short}={show(near or 'NAME')}"
    return f"{where}: must have a column {show(own)}, got {show(', '.join(header), 120)}{hint}{way}"


def _table(file: InputFile, read: Columns, full_names: Mapping[str, str]) -> SentimentTable:
    numbers = {full_names.get(own, own): values for own, values in read.numbers.items()}
    keep, losses = _without_empty_counts(numbers, read.days)
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise DataError(f"{show(file.name, 200)}: must have a row with all of its counts, got none; fill in the counts")
    keys = read.keys[rows]
    if not (np.diff(keys) > 0).all():
        rows = rows[np.argsort(keys, kind="stable")]
    days, (symbols, codes) = read.days[rows], _used(read.symbols, read.codes[rows])
    frame: dict[str, Any] = {"date": days.astype("datetime64[us]"), "symbol": _texts(symbols, codes)}
    frame |= {name: numbers[name][rows] for name in COLUMNS if name in numbers}
    frame |= {name: values.take(rows) for name, values in read.extras.items()}
    losses = stored_losses(read) + losses
    return SentimentTable(pd.DataFrame(frame, copy=False), days, symbols, codes, file, losses)


def _without_empty_counts(numbers: Mapping[str, Floats], days: Days) -> tuple[npt.NDArray[np.bool_], tuple[Loss, ...]]:
    """Return which rows have all counts, and one loss per column for the others.

    A row without several of its counts is counted once, for the first of them, so that the losses add up to the rows
    dropped.
    """
    keep = np.ones(len(days), dtype=np.bool_)
    losses = []
    for name in COUNTS:
        if name in numbers and (empty := np.isnan(numbers[name]) & keep).any():
            losses.append(_loss("empty_count", days[empty], f"{name} is empty: the row is dropped"))
            keep &= ~empty
    return keep, tuple(losses)


def _loss(kind: str, days: Days, reason: str) -> Loss:
    return Loss(kind, None, None, len(days), str(days.min()), str(days.max()), reason)


def _used(symbols: tuple[str, ...], codes: Ints) -> tuple[tuple[str, ...], Ints]:
    """Return the symbols that still have a row, and the codes among them."""
    used = np.bincount(codes, minlength=len(symbols)) > 0
    if used.all():
        return symbols, codes
    position = (np.cumsum(used) - 1).astype(np.int32)
    return tuple(symbol for symbol, kept in zip(symbols, used, strict=True) if kept), position[codes]


def _texts(symbols: tuple[str, ...], codes: Ints) -> Any:
    return pd.array(pa.array(symbols, pa.string()).take(pa.array(codes)), dtype="str")


def within(table: SentimentTable, start: str | dt.date | None, end: str | dt.date | None) -> SentimentTable:
    """Return the rows from `start` to `end`, both included.

    Parameters
    ----------
    table
        As read.
    start, end
        ISO days or dates; None leaves that side open.

    Returns
    -------
    SentimentTable
        Its symbols are those that have a row left; rows cut off are counted in its losses, one record a side.

    Raises
    ------
    ConfigError
        A bound is not an ISO day, or `start` lies after `end`.
    DataError
        No row is left.
    """
    first, last = parse_bound("start", start), parse_bound("end", end)
    if first is not None and last is not None and first > last:
        raise ConfigError(f"start must not lie after end, got start {first} and end {last}; swap them")
    days = table.days
    begin = 0 if first is None else int(np.searchsorted(days, np.datetime64(first)))
    stop = len(days) if last is None else int(np.searchsorted(days, np.datetime64(last), side="right"))
    if begin >= stop:
        raise DataError(
            f"{show(table.source.name, 200)}: must have rows from start to end, got {show_bounds(first, last)}; "
            f"its dates run from {days[0]} to {days[-1]}"
        )
    if stop - begin == len(days):
        return table
    losses = list(table.losses)
    if begin:
        losses.append(_loss("outside_bounds", days[:begin], f"before start {first}"))
    if stop < len(days):
        losses.append(_loss("outside_bounds", days[stop:], f"after end {last}"))
    symbols, codes = _used(table.symbols, table.symbol_codes[begin:stop])
    frame = table.frame.iloc[begin:stop].reset_index(drop=True)
    return replace(table, frame=frame, days=days[begin:stop], symbols=symbols, symbol_codes=codes, losses=tuple(losses))


def parse_bound(field: str, bound: str | dt.date | None) -> dt.date | None:
    """Return the day of `start` or `end`; ConfigError if it is none."""
    if bound is None:
        return None
    day = parse_day(bound if isinstance(bound, str) else str(bound).removesuffix(" 00:00:00"))
    if isinstance(day, Fault):
        raise ConfigError(f"{field} must {day.rule}, got {show(bound)!r}; write it as YYYY-MM-DD")
    return day


def show_bounds(first: dt.date | None, last: dt.date | None) -> str:
    """Write those of the two bounds that there are, for a message."""
    return " and ".join(f"{field} {day}" for field, day in (("start", first), ("end", last)) if day is not None)
