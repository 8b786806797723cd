"""Posts in Parquet, read in a stream.

Enters: the path of a file. Leaves: chunks of its rows. Columns have types here: a column of a wrong type is an error of the file, a wrong
value is a bad row, numbered from 1. Text that is not UTF-8 is a bad row too, so texts stay bytes until their row is looked at.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import DataError
from workbench.market.cells import Fault, year_fault
from workbench.market.files import show
from workbench.market.text_layout import PostLayout, post_layout
from workbench.market.text_rows import Bad, Cells, not_utf8
from workbench.market.text_tally import GROUP, Chunk

BATCH = 8 * GROUP
"""Rows read at once. pyarrow fills every batch but the last, so that chunks of them are whole groups. They are few, for so many of
the longest posts have as many bytes as ten thousand of the usual ones."""

_UNREADABLE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError)
_EPOCH, _EPOCH_DAY = dt.datetime(1970, 1, 1), dt.date(1970, 1, 1).toordinal()
_MICROSECONDS = {"s": (10**6, 1), "ms": (10**3, 1), "us": (1, 1), "ns": (1, 10**3)}


@dataclass(frozen=True)
class BatchChunk:
    """Some rows of a Parquet file: the number of the first one, and the batches."""

    first: int
    batches: list[pa.RecordBatch]

    def rows(self, layout: PostLayout) -> Iterator[tuple[int, Cells | Bad]]:
        """Yield (row number, cells or what is wrong with the row)."""
        number = self.first
        for batch in self.batches:
            columns = [[None] * len(batch) if name is None else _values(batch.column(name)) for name in layout.columns]
            for cells in zip(*columns, strict=True):
                yield number, next((cell for cell in cells if isinstance(cell, Bad)), cells)
                number += 1


@dataclass(frozen=True)
class ParquetPosts:
    """Posts in a Parquet file."""

    name: str
    path: Path
    layout: PostLayout
    size: int
    rows: int

    def chunks(self, chunk_bytes: int) -> Iterator[tuple[int, Chunk]]:
        """Yield (bytes read, chunk); see `PostSource.chunks`."""
        first, held, batches = 1, 0, []
        for batch in self._batches():
            batches.append(batch)
            held += batch.nbytes
            if held >= chunk_bytes:
                yield self._share(batches), BatchChunk(first, batches)
                first, held, batches = first + sum(map(len, batches)), 0, []
        if batches:
            yield self._share(batches), BatchChunk(first, batches)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        columns = [column for column in self.layout.columns if column is not None]
        try:
            with _open(self.path) as file:
                yield from file.iter_batches(BATCH, columns=columns, use_threads=False)
        except _UNREADABLE as error:
            raise _damaged(self.name, error) from None

    def _share(self, batches: list[pa.RecordBatch]) -> int:
        """Return how many of the file's bytes some of its rows stand for."""
        return self.size * sum(map(len, batches)) // max(self.rows, 1)


def open_parquet(name: str, path: Path, names: Mapping[str, str], size: int) -> ParquetPosts:
    """Return a Parquet file of posts, its columns and their types checked; as `text_source.open_posts`."""
    try:
        with _open(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except _UNREADABLE as error:
        raise _damaged(name, error) from None
    layout = post_layout(f"{name}: names", schema.names or [""], names)
    for place, column in enumerate(layout.columns):
        if column is not None:
            _check_type(f"{name}: column {show(column)}", _plain(schema.field(column).type), place, layout.timed)
    return ParquetPosts(name, path, layout, size, rows)


def _open(path: Path) -> pq.ParquetFile:
    # Without a buffer of its own, and with pre-buffering, whole row groups would be held.
    return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True)


def _damaged(name: str, error: Exception) -> DataError:
    reason = show(error).split("\\n")[0]
    return DataError(f"{name}: is not readable Parquet ({reason}); write it again")


def _check_type(where: str, kind: pa.DataType, place: int, timed: bool) -> None:
    """Raise DataError unless a column's type is one for the day (place 0), the symbol or the text (1, 2), or a count."""
    types = pa.types
    if place == 0 and timed:
        rule, fits = "be time stamps or text; name days with --columns date=NAME", types.is_timestamp(kind)
    elif place == 0:
        rule = "be days, midnight time stamps without a zone, or text; name time stamps with --columns timestamp=NAME"
        fits = types.is_date(kind) or (types.is_timestamp(kind) and kind.tz is None)
    elif place < 3:
        rule, fits = "be text", False
    else:
        rule = "be numbers"
        fits = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    if not (fits or types.is_null(kind) or (place < 3 and _is_text(kind))):
        raise DataError(f"{where}: must {rule}, got {show(kind)}; write it again")


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view, types.is_binary))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _values(column: pa.Array) -> list[Any]:
    """Return a column's cells as `Cells` have them; a `Bad` for a text that is none, a `Fault` for a day that is none."""
    kind = _plain(column.type)
    column = column.cast(kind)
    read: Callable[[Any], Any]
    if _is_text(kind):
        column, read = column.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()), _text
    elif pa.types.is_timestamp(kind):
        column, read = column.cast(pa.int64()), partial(_stamp, *_MICROSECONDS[kind.unit], kind.tz is not None)
    elif pa.types.is_date64(kind):
        column, read = column.cast(pa.int64()), partial(_day, 86_400_000)
    elif pa.types.is_date32(kind):
        column, read = column.cast(pa.int32()), partial(_day, 1)
    else:
        values: list[Any] = column.to_pylist()
        return values
    return [None if cell is None else read(cell) for cell in column.to_pylist()]


def _text(raw: bytes) -> str | Bad:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return not_utf8(raw[error.start])


def _stamp(times: int, parts: int, zoned: bool, count: int) -> dt.datetime | Fault | None:
    try:
        stamp = _EPOCH + dt.timedelta(microseconds=count * times // parts)
    except OverflowError:
        return year_fault(0)
    return stamp.replace(tzinfo=dt.UTC) if zoned else stamp


def _day(per_day: int, count: int) -> dt.date | Fault | None:
    try:
        return dt.date.fromordinal(_EPOCH_DAY + count // per_day)
    except (ValueError, OverflowError):
        return year_fault(0)
