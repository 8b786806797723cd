"""The files of the price store: one Parquet file and one manifest per symbol, and how they stay whole.

Enters: a folder. Leaves: records and bars of symbols, checked. A Parquet file is named by the hash of its bytes and is
never changed; the manifest names the file that counts, and replacing it is the one moment at which new bars become the
stored ones. Who writes holds the symbol's lock; who reads needs none, as what a manifest named a moment ago stays in
the folder for a day. What is damaged is found by its checksum, set aside with the reason, and then counts as not
stored.

    objects/BRK_2eB-<hash>.parquet   bars; immutable
    symbols/BRK_2eB.json             manifest: a `Coverage`
    snapshots/<id>.json              what a report used (market/snapshots.py)
    cache/<hash>.matrix              matrices that can be made again (market/matrix.py)
    locks/, set-aside/, schema.json
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.errors import ConfigError, DataError, UnavailableError
from workbench.market.bars import Bars, decode
from workbench.market.coverage import Coverage
from workbench.market.durable import (
    DamagedFileError,
    parse_document,
    read_checked,
    read_file,
    safe_name,
    symbol_of,
    unwritable,
    write_document,
    write_file,
)
from workbench.market.files import show

OBJECTS, SYMBOLS, SNAPSHOTS, CACHE, LOCKS, ASIDE = "objects", "symbols", "snapshots", "cache", "locks", "set-aside"
SCHEMA_FILE = "schema.json"
WHOLE_STORE = ".store"
"""The name of the lock that keeps files from being swept while a snapshot comes to refer to them."""


class Shelf:
    """The stored bars of all symbols.

    Parameters
    ----------
    folder
        Made if it is not there.

    Raises
    ------
    ConfigError
        The folder cannot be made, or a newer workbench wrote it (exit code 2).
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.counts: Counter[str] = Counter()  # of what happens behind the scenes: cache_hit, cache_damaged, set_aside
        self.repaired: list[DamagedFileError] = []  # what was wrong with the schema's file when it was opened
        self._locks: dict[str, FileLock] = {}
        try:
            for name in (OBJECTS, SYMBOLS, SNAPSHOTS, CACHE, LOCKS, ASIDE):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ConfigError(
                f"the price store must be a folder that can be written, got {show(self.folder, 200)} ({why}); "
                "set WORKBENCH_HOME to another folder"
            ) from None
        self.check_schema()

    def check_schema(self) -> None:
        """Write the schema's version where it is not there or damaged; ConfigError if it is a newer one."""
        path = self.folder / SCHEMA_FILE
        if path.exists():
            try:
                parse_document(path, read_file(path))
                return
            except DamagedFileError as error:
                self.repaired.append(error)
                self.move_aside(error)  # each manifest has the schema's version too, so nothing is lost with this file
        write_document(path, {"what": "price store of the workbench"})

    def lock(self, symbol: str) -> FileLock:
        """Return the lock of a symbol: one among processes and threads, to be entered again by the thread that has it."""
        return self.lock_named(safe_name(symbol))

    def lock_named(self, name: str) -> FileLock:
        """Return the lock of a symbol by its `safe_name`."""
        lock = self._locks.get(name)
        return lock or self._locks.setdefault(name, FileLock(self.folder / LOCKS / f"{name}.lock"))

    def object_path(self, symbol: str, checksum: str) -> Path:
        """Return where a symbol's file with this hash lies."""
        return self.folder.joinpath(OBJECTS, f"{safe_name(symbol)}-{checksum[:16]}.parquet")

    def manifest_path(self, symbol: str) -> Path:
        """Return where a symbol's manifest lies."""
        return self.folder.joinpath(SYMBOLS, f"{safe_name(symbol)}.json")

    def symbols(self) -> list[str]:
        """Return all symbols that the store knows of, in code-point order; those it knows to be missing too."""
        found = (self.symbol_at(path) for path in (self.folder / SYMBOLS).glob("*.json"))
        return sorted(symbol for symbol in found if symbol is not None)

    def symbol_at(self, manifest: Path) -> str | None:
        """Return the symbol whose manifest lies at a path; None if it is too damaged to tell."""
        symbol = symbol_of(manifest.stem)
        if symbol is None:  # its name is too long for a file: only the manifest knows it
            with contextlib.suppress(DamagedFileError):
                symbol = parse_document(manifest, read_file(manifest)).get("symbol")
        return symbol if symbol is not None and safe_name(symbol) == manifest.stem else None

    def coverage(self, symbol: str) -> Coverage | None:
        """Return the record of a symbol, or None if nothing is known of it.

        That its file is there and as long as it should be is checked; a damaged manifest or file is set aside.
        """
        try:
            return self._record(symbol)
        except DamagedFileError as error:
            return self.condemn(symbol, error)

    def _record(self, symbol: str) -> Coverage | None:
        path = self.manifest_path(symbol)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedFileError(path, f"cannot be read: {error.strerror or type(error).__name__}") from None
        known = Coverage.from_dict(parse_document(path, data))
        if known.symbol != symbol:
            raise DamagedFileError(path, f"is the manifest of {show(known.symbol)}")
        if known.has_bars:
            file = self.object_path(symbol, known.sha256)
            try:
                size = os.stat(file).st_size
            except OSError:
                raise DamagedFileError(file, "is not there") from None
            if size != known.size:
                raise DamagedFileError(file, f"must have {known.size:,} bytes, got {size:,}")
        return known

    def object_bytes(self, known: Coverage) -> bytes:
        """Return the bytes of the file that a record names; DamagedFileError unless they are what was written."""
        return read_checked(self.object_path(known.symbol, known.sha256), known.sha256, known.size)

    def checked(self, symbol: str) -> tuple[Coverage | None, bytes | None]:
        """Return the record of a symbol and the checked bytes of its file; None where there is none.

        A damaged file is set aside; the record then has the status "damaged" and no bars.
        """
        known = self.coverage(symbol)
        while known is not None and known.has_bars:
            try:
                return known, self.object_bytes(known)
            except DamagedFileError as error:
                known = self.condemn(symbol, error)  # or what another process has stored meanwhile
        return known, None

    def read(self, symbol: str, verify: bool = True) -> Bars:
        """Return the stored bars of a symbol.

        Parameters
        ----------
        symbol
            As it was stored.
        verify
            Compare the file's checksum. False compares its length only.

        Raises
        ------
        DataError
            Nothing is stored of it.
        UnavailableError
            Its file is damaged; it is set aside, and counts as not stored from now on.
        """
        if verify:
            known, data = self.checked(symbol)
        else:
            known = self.coverage(symbol)
            data = read_file(self.object_path(symbol, known.sha256)) if known and known.has_bars else None
        if data is not None:
            return decode(data)
        why = known.reason if known and known.reason else "it was never fetched"
        message = (
            f"{show(symbol)} has no stored prices: {why}; fetch them: workbench prices fetch --symbols {show(symbol)}"
        )
        raise UnavailableError(message) if known and known.status == "damaged" else DataError(message)

    def write_object(self, known: Coverage, data: bytes) -> None:
        """Put the bytes of a symbol's file where its record says."""
        write_file(self.object_path(known.symbol, known.sha256), data)

    @contextlib.contextmanager
    def holding(self, symbol: str) -> Iterator[None]:
        """Hold a symbol's lock; wait for it."""
        lock = self.lock(symbol)
        acquire(lock)
        try:
            yield
        finally:
            lock.release()

    def condemn(self, symbol: str, error: DamagedFileError) -> Coverage | None:
        """Set a damaged file of a symbol aside, unless it has been replaced meanwhile; return the symbol's record now.

        Where the folder cannot be written, or another process holds the lock, the files stay; the record says
        "damaged" all the same.
        """
        known = Coverage(symbol, "damaged", f"{error.path.name} was damaged: {error.why}")
        try:
            lock = self.lock(symbol)
            if not acquire(lock, 0):
                return known
            try:
                with contextlib.suppress(DamagedFileError):
                    return self.sound_record(symbol)
                known = self._damaged_record(symbol, known)
                self.move_aside(error)
                write_document(self.manifest_path(symbol), known.to_dict())
            finally:
                lock.release()
        except UnavailableError:
            self.counts["not_set_aside"] += 1
        return known

    def sound_record(self, symbol: str) -> Coverage | None:
        """Return the record of a symbol, the bytes of its file checked; DamagedFileError if either is damaged."""
        known = self._record(symbol)
        if known is not None and known.has_bars:
            self.object_bytes(known)
        return known

    def _damaged_record(self, symbol: str, damaged: Coverage) -> Coverage:
        """Return what is left of a symbol's record without its file: whose it was, and which days it covered."""
        path = self.manifest_path(symbol)
        try:
            known = Coverage.from_dict(parse_document(path, read_file(path)))
        except DamagedFileError:
            return damaged
        if known.symbol != symbol:
            return damaged
        known = replace(known, status="damaged", reason=damaged.reason, sha256="", size=0)
        return replace(known, first=None, last=None, rows=0, overlap=None, adjustment_factor=None)

    def move_aside(self, error: DamagedFileError) -> None:
        """Move a damaged file to set-aside/, with a text that says why; UnavailableError if it cannot be moved."""
        stamp = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        target = self.folder / ASIDE / f"{stamp}-{error.path.name}"
        try:
            os.replace(error.path, target)
        except FileNotFoundError:
            return  # lost, or another process was faster
        except OSError as fault:
            raise unwritable(target, fault) from None
        self.counts["set_aside"] += 1
        write_file(target.with_name(target.name + ".txt"), f"{error}\n".encode(errors="backslashreplace"))


def acquire(lock: FileLock, seconds: float | None = None) -> bool:
    """Take a lock, waiting for at most `seconds` (None: as long as it takes); tell whether it was given."""
    try:
        lock.acquire(timeout=-1 if seconds is None else seconds)
    except Timeout:
        return False
    except OSError as error:
        raise unwritable(Path(lock.lock_file), error) from None
    return True
