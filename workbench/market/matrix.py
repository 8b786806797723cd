"""Adjusted closes of many symbols as one matrix, fast.

Enters: symbols of the store, or a snapshot. Leaves: a `PriceTable`. Of each symbol's file all bytes are hashed and two
columns decoded. The matrix is then kept in a cache file under the hashes of the files it came from, with a checksum of
its own; a cache file that is damaged is made again, and counted in `Shelf.counts`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.errors import DataError, UnavailableError
from workbench.losses import Loss
from workbench.market import snapshots
from workbench.market.bars import decode_columns
from workbench.market.coverage import Coverage
from workbench.market.durable import SCHEMA, DamagedFileError, read_file, sha256, write_file
from workbench.market.files import show
from workbench.market.shelf import CACHE, Shelf
from workbench.market.tables import Days, Floats, InputFile, PriceTable

CACHES_KEPT = 8

SUFFIX = ".matrix"


@dataclass(frozen=True, eq=False)
class _Matrix:
    """days (T), symbols (N), values (T, N), what was left out, and the hash of the first three."""

    days: Days
    symbols: tuple[str, ...]
    values: Floats
    losses: tuple[Loss, ...]
    digest: str


def stored_matrix(
    shelf: Shelf, symbols: Iterable[str], start: dt.date | None = None, end: dt.date | None = None, name: str = "store"
) -> PriceTable:
    """Return the adjusted closes of stored symbols.

    Parameters
    ----------
    shelf, symbols
        Symbols without bars are left out and listed in `losses` (`not_priced`).
    start, end
        Bounds of the days, both included.
    name
        What the table's source is called.

    Returns
    -------
    PriceTable
        Days on which any of the symbols has a price; NaN where one has none. A price that is zero, negative or
        infinite counts as none, and is listed in `losses` (`bad_price`). `source.sha256` is that of days, symbols and
        values: the same prices have the same hash, whichever files they came from.

    Raises
    ------
    DataError
        None of the symbols has a price within the bounds.
    """
    entries: dict[str, Coverage | None] = {symbol: shelf.coverage(symbol) for symbol in sorted(set(symbols))}
    while True:
        try:
            return _table(shelf, entries, shelf.object_bytes, start, end, name)
        except _UnreadableError as error:
            entries[error.entry.symbol] = shelf.condemn(error.entry.symbol, error.damage)


def snapshot_matrix(shelf: Shelf, name: str, symbols: Iterable[str] | None = None) -> PriceTable:
    """Return the adjusted closes of a snapshot.

    Parameters
    ----------
    shelf, name
        The store and the snapshot's id.
    symbols
        Some of its symbols; by default all.

    Returns
    -------
    PriceTable
        As that of `stored_matrix`; its source is called `snapshot:ID`.

    Raises
    ------
    DataError
        There is no such snapshot, or one of the symbols is not in it.
    UnavailableError
        A file that it needs is damaged.
    """
    snapshot = snapshots.read_snapshot(shelf, name, verify=False)
    wanted = sorted(snapshot.entries if symbols is None else set(symbols))
    unknown = [symbol for symbol in wanted if symbol not in snapshot.entries]
    if unknown:
        raise DataError(f"snapshot {name} must have the symbols asked for, got {show(unknown[0])}, which is not in it")
    entries = {symbol: snapshot.entries[symbol] for symbol in wanted}

    def read(entry: Coverage) -> bytes:
        return snapshots.object_bytes(shelf, snapshot, entry)

    return _table(shelf, entries, read, snapshot.start, snapshot.end, f"snapshot:{name}")


class _UnreadableError(Exception):
    """A file of the current store is damaged."""

    def __init__(self, entry: Coverage, damage: DamagedFileError) -> None:
        super().__init__(str(damage))
        self.entry, self.damage = entry, damage


def _table(
    shelf: Shelf,
    entries: Mapping[str, Coverage | None],
    read: Callable[[Coverage], bytes],
    start: dt.date | None,
    end: dt.date | None,
    name: str,
) -> PriceTable:
    stored = [entry for entry in entries.values() if entry is not None and entry.has_bars]
    key = sha256(json.dumps([SCHEMA, str(start), str(end), [[e.symbol, e.sha256] for e in stored]]).encode())
    path = shelf.folder / CACHE / f"{key[:32]}{SUFFIX}"
    matrix = _cached(shelf, path)
    if matrix is None:
        matrix = _assembled(stored, read, start, end)
        _keep(path, matrix)
    if not len(matrix.days):
        raise DataError(
            f"the store must have a price of one of {len(entries)} symbols from {start or 'the first day'} to "
            f"{end or 'the last'}, got none; fetch them: workbench prices fetch"
        )
    losses = tuple(_not_priced(symbol, entry) for symbol, entry in entries.items() if not (entry and entry.has_bars))
    source = InputFile(name, str(shelf.folder), matrix.digest)
    return PriceTable(matrix.days, matrix.symbols, matrix.values, source, matrix.losses + losses)


def _not_priced(symbol: str, entry: Coverage | None) -> Loss:
    reason = (entry.reason or entry.status) if entry else "it was never fetched"
    return Loss("not_priced", None, symbol, 1, None, None, reason)


def _assembled(
    stored: list[Coverage], read: Callable[[Coverage], bytes], start: dt.date | None, end: dt.date | None
) -> _Matrix:
    def column(entry: Coverage) -> tuple[Days, Floats]:
        try:
            days, (closes,) = decode_columns(read(entry), ["adj_close"])
        except DamagedFileError as error:
            raise _UnreadableError(entry, error) from None
        return days, closes

    # One after the other: what is done with a file is so short that handing it to threads took longer than it gained.
    columns = [column(entry) for entry in stored]
    bounds = [np.datetime64(day, "D") if day else None for day in (start, end)]
    losses, kept = [], []
    for entry, (days, closes) in zip(stored, columns, strict=True):
        lower = 0 if bounds[0] is None else int(np.searchsorted(days, bounds[0], "left"))
        upper = len(days) if bounds[1] is None else int(np.searchsorted(days, bounds[1], "right"))
        days, closes = days[lower:upper], closes[lower:upper]
        bad = ~((closes > 0) & (closes < np.inf)) & ~np.isnan(closes)
        if bad.any():
            losses.append(_bad_price(entry.symbol, days[bad], closes[bad]))
        good = (closes > 0) & (closes < np.inf)
        kept.append((days, closes) if good.all() else (days[good], closes[good]))
    days, values = _scattered(kept)
    symbols = tuple(entry.symbol for entry in stored)
    digest = sha256(_names(symbols) + _payload(days, values))
    return _Matrix(days, symbols, values, tuple(losses), digest)


def _bad_price(symbol: str, days: Days, closes: Floats) -> Loss:
    reason = f"an adjusted close that is no price counts as none: {closes[0]:g} on {days[0]}"
    return Loss("bad_price", None, symbol, len(days), str(days[0]), str(days[-1]), reason)


def _scattered(columns: list[tuple[Days, Floats]]) -> tuple[Days, Floats]:
    """Return the days of all columns (T) and the values (T, N)."""
    filled = [days for days, _ in columns if len(days)]
    if not filled:
        return np.empty(0, "datetime64[D]"), np.empty((0, len(columns)))
    first = min(days[0] for days in filled)
    offsets = [(days - first).astype(np.int64) for days, _ in columns]
    present = np.zeros(max(int(offset[-1]) for offset in offsets if len(offset)) + 1, dtype=bool)
    for offset in offsets:
        present[offset] = True
    rows = np.cumsum(present) - 1
    values = np.full((int(rows[-1]) + 1, len(columns)), np.nan)
    for place, (offset, (_, closes)) in enumerate(zip(offsets, columns, strict=True)):
        values[rows[offset], place] = closes
    return first + np.flatnonzero(present), values


def _names(symbols: tuple[str, ...]) -> bytes:
    return json.dumps(symbols).encode() + b"\n"


def _payload(days: Days, values: Floats) -> bytes:
    return days.astype(np.int64).astype("<i4").tobytes() + values.astype("<f8", copy=False).tobytes()


def _keep(path: Path, matrix: _Matrix) -> None:
    """Write a cache file and drop the oldest others. It can be made again: a failure costs time only."""
    losses = [loss.to_dict() for loss in matrix.losses]
    header = json.dumps(
        {"symbols": matrix.symbols, "days": len(matrix.days), "digest": matrix.digest, "losses": losses}
    )
    line = f"{sha256(header.encode())} {header}\n".encode()
    with contextlib.suppress(UnavailableError, OSError):
        write_file(path, line + _payload(matrix.days, matrix.values), durable=False)
        others = sorted(path.parent.glob(f"*{SUFFIX}"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in others[CACHES_KEPT:]:
            old.unlink(missing_ok=True)


def _cached(shelf: Shelf, path: Path) -> _Matrix | None:
    """Return the matrix in a cache file; None if there is none, or it is damaged, in which case it is removed."""
    if not path.exists():
        shelf.counts["cache_missed"] += 1
        return None
    try:
        matrix = read_cache(path)
    except DamagedFileError:
        shelf.counts["cache_damaged"] += 1
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    shelf.counts["cache_hit"] += 1
    return matrix


def read_cache(path: Path) -> _Matrix:
    """Return the matrix in a cache file; DamagedFileError if one of its bytes differs."""
    data = read_file(path)
    end = data.find(b"\n")
    checksum, _, header = data[: max(end, 0)].partition(b" ")
    if checksum.decode("ascii", "replace") != sha256(header):
        raise DamagedFileError(path, "its bytes are not those that were written (checksum)")
    read = json.loads(header)
    symbols, count = tuple(read["symbols"]), read["days"]
    size = 4 * count + 8 * count * len(symbols)
    # A copy, as a row of 8-byte numbers should begin at a multiple of 8.
    payload = data[end + 1 :]
    if len(payload) != size or sha256(_names(symbols) + payload) != read["digest"]:
        raise DamagedFileError(path, "its bytes are not those that were written (checksum)")
    days = np.frombuffer(payload, "<i4", count).astype("datetime64[D]")
    values = np.frombuffer(payload, "<f8", offset=4 * count).reshape(count, len(symbols)).astype(np.float64)
    return _Matrix(days, symbols, values, tuple(Loss(**loss) for loss in read["losses"]), read["digest"])
