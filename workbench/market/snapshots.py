"""Snapshots: what a report used, kept although the source changes its history.

Enters: symbols and bounds. Leaves: an id, which is a hash of what it stands for, and later the same bars. A snapshot is
a list of the files that hold the bars; these never change and are never swept while a snapshot names them, so that
only what differs is kept twice. Bounds cut the bars: the same study of a past time has the same snapshot every day, unless the
source has changed that past.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from workbench.config import nearest
from workbench.errors import DataError, UnavailableError
from workbench.market.bars import decode, encode
from workbench.market.coverage import Coverage, DayRange
from workbench.market.durable import DamagedFileError, parse_document, read_file, sha256, write_document
from workbench.market.files import show
from workbench.market.merge import Origin, described, within
from workbench.market.shelf import SNAPSHOTS, WHOLE_STORE, Shelf, acquire


@dataclass(frozen=True)
class Snapshot:
    """What a report used.

    entries : the record of each symbol as it was then, in code-point order; those without bars say why.
    start, end : the bounds of the bars, or None.
    """

    id: str
    created_at: dt.datetime
    start: dt.date | None
    end: dt.date | None
    entries: Mapping[str, Coverage]

    def object_names(self, shelf: Shelf) -> Iterator[str]:
        """Yield the names of the files that it needs."""
        for entry in self.entries.values():
            if entry.has_bars:
                yield shelf.object_path(entry.symbol, entry.sha256).name


def take_snapshot(
    shelf: Shelf,
    symbols: Iterable[str],
    start: dt.date | None = None,
    end: dt.date | None = None,
    reasons: Mapping[str, str] | None = None,
) -> str:
    """Freeze the stored bars of some symbols, and return the id of the snapshot.

    Parameters
    ----------
    shelf, symbols
        Symbols that are not stored are listed in it as such.
    start, end
        Bounds of the bars, both included. The same bars within the same bounds have the same id.
    reasons
        Why some symbols could not be fetched just now, which the store itself does not remember.

    Raises
    ------
    DataError
        None of the symbols has bars within the bounds.
    UnavailableError
        The store cannot be written.
    """
    lock = shelf.lock_named(WHOLE_STORE)
    acquire(lock)  # from here on no file is swept that we are about to name
    try:
        entries = {symbol: _entry(shelf, symbol, start, end) for symbol in sorted(set(symbols))}
        if not any(entry.has_bars for entry in entries.values()):
            raise DataError(
                f"a snapshot must have a symbol with stored prices, got none of {len(entries)} from {start or 'the first day'} "
                f"to {end or 'the last'}; fetch them: workbench prices fetch"
            )
        bounds = [day and day.isoformat() for day in (start, end)]
        for symbol, reason in (reasons or {}).items():
            if symbol in entries:
                entries[symbol] = replace(entries[symbol], reason=reason)
        content = {symbol: [entry.sha256 or entry.status, entry.reason] for symbol, entry in entries.items()}
        name = sha256(json.dumps([bounds, content], sort_keys=True).encode())[:12]
        path = shelf.folder / SNAPSHOTS / f"{name}.json"
        try:
            parse_document(path, read_file(path))
        except DamagedFileError as error:
            shelf.move_aside(error)
            now = dt.datetime.now(dt.UTC).replace(microsecond=0)
            plain = {symbol: entry.to_dict() for symbol, entry in entries.items()}
            write_document(
                path,
                {"id": name, "created_at": now.isoformat(), "start": bounds[0], "end": bounds[1], "symbols": plain},
            )
        return name
    finally:
        lock.release()


def _entry(shelf: Shelf, symbol: str, start: dt.date | None, end: dt.date | None) -> Coverage:
    known, data = shelf.checked(symbol)
    if known is None or data is None:
        return known or Coverage(symbol, "missing", "it was never fetched")
    bars = decode(data)
    cut = within(bars, DayRange(start or dt.date.min, end or dt.date.max))
    if len(cut) == len(bars):
        return known
    if not len(cut):
        return replace(known, reason="it has no prices within the bounds", sha256="", size=0, rows=0)
    data = encode(cut)
    entry = replace(described(known, known, cut, Origin()), sha256=sha256(data), size=len(data))
    try:
        shelf.object_bytes(entry)
    except DamagedFileError:  # not there yet, as a rule
        shelf.write_object(entry, data)
    return entry


def snapshot_ids(shelf: Shelf) -> list[str]:
    """Return the ids of all snapshots."""
    return sorted(path.stem for path in (shelf.folder / SNAPSHOTS).glob("*.json"))


def read_snapshot(shelf: Shelf, name: str, verify: bool = True) -> Snapshot:
    """Return a snapshot.

    Parameters
    ----------
    shelf, name
        The store and the snapshot's id.
    verify
        Compare the checksums of all files that it names, too.

    Raises
    ------
    DataError
        There is no such snapshot.
    UnavailableError
        It, or a file that it names, is damaged. A damaged file is set aside.
    """
    ids = snapshot_ids(shelf)
    if name not in ids:
        hint = nearest(name, ids) or (f"; there are {', '.join(ids[-3:])}" if ids else "; the store has none")
        raise DataError(f"snapshot must be the id of one in {show(shelf.folder, 200)}, got {show(name)}{hint}")
    path = shelf.folder / SNAPSHOTS / f"{name}.json"
    try:
        plain = parse_document(path, read_file(path))
    except DamagedFileError as error:
        with contextlib.suppress(UnavailableError):
            shelf.move_aside(error)
        raise
    found = Snapshot(
        name,
        dt.datetime.fromisoformat(plain["created_at"]),
        plain["start"] and dt.date.fromisoformat(plain["start"]),
        plain["end"] and dt.date.fromisoformat(plain["end"]),
        {symbol: Coverage.from_dict(entry) for symbol, entry in plain["symbols"].items()},
    )
    if verify:
        for entry in found.entries.values():
            if entry.has_bars:
                object_bytes(shelf, found, entry)
    return found


def object_bytes(shelf: Shelf, snapshot: Snapshot, entry: Coverage) -> bytes:
    """Return the checked bytes of one file of a snapshot; UnavailableError if it is damaged, and set aside."""
    try:
        return shelf.object_bytes(entry)
    except DamagedFileError as error:
        set_aside(shelf, entry, error)
        raise UnavailableError(
            f"snapshot {snapshot.id} cannot be read: {error}; "
            f"it can be again once a fetch of {show(entry.symbol)} brings the same prices, else take a new one"
        ) from None


def set_aside(shelf: Shelf, entry: Coverage, error: DamagedFileError) -> None:
    """Set the damaged file of a snapshot's entry aside; where it is the current one too, the symbol counts as not stored."""
    known = shelf.coverage(entry.symbol)  # sees that the file is gone, or too short
    if known is not None and known.sha256 == entry.sha256:
        shelf.condemn(entry.symbol, error)
        return
    with contextlib.suppress(UnavailableError):
        lock = shelf.lock(entry.symbol)
        if acquire(lock, 0):
            try:
                shelf.move_aside(error)
            finally:
                lock.release()
