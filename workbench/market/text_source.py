"""Files of posts, opened and cut into chunks.

Enters: the name of a CSV, CSV.gz or Parquet file. Leaves: its layout, and its rows in chunks, read as they are asked for, so that memory
holds a few chunks whatever the file's length. The form is told by what the bytes begin with, not by the name. Chunks are cut by what
is in the file: a multiple of `GROUP` rows, as soon as they hold as many bytes as were asked for.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from workbench.errors import DataError
from workbench.market.encoding import check_text
from workbench.market.files import find_input, show
from workbench.market.text_layout import PostLayout, post_layout
from workbench.market.text_records import TextChunk, cells_of, read_records
from workbench.market.text_tally import GROUP, Chunk
from workbench.market.typed import PARQUET_MAGIC

BLOCK_BYTES = 1 << 20

_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


class PostSource(Protocol):
    """A file of posts."""

    @property
    def name(self) -> str:
        """As the user gave it, for messages."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def layout(self) -> PostLayout:
        """Which column is what."""

    @property
    def size(self) -> int:
        """Bytes of the file."""

    def chunks(self, chunk_bytes: int) -> Iterator[tuple[int, Chunk]]:
        """Yield (bytes of the file that were read since the last, chunk), in the file's order.

        Raises
        ------
        DataError
            The file is damaged, or cannot be read to its end.
        """


def open_posts(path: str | Path, names: Mapping[str, str]) -> PostSource:
    """Return a file of posts, its header read and checked.

    Parameters
    ----------
    path
        A CSV, CSV.gz or Parquet file; looked up like any input, see `files.find_input`.
    names
        Our column names to the file's own; see `text_layout`.

    Raises
    ------
    DataError
        No such file, it cannot be read, or its columns are not those of posts.
    """
    text = str(path)
    if "://" in text:
        raise DataError(f"{show(text, 200)}: posts must be a file, got an address; download it and name the file")
    found, name = find_input(text), show(text, 200)
    if not found.is_file():
        raise DataError(f"{name}: is not a regular file; save the posts to one and name that")
    try:
        with open(found, "rb") as file:
            magic = file.read(4)
        size = found.stat().st_size
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or type(error).__name__}") from None
    if magic == PARQUET_MAGIC:
        from workbench.market.text_parquet import open_parquet

        return open_parquet(name, found, names, size)
    if found.suffix.lower() in (".parquet", ".pq"):
        raise DataError(f"{name}: is named like Parquet but is not; write it again or rename it")
    return _open_text(name, found, names, size, magic.startswith(_GZIP_MAGIC))


@dataclass(frozen=True)
class TextPosts:
    """Posts in a CSV file."""

    name: str
    path: Path
    layout: PostLayout
    size: int
    packed: bool

    def chunks(self, chunk_bytes: int) -> Iterator[tuple[int, Chunk]]:
        """Yield (bytes read, chunk); see `PostSource.chunks`."""
        with open(self.path, "rb") as file:
            records = read_records(_blocks(self.name, file, self.packed))
            next(records, None)
            seen, held, lines, kept = 0, 0, [], []
            for line, record in records:
                lines.append(line)
                kept.append(record)
                held += len(record or b"")
                if held >= chunk_bytes and len(kept) % GROUP == 0:
                    at = file.tell()
                    yield at - seen, TextChunk(lines, kept)
                    seen, held, lines, kept = at, 0, [], []
            if kept:
                yield file.tell() - seen, TextChunk(lines, kept)


def _open_text(name: str, path: Path, names: Mapping[str, str], size: int, packed: bool) -> TextPosts:
    with open(path, "rb") as file:
        line, record = next(read_records(_blocks(name, file, packed)), (1, b""))
    if record is None:
        raise DataError(f"{name}: line {line}: must be a header line, got one of more than {BLOCK_BYTES:,} bytes")
    header = cells_of(check_text(name, record).decode("utf-8"))
    if header is None:
        raise DataError(f"{name}: line {line}: must close every quote in the header line; correct it")
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if len(header) == 1 and separator in header[0]:
            raise DataError(f"{name}: line {line}: must be separated by commas, got {word}; save it with commas")
    return TextPosts(name, path, post_layout(f"{name}: line {line}", header, names), size, packed)


def _blocks(name: str, file: BinaryIO, packed: bool) -> Iterator[bytes]:
    """Yield a file's bytes, unpacked, without a byte order mark."""
    stream: Any = gzip.GzipFile(fileobj=file) if packed else file
    try:
        first = stream.read(len(_BOM))
        yield b"" if first == _BOM else first
        while block := stream.read(BLOCK_BYTES):
            yield block
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name}: is damaged gzip ({show(error)}); get the whole file") from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or type(error).__name__}") from None
