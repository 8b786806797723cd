"""The store under inspection: what it holds, what is wrong with it, and what can be swept away.

Enters: the store. Leaves: a frame with a row per symbol, a list of findings, and less files. Only `verify` reads every byte.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workbench.errors import UnavailableError
from workbench.market import matrix, quality, snapshots
from workbench.market.bars import decode
from workbench.market.durable import TEMPORARY, DamagedFileError
from workbench.market.shelf import (
    ASIDE,
    CACHE,
    LOCKS,
    OBJECTS,
    SCHEMA_FILE,
    SNAPSHOTS,
    SYMBOLS,
    WHOLE_STORE,
    Shelf,
    acquire,
)

GRACE = dt.timedelta(days=1)
"""How long a file that nothing refers to any more is kept: a reader may have been told of it a moment ago."""


_STATUS = [
    *("symbol", "status", "first", "last", "rows", "covered_first", "covered_last"),
    *("currency", "exchange", "source", "source_symbol", "fetched_at", "reason"),
]


@dataclass(frozen=True)
class Finding:
    """One thing that `verify` found.

    kind : "damaged" (not the bytes that were written, or gone), "gap" (trading days without a bar), "unused" (a file
        that nothing refers to; harmless, it is swept later) or "unknown" (a file that is not the store's).
    symbol : whose it is, or None.
    file : relative to the store's folder.
    detail : one sentence.
    """

    kind: str
    symbol: str | None
    file: str
    detail: str


def status(shelf: Shelf) -> pd.DataFrame:
    """Return what the store has, one row per symbol.

    Columns: `symbol, status, first, last, rows, covered_first, covered_last, currency, exchange, source,
    source_symbol, fetched_at, reason`; days are text, empty where there is none.
    """
    rows = []
    for symbol in shelf.symbols():
        known = shelf.coverage(symbol)
        if known is not None:
            covered = known.covered
            rows.append(
                {
                    "symbol": symbol,
                    "status": known.status,
                    "first": str(known.first or ""),
                    "last": str(known.last or ""),
                    "rows": known.rows,
                    "covered_first": str(covered.first) if covered else "",
                    "covered_last": str(covered.last) if covered else "",
                    "currency": known.currency,
                    "exchange": known.exchange,
                    "source": known.source,
                    "source_symbol": known.source_symbol,
                    "fetched_at": known.fetched_at.isoformat() if known.fetched_at else "",
                    "reason": known.reason,
                }
            )
    return pd.DataFrame(rows, columns=_STATUS)


def verify(shelf: Shelf, gaps: bool = True) -> list[Finding]:
    """Check every file of the store: checksums, references, and trading days without a bar.

    Parameters
    ----------
    shelf
        The store. What is damaged is set aside, and so fetched again next time.
    gaps
        Compare the days from the first to the last bar with the exchange's calendar, too.

    Returns
    -------
    list of Finding
        Empty if all is well.
    """
    return [
        *_verified_schema(shelf),
        *_verified_manifests(shelf, gaps),
        *_verified_snapshots(shelf),
        *_verified_caches(shelf),
        *_strangers(shelf),
    ]


def _damaged(shelf: Shelf, symbol: str | None, error: DamagedFileError, remedy: str) -> Finding:
    return Finding("damaged", symbol, str(error.path.relative_to(shelf.folder)), f"{error.why}; {remedy}")


def _verified_schema(shelf: Shelf) -> Iterator[Finding]:
    shelf.check_schema()
    for error in shelf.repaired:
        yield _damaged(shelf, None, error, "it was written again")
    shelf.repaired.clear()


def _verified_manifests(shelf: Shelf, gaps: bool) -> Iterator[Finding]:
    remedy = "set aside; the next fetch brings its symbol again"
    for path in sorted((shelf.folder / SYMBOLS).glob("*.json")):
        symbol = shelf.symbol_at(path)
        if symbol is None:
            error = DamagedFileError(path, "its bytes are not those that were written (checksum)")
            with contextlib.suppress(UnavailableError):
                shelf.move_aside(error)
            yield _damaged(shelf, None, error, remedy)
            continue
        try:
            known = shelf.sound_record(symbol)
        except DamagedFileError as error:
            shelf.condemn(symbol, error)
            yield _damaged(shelf, symbol, error, remedy)
            continue
        if gaps and known is not None and known.has_bars:
            bars = decode(shelf.object_bytes(known))
            for loss in quality.missing_days(symbol, bars, known.exchange):
                name = str(path.relative_to(shelf.folder))
                yield Finding("gap", symbol, name, f"{loss.count} days, {loss.first} to {loss.last}: {loss.reason}")


def _verified_snapshots(shelf: Shelf) -> Iterator[Finding]:
    seen: set[Path] = set()
    for name in snapshots.snapshot_ids(shelf):
        try:
            found = snapshots.read_snapshot(shelf, name, verify=False)
        except DamagedFileError as error:
            yield _damaged(shelf, None, error, "set aside; take a new snapshot")
            continue
        for entry in found.entries.values():
            path = shelf.object_path(entry.symbol, entry.sha256)
            if entry.has_bars and path not in seen:
                seen.add(path)
                try:
                    shelf.object_bytes(entry)
                except DamagedFileError as error:
                    snapshots.set_aside(shelf, entry, error)
                    yield _damaged(shelf, entry.symbol, error, f"snapshot {name} needs it; set aside")


def _verified_caches(shelf: Shelf) -> Iterator[Finding]:
    for path in sorted((shelf.folder / CACHE).glob(f"*{matrix.SUFFIX}")):
        try:
            matrix.read_cache(path)
        except DamagedFileError as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            yield _damaged(shelf, None, error, "removed; it is made again when it is needed")


def _strangers(shelf: Shelf) -> Iterator[Finding]:
    """Yield the files that nothing refers to, and those that are none of the store's."""
    used = _used(shelf)
    forms = {OBJECTS: "*.parquet", SYMBOLS: "*.json", SNAPSHOTS: "*.json", CACHE: f"*{matrix.SUFFIX}", LOCKS: "*.lock"}
    for path in sorted(shelf.folder.rglob("*")):
        name = path.relative_to(shelf.folder)
        if path.is_dir() or name.parts[0] == ASIDE or name == Path(SCHEMA_FILE):
            continue
        if path.name.startswith(TEMPORARY):
            yield Finding("unused", None, str(name), "left by a process that was killed; it is swept after a day")
        elif len(name.parts) != 2 or not path.match(forms.get(name.parts[0], "")):
            yield Finding("unknown", None, str(name), "not a file of the store; it is left alone")
        elif name.parts[0] == OBJECTS and used is not None and path.name not in used:
            yield Finding("unused", None, str(name), "replaced, or never finished; it is swept after a day")


def _used(shelf: Shelf) -> set[str] | None:
    """Return the names of all files with bars that something refers to; None where that cannot be told."""
    used: set[str] = set()
    try:
        for name in snapshots.snapshot_ids(shelf):
            used.update(snapshots.read_snapshot(shelf, name, verify=False).object_names(shelf))
    except DamagedFileError:
        return None
    for symbol in shelf.symbols():
        known = shelf.coverage(symbol)
        if known is not None and known.has_bars:
            used.add(shelf.object_path(symbol, known.sha256).name)
    return used


def prune(shelf: Shelf, grace: dt.timedelta = GRACE) -> list[str]:
    """Delete files with bars that neither a manifest nor a snapshot names, and what killed processes left.

    Parameters
    ----------
    shelf
        The store. Where another process sweeps or takes a snapshot, nothing is done.
    grace
        Younger files stay.

    Returns
    -------
    list of str
        Names of the deleted files.
    """
    lock = shelf.lock_named(WHOLE_STORE)
    deleted: list[str] = []
    try:
        if not acquire(lock, 0):
            return deleted
    except UnavailableError:  # a store that can only be read
        return deleted
    try:
        used = _used(shelf)
        for path in () if used is None else sorted((shelf.folder / OBJECTS).glob("*.parquet")):
            if path.name not in (used or ()) and _swept(shelf, path, grace):
                deleted.append(path.name)
        for path in sorted(shelf.folder.glob(f"*/{TEMPORARY}*")) + sorted(shelf.folder.glob(f"{TEMPORARY}*")):
            if _old(path, grace):
                with contextlib.suppress(OSError):
                    path.unlink()
                    deleted.append(path.name)
        return deleted
    finally:
        lock.release()


def _old(path: Path, grace: dt.timedelta) -> bool:
    try:
        return time.time() - path.stat().st_mtime >= grace.total_seconds()
    except OSError:
        return False


def _swept(shelf: Shelf, path: Path, grace: dt.timedelta) -> bool:
    """Delete a file under its symbol's lock, unless it has come into use since it was found to be in none."""
    name = path.stem.rpartition("-")[0]
    lock = shelf.lock_named(name)
    if not _old(path, grace) or not acquire(lock, 0):
        return False
    try:
        manifest = shelf.folder / SYMBOLS / f"{name}.json"
        symbol = shelf.symbol_at(manifest) if manifest.exists() else None
        known = shelf.coverage(symbol) if symbol is not None else None
        if known is not None and known.has_bars and shelf.object_path(known.symbol, known.sha256) == path:
            return False
        if not _old(path, grace):
            return False
        path.unlink(missing_ok=True)
        return True
    except OSError:
        return False
    finally:
        lock.release()
