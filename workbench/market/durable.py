"""Files that are whole or not there, and that say so: atomic writes, checksums in JSON, safe file names.

Enters: bytes, plain dicts, symbols. Leaves: files in one folder of the price store. A write goes to a temporary file
beside its target, is flushed to the disk and moved over it, so that whoever is killed, or runs out of disk, at any
moment leaves the old file or the new one. Nothing here knows what a price is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, UnavailableError
from workbench.market.files import show

SCHEMA = 1
"""Version of everything in a price store's folder."""

TEMPORARY = ".tmp-"

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_RESERVED = re.compile(r"CON|PRN|AUX|NUL|COM\d|LPT\d")
_LONGEST, _KEPT = 160, 80
_SEPARATOR, _END = b',\n "checksum": "', b'"\n}\n'
_TAIL = len(_SEPARATOR) + 64 + len(_END)


class DamagedFileError(UnavailableError):
    """A file of the store is not what was written. `path` names it, `why` says what is wrong with it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{show(path, 200)}: {why}")
        self.path, self.why = path, why


_STORE = "what was stored before is whole; make room, or set WORKBENCH_HOME to another folder"


def write_file(path: Path, data: bytes, durable: bool = True, advice: str = _STORE) -> None:
    """Put `data` at `path`, whole or not at all.

    Parameters
    ----------
    path
        Its folder must exist; what is there is replaced.
    durable
        Wait until the disk has it. False for what can be made again.
    advice
        What the user is told to do where it fails; by default about a file of the store.

    Raises
    ------
    UnavailableError
        The disk is full, or the folder cannot be written. The old file is as it was.
    """
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}"
    try:
        with open(temporary, "xb", buffering=0) as file:
            view = memoryview(data)
            while view:  # an unbuffered write may take less than all
                view = view[file.write(view) :]
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise unwritable(path, error, advice) from None
        raise


def _flush_folder(folder: Path) -> None:
    """Make a rename last: two renames in different folders otherwise reach the disk in any order."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why_not_writable(folder: Path) -> str | None:
    """Return why no file can be made in a folder, in the system's words; None where one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def unwritable(path: Path, error: OSError, advice: str = _STORE) -> UnavailableError:
    """Return the error of a file that could not be written."""
    why = error.strerror or type(error).__name__
    return UnavailableError(f"{show(path, 200)}: cannot be written: {why}" + (f"; {advice}" if advice else ""))


def sha256(data: bytes) -> str:
    """Return the hexadecimal hash of `data`."""
    return hashlib.sha256(data).hexdigest()


def read_checked(path: Path, checksum: str, size: int) -> bytes:
    """Return the bytes of a file; DamagedFileError unless they have this length and hash."""
    data = read_file(path)
    if len(data) != size:
        raise DamagedFileError(path, f"must have {size:,} bytes, got {len(data):,}")
    if sha256(data) != checksum:
        raise DamagedFileError(path, "its bytes are not those that were written (checksum)")
    return data


def read_file(path: Path) -> bytes:
    """Return the bytes of a file; DamagedFileError if it is not there or cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise DamagedFileError(path, "is not there") from None
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror or type(error).__name__}") from None


def write_document(path: Path, content: dict[str, Any]) -> None:
    """Put a dict at `path` as JSON for people, with the schema's version and a checksum of the text before it."""
    text = json.dumps({"schema": SCHEMA, **content}, indent=1).encode()
    write_file(path, text.removesuffix(b"\n}") + _SEPARATOR + sha256(text).encode() + _END)


def parse_document(path: Path, data: bytes) -> dict[str, Any]:
    """Return the dict that `write_document` put at `path`.

    Parameters
    ----------
    path
        What messages call the file.
    data
        Its bytes.

    Raises
    ------
    DamagedFileError
        One of its bytes differs.
    ConfigError
        A newer workbench wrote it (exit code 2).
    """
    text, tail = data[:-_TAIL] + b"\n}", data[-_TAIL:]
    if tail != _SEPARATOR + sha256(text).encode() + _END:
        raise DamagedFileError(path, "its bytes are not those that were written (checksum)")
    content: dict[str, Any] = json.loads(text)
    version = content.pop("schema")
    if version > SCHEMA:
        raise ConfigError(
            f"{show(path, 200)}: its schema must be at most {SCHEMA}, got {version}, of a newer workbench; "
            "upgrade this one, or set WORKBENCH_HOME to another folder"
        )
    return content


@functools.lru_cache(maxsize=1 << 14)
def safe_name(symbol: str) -> str:
    r"""Return a file name for a symbol, different for different symbols also where case does not count.

    Capitals, digits and `-` stay; each other byte of its UTF-8 is written `_` and two digits: BRK.B is BRK_2eB, ^GSPC is
    _5eGSPC, aapl is _61_61_70_6c. The first letter of a device's name is written so too (CON is _43ON), and a name too
    long for a file ends in `__` and a hash, so that only the manifest knows its symbol.
    """
    raw = symbol.encode("utf-8", "surrogatepass")
    first = 1 if _RESERVED.fullmatch(symbol) else 0
    parts = [chr(byte) if byte in _SAFE and place >= first else f"_{byte:02x}" for place, byte in enumerate(raw)]
    name = "".join(parts)
    return name if len(name) <= _LONGEST else f"{name[:_KEPT]}__{sha256(raw)[:32]}"


def symbol_of(name: str) -> str | None:
    """Return the symbol of a `safe_name`; None where the name was too long, or is none."""
    if not re.fullmatch(r"([A-Z0-9-]|_[0-9a-f]{2})+", name):
        return None
    raw = re.sub(rb"_([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), name.encode())
    try:
        symbol = raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    return symbol if safe_name(symbol) == name else None
