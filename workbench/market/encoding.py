"""Whether bytes are UTF-8 text, and what else they might be.

Enters: the bytes of a file that should hold CSV. Leaves: the same without a byte order mark, or a DataError that says what the
file seems to be and, where that makes sense, on which line.
"""

from __future__ import annotations

import re

from workbench.errors import DataError

LINE_END = re.compile(rb"\r\n|\r|\n")

_MAGIC = {
    b"\xff\xfe": "is UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text; save it as UTF-8",
    b"PK\x03\x04": "is a zip or Excel file; save the table as CSV",
    b"BZh": "is compressed with bzip2; gzip is the one compression that is read",
    b"\xfd7zXZ": "is compressed with xz; gzip is the one compression that is read",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; gzip is the one compression that is read",
    b"<": "is HTML or XML; name a CSV or Parquet file, or the address of the raw file",
}


def check_text(name: str, data: bytes) -> bytes:
    """Return the data without byte order mark; DataError if they are not UTF-8 text."""
    body = data[3:] if data.startswith(b"\xef\xbb\xbf") else data
    if not body.strip():
        raise DataError(f"{name}: is empty; name a table with a header line and rows")
    for magic, complaint in _MAGIC.items():
        if body.startswith(magic):
            raise DataError(f"{name}: {complaint}")
    if b"\0" in body:
        if body[:1000].count(0) * 4 > len(body[:1000]):
            raise DataError(f"{name}: is UTF-16 text or binary; save the table as UTF-8 CSV")
        line = line_of(body, body.index(b"\0"))
        raise DataError(f"{name}: line {line}: must be text, got a NUL byte; save the table as UTF-8 CSV")
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            line, byte = line_of(body, error.start), body[error.start]
            raise DataError(
                f"{name}: line {line}: must be UTF-8 text, got the byte 0x{byte:02x}; save the table as UTF-8"
            ) from None
    return body


def line_of(body: bytes, position: int) -> int:
    """Return the number, from 1, of the line on which the byte at `position` stands."""
    return len(LINE_END.findall(body, 0, position)) + 1
