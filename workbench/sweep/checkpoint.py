"""The files of a sweep: a folder of finished parts while it runs, one Parquet file when it is done.

Enters: chunks, in any order. Leaves: `OUT`, with rows in the grid's order. Until then `OUT.parts` holds what is finished, so that a
sweep that was stopped goes on from there. Neither engine nor time is in the files: the same sweep gives the same bytes, however it was
computed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import ConfigError, UnavailableError
from workbench.market.durable import TEMPORARY, parse_document, read_file, write_document
from workbench.market.files import show

COMPRESSION = "zstd"


class Parts:
    """The finished parts of one sweep.

    Parameters
    ----------
    out
        The file that the sweep will be.
    identity
        What makes it this sweep and no other: grid, data, versions.
    resume
        Go on from parts that are there.

    Raises
    ------
    ConfigError
        The folder cannot be written, holds parts of another sweep, or holds some of this one and `resume` is not asked for.
    UnavailableError
        Another process computes into it.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], resume: bool) -> None:
        self.out, self.folder = out, out.with_name(f"{out.name}.parts")
        self._identity = json.loads(json.dumps(identity))
        with writable(out, "-o"):
            self.folder.mkdir(exist_ok=True)
            self._lock = filelock.FileLock(self.folder / "lock", blocking=False)
            try:
                self._lock.acquire()
            except filelock.Timeout:
                raise UnavailableError(
                    f"{show(self.folder, 200)}: another process computes this sweep; wait for it"
                ) from None
        try:
            self._adopt(resume)
        except BaseException:
            self._lock.release()
            raise

    def _adopt(self, resume: bool) -> None:
        about = self.folder / "sweep.json"
        finished = sum(1 for _ in self.folder.glob("*.parquet"))
        if about.exists():
            stored = parse_document(about, read_file(about))
            if stored != self._identity:
                raise ConfigError(
                    f"{show(self.folder, 200)} holds parts of another sweep (its grid, data or versions differ); "
                    "remove the folder, or name another file with -o"
                )
            if not resume and finished:
                raise ConfigError(
                    f"{show(self.folder, 200)} holds {finished} finished parts of this sweep; "
                    "--resume goes on from them, removing the folder starts anew"
                )
        write_document(about, self._identity)
        for left in self.folder.glob(f"{TEMPORARY}*"):
            left.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        """Return whether a part is finished and readable; a damaged one is computed again."""
        path = self.folder / f"{name}.parquet"
        try:
            self.read(name)
            return True
        except FileNotFoundError:
            return False
        except (pa.ArrowException, OSError):
            path.unlink(missing_ok=True)
            return False

    def write(self, name: str, table: pa.Table) -> None:
        """Store a part, whole or not at all."""
        path = self.folder / f"{name}.parquet"
        with _whole(path) as temporary:
            pq.write_table(table, temporary, compression=COMPRESSION, write_page_checksum=True)

    def read(self, name: str) -> pa.Table:
        """Return a finished part."""
        return pq.read_table(self.folder / f"{name}.parquet", page_checksum_verification=True)

    def assemble(self, names: Sequence[str], out: Path) -> None:
        """Write the parts, in the order given, as one file, one row group each; its metadata say what sweep it is."""
        with _whole(out) as temporary:
            schema = pq.read_schema(self.folder / f"{names[0]}.parquet")
            about = schema.with_metadata({"workbench": json.dumps(self._identity, sort_keys=True)})
            with pq.ParquetWriter(temporary, about, compression=COMPRESSION) as writer:
                for name in names:
                    writer.write_table(self.read(name))

    def remove(self) -> None:
        """Remove the parts: the sweep is done."""
        shutil.rmtree(self.folder, ignore_errors=True)  # before the lock is: nobody may have begun anew in it
        self._lock.release()

    def close(self) -> None:
        """Leave the parts for a later run."""
        self._lock.release()


@contextmanager
def writable(path: Path, option: str) -> Iterator[None]:
    """Make the folder of a file that is to be written; what keeps it from being used is an error that names the option."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(
            f"{option} must name a file in a folder that can be written, got {str(path)!r} ({why}); name another"
        ) from None


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`, and move what was written there to it; nothing is left of what failed."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        why = error.strerror or type(error).__name__
        raise UnavailableError(
            f"{show(path, 200)}: cannot be written: {why}; what is finished is kept, --resume goes on from it"
        ) from None
