"""Posts in text: CSV with commas, UTF-8, one header line, read in a stream.

Enters: the blocks of a file. Leaves: its records one by one with their line numbers, and the cells of a record. Unlike `delimited`,
which refuses a file for its first fault, this has to find its way through any bytes at all in bounded memory, so it has a grammar of
its own: pyarrow's streaming reader gives up at bytes that are not UTF-8, and knows no line numbers.

A field that begins with a double quote runs to the closing one. Where none comes within `MAX_RECORD` bytes, or before the file ends,
the line on which the record begins is a bad row, and reading goes on with the line after it. All of this depends on the file alone,
never on the size of the blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workbench.market.files import show
from workbench.market.text_layout import PostLayout
from workbench.market.text_rows import Bad, Cells, not_utf8

MAX_RECORD = 1 << 20
"""Bytes of the longest record. Without a bound, one stray quote would be read into one endless field."""

# A CR that stands last in a block may be the first half of CR LF: \Z leaves it for the next block. The possessive quantifiers keep
# all of this linear.
_END = rb"(?:\r?\n|\r(?!\n|\Z))"
_FIELD = rb'(?:"(?:[^"]++|"")*+"[^,\r\n]*+|(?!")[^,\r\n]*+)'
_RECORD = re.compile(rb"(" + _FIELD + rb"(?:," + _FIELD + rb")*+)" + _END)
_LINE_END = re.compile(_END)
_CELL = re.compile(r'(?:"((?:[^"]++|"")*+)"|((?!")[^,]*+))(,|\Z)')


@dataclass(frozen=True)
class TextChunk:
    """Some records of a CSV file: the lines on which they begin, and their bytes; None for a line longer than a record may be."""

    lines: list[int]
    records: list[bytes | None]

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self, layout: PostLayout) -> Iterator[tuple[int, Cells | Bad]]:
        """Yield (line, cells or what is wrong with the row)."""
        for line, record in zip(self.lines, self.records, strict=True):
            yield line, _row(record, layout)


def read_records(blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield (line, record) for each record, the header's too; empty lines are none.

    Parameters
    ----------
    blocks
        The file's bytes, without a byte order mark, in pieces of any size.
    """
    buffer, at, line, overlong = b"", 0, 1, False
    for block, last in _and_the_end(blocks):
        buffer, at = buffer[at:] + block, 0
        if last and (buffer or overlong) and not buffer.endswith(b"\n"):
            buffer += b"\n"
        while at < len(buffer):
            match = None if overlong else _RECORD.match(buffer, at)
            if match is not None and len(record := match[1]) <= MAX_RECORD:
                if record:
                    yield line, record
                line, at = line + 1 + _inner_lines(record), match.end()
                continue
            if match is None and not (overlong or last) and len(buffer) - at <= MAX_RECORD + len(b"\r\n"):
                break  # its end may be in the next block
            end = _LINE_END.search(buffer, at)
            if end is None:
                overlong, at = True, len(buffer) - buffer.endswith(b"\r")
                break
            overlong = overlong or end.start() - at > MAX_RECORD
            yield line, None if overlong else buffer[at : end.start()]
            line, at, overlong = line + 1, end.end(), False


def _and_the_end(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for block in blocks:
        yield block, False
    yield b"", True


def _inner_lines(record: bytes) -> int:
    """Return how many line ends stand inside of a record."""
    return len(_LINE_END.findall(record)) if b"\n" in record or b"\r" in record else 0


def cells_of(record: str) -> list[str] | None:
    """Return the fields of a record; None where a quoted one is not wholly inside of its quotes."""
    if '"' not in record:
        return record.split(",")
    cells, at = [], 0
    while match := _CELL.match(record, at):
        quoted, plain, separator = match.groups()
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        if not separator:
            return cells
        at = match.end()
    return None


def _row(record: bytes | None, layout: PostLayout) -> Cells | Bad:
    if record is None:
        return Bad(f"a row must have at most {MAX_RECORD:,} bytes", "more")
    try:
        text = record.decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(record[error.start])
    cells = cells_of(text)
    if cells is None:
        return Bad("a quoted field must be wholly inside of double quotes", show(text, 60))
    if len(cells) != layout.width:
        return Bad(f"a row must have {layout.width} fields like the header", f"{len(cells)} fields")
    return tuple("" if position is None else cells[position] for position in layout.positions)
