"""Input files and addresses: where a name leads, and the bytes that are there.

Enters: a name as the user gave it. Leaves: an `InputFile` (the name, where it was found, the hash) and the very bytes
that were hashed, read once, so that what a report names is what was computed on. Nothing here looks inside a table.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from workbench.errors import DataError, UnavailableError
from workbench.market.tables import InputFile

PACKAGE_DATA = Path(__file__).resolve().parents[1] / "_data"
MAX_BYTES = 1 << 30
CONNECT_SECONDS, READ_SECONDS, TOTAL_SECONDS = 10.0, 30.0, 300.0

_CHECKOUT = PACKAGE_DATA.parents[1]
_GZIP_MAGIC = b"\x1f\x8b"


def show(text: object, limit: int = 80) -> str:
    """Return `text` fit for a one-line message: control characters escaped, cut at `limit` characters."""
    line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def read_input(source: str | Path, *, also: Iterable[str] = ()) -> tuple[InputFile, bytes]:
    """Read an input file or address once and hash what was read.

    Parameters
    ----------
    source
        A path, or an `http://` or `https://` address. A relative path is looked up in the current folder, then in the
        folder that WORKBENCH_PROJECT names, then in the packaged data.
    also
        Keywords that the caller would have accepted instead of a file; they take part in the "did you mean".

    Returns
    -------
    tuple of InputFile and bytes
        The bytes are as they lie there (a gzip file still compressed); `InputFile.sha256` is theirs.

    Raises
    ------
    DataError
        No such file, a directory, a file that cannot be read or is larger than `MAX_BYTES`.
    UnavailableError
        The address cannot be reached or does not deliver.
    """
    name = str(source)
    if name.lower().startswith(("http://", "https://")):
        where, data = name, _fetch(name)
    else:
        path = find_input(name, also=also)
        where, data = str(path), _read(name, path)
    return InputFile(name, where, hashlib.sha256(data).hexdigest()), data


def find_input(name: str, *, also: Iterable[str] = ()) -> Path:
    """Return the resolved path of the input called `name`; DataError with the nearest name if there is none."""
    if not name.strip():
        raise DataError("the name of an input file must not be empty")
    candidates = _candidates(name)
    for path in candidates:
        if os.path.exists(path):
            return Path(os.path.realpath(path))
    around = {entry.name for path in candidates for entry in _siblings(path)}
    near = difflib.get_close_matches(Path(name).name, sorted(around | set(also)), n=1)
    hint = f"; did you mean {show(near[0])}?" if near else ""
    looked = "" if os.path.isabs(os.path.expanduser(name)) else ", WORKBENCH_PROJECT or the packaged data"
    place = "in the current folder" + looked if looked else "at that path"
    raise DataError(f"{show(name, 200)}: no such file {place}{hint}")


def _candidates(name: str) -> list[Path]:
    # expanduser raises RuntimeError where the home folder is unknown; os.path's leaves the name as it is.
    path = Path(os.path.expanduser(name))
    if path.is_absolute():
        return [path]
    folders = [Path()]  # relative: the current folder may be one that was removed
    if os.environ.get("WORKBENCH_PROJECT"):
        folders.append(Path(os.environ["WORKBENCH_PROJECT"]))
    folders.append(PACKAGE_DATA)
    # A source checkout ships this one table at its top level, where people look for it; a wheel has it in the
    # package.
    if name == "sentiment_data.csv" and (_CHECKOUT / "pyproject.toml").is_file():
        folders.append(_CHECKOUT)
    return [folder / path for folder in folders]


def _siblings(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    except (OSError, ValueError):
        return []


def _read(name: str, path: Path) -> bytes:
    shown = show(name, 200)
    if path.is_dir():
        raise DataError(f"{shown}: is a folder; name the table's file in it")
    if not path.is_file():
        raise DataError(f"{shown}: is not a regular file; save the table to one and name that")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{shown}: must be at most {MAX_BYTES:,} bytes, got {path.stat().st_size:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{shown}: cannot be read: {error.strerror or type(error).__name__}") from None


def _fetch(address: str) -> bytes:
    shown = show(address, 200)
    try:
        parts = urlsplit(address)
        host, user = parts.hostname, parts.username
    except ValueError as error:
        raise DataError(f"{shown}: is not a valid address: {show(error)}") from None
    if not host:
        raise DataError(f"{shown}: is not a valid address: it names no host")
    if user is not None:
        # The address is stored in every report, so a password in it would be published. It is not shown here either.
        raise DataError(f"the address of an input must hold no password (host {show(host)}); download it")
    return _download(address, shown)


def _download(address: str, shown: str) -> bytes:
    # httpx costs a tenth of a second of import, which only those who use an address should pay.
    import time

    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    data, until = bytearray(), time.monotonic() + TOTAL_SECONDS
    try:
        with httpx.stream("GET", address, timeout=timeout, follow_redirects=True) as response:
            if response.status_code != 200:
                raise UnavailableError(f"{shown}: the server answered {response.status_code} {response.reason_phrase}")
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise UnavailableError(f"{shown}: sends more than {MAX_BYTES:,} bytes; save it as a file")
                if time.monotonic() > until:
                    raise UnavailableError(f"{shown}: took more than {TOTAL_SECONDS:.0f} s; save it as a file")
    except httpx.InvalidURL as error:
        raise DataError(f"{shown}: is not a valid address: {show(error)}") from None
    except httpx.HTTPError as error:
        reason = show(str(error) or type(error).__name__)
        raise UnavailableError(f"{shown}: cannot be fetched: {reason}; download it and name the file") from None
    return bytes(data)


def gunzip(name: str, data: bytes, where: str) -> bytes:
    """Return `data` decompressed if it is gzip, else as it is.

    Parameters
    ----------
    name
        What messages call the input.
    data
        What was read. Several gzip members after one another are one file, as gzip has it.
    where
        The resolved path or address: a local file called .gz must be gzip, a server may have unpacked it.

    Raises
    ------
    DataError
        The stream is truncated or damaged, unpacks to more than `MAX_BYTES`, or is named .gz without being gzip.
    """
    if not data.startswith(_GZIP_MAGIC):
        if where.lower().endswith(".gz") and "://" not in where:
            raise DataError(f"{name}: is named .gz but is not gzip; rename it or compress it")
        return data
    parts, size = [], 0
    while data.startswith(_GZIP_MAGIC):
        stream = zlib.decompressobj(wbits=31)
        try:
            part = stream.decompress(data, MAX_BYTES + 1 - size)
        except zlib.error as error:
            raise DataError(f"{name}: is damaged gzip ({show(error)}); compress it again") from None
        size += len(part)
        if size > MAX_BYTES:
            raise DataError(f"{name}: must unpack to at most {MAX_BYTES:,} bytes")
        if not stream.eof:
            raise DataError(f"{name}: is truncated gzip, it ends before its data do; get the whole file")
        parts.append(part)
        data = stream.unused_data
    if data.strip(b"\0"):
        raise DataError(f"{name}: has {len(data):,} bytes that are not gzip after its gzip data; compress it again")
    return parts[0] if len(parts) == 1 else b"".join(parts)
