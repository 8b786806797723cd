"""Tables in text: CSV with commas, UTF-8, one header line.

Enters: the bytes of a file and its layout. Leaves: `Columns`, or a DataError naming the first line at fault. There
are two ways through a file. The fast one lets pyarrow parse all columns with their types forced and takes nothing but
a clean file; at anything else it gives up, and the slow one goes through the file row by row, in the words of
`cells`. Whatever the fast one accepts the slow one accepts with the same values (a test holds them to it), so which
one ran can never be seen.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from workbench.errors import DataError
from workbench.market.cells import Fault, Kind, complain, parse_day, parse_number, symbol_fault, year_fault
from workbench.market.columns import Columns, Layout, check_header, code_symbols, duplicate_error, has_duplicates
from workbench.market.encoding import LINE_END, check_text, line_of
from workbench.market.files import show
from workbench.market.tables import Days, Floats, Ints

_NUMBERS = ("count", "number", "price")
# Quotes are well-formed where each field is either free of them or wholly inside of a pair. The possessive
# quantifiers keep this linear.
_FIELD = rb'(?:"(?:[^"]++|"")*+"|[^",\r\n]*+)'
_QUOTED_WELL = re.compile(_FIELD + rb"(?:(?:,|\r\n|\r|\n)" + _FIELD + rb")*+")


def read_text(name: str, data: bytes, layout: Layout) -> Columns:
    """Read a CSV table.

    Parameters
    ----------
    name
        The file as the user named it, for messages.
    data
        Its bytes, unpacked. A UTF-8 byte order mark and any line end are accepted.
    layout
        Says of what kind each column is.

    Raises
    ------
    DataError
        The first thing at fault: file, line, column, rule, value got, way out.
    """
    body = check_text(name, data)
    line, header = _header(name, body)
    check_header(f"{name}: line {line}", header)
    kinds = layout(f"{name}: line {line}", header)
    columns = _fast(body, kinds)
    return _slow(name, body, kinds) if columns is None else columns


def _header(name: str, body: bytes) -> tuple[int, list[str]]:
    """Return the number of the header's line and the names in it."""
    start = len(body) - len(body.lstrip(b"\r\n"))
    end = LINE_END.search(body, start)
    first = body[start : end.start() if end else len(body)]
    # Only a quoted name can run over the line's end; decoding all of the file for it would cost more than parsing it.
    if b'"' in first:
        return next(_records(name, body))
    line, header = line_of(body, start), first.decode("utf-8").split(",")
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if len(header) == 1 and separator in header[0]:
            raise DataError(f"{name}: line {line}: must be separated by commas, got {word}; save it with commas")
    return line, header


def _fast(body: bytes, kinds: dict[str, Kind]) -> Columns | None:
    """Return the columns of a clean file, None where anything at all needs a closer look."""
    quoted = b'"' in body
    if quoted and not _QUOTED_WELL.fullmatch(body):
        return None
    types = {"date": pa.date32(), "symbol": pa.string(), "extra": pa.string()}
    wanted = {column: types.get(kind, pa.float64()) for column, kind in kinds.items() if kind != "ignored"}
    try:
        table = pv.read_csv(
            pa.py_buffer(body),
            read_options=pv.ReadOptions(block_size=1 << 22),
            parse_options=pv.ParseOptions(newlines_in_values=quoted),
            convert_options=pv.ConvertOptions(
                column_types=wanted, include_columns=list(wanted), null_values=[""], strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return _assemble(table, kinds) if table.num_rows else None


def _assemble(table: pa.Table, kinds: dict[str, Kind]) -> Columns | None:
    numbers: dict[str, Floats] = {}
    extras: dict[str, Any] = {}
    days: Days | None = None
    symbols: tuple[str, ...] = ()
    codes: Ints = np.zeros(table.num_rows, dtype=np.int32)
    for column in table.column_names:
        cells, kind = table.column(column), kinds[column]
        if kind == "date":
            days = cells.combine_chunks().to_numpy(zero_copy_only=False).astype("datetime64[D]")
            if cells.null_count or year_fault(_year(days.min())) or year_fault(_year(days.max())):
                return None
        elif kind == "symbol":
            coded = cells.combine_chunks().dictionary_encode()
            symbols, codes = code_symbols(coded.dictionary.to_pylist(), coded.indices.to_numpy())
            if any(symbol_fault(symbol) for symbol in symbols):
                return None
        elif kind == "extra":
            extras[column] = _extra(cells)
        elif (values := _floats(cells, kind)) is not None:
            numbers[column] = values
        else:
            return None
    assert days is not None, "every layout has a date"
    columns = Columns(days, symbols, codes, numbers, extras)
    return None if has_duplicates(columns.keys) else columns


def _year(day: np.datetime64) -> int:
    return int(day.astype("datetime64[Y]").astype(int)) + 1970


def _floats(cells: pa.ChunkedArray, kind: Kind) -> Floats | None:
    values: Floats = cells.to_numpy()
    # pyarrow reads nan, inf and 1e400 as numbers; an empty cell is the only NaN that we take.
    if np.count_nonzero(np.isnan(values)) != cells.null_count or np.isinf(values).any():
        return None
    if (kind == "count" and (values < 0).any()) or (kind == "price" and (values <= 0).any()):
        return None
    return values


def _extra(cells: pa.ChunkedArray) -> Any:
    """Return an extra column as numbers if every cell that is not empty is one, else as text."""
    try:
        values = pc.cast(pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells), pa.float64())
        numbers = _floats(values, "extra")
    except pa.ArrowException:
        numbers = None
    return numbers if numbers is not None else extra_column(cells.to_pylist())


def extra_column(cells: Sequence[str]) -> Any:
    """Return cells of text as float64 if every one that is not empty is a finite number, else as pandas text."""
    values = []
    for cell in cells:
        value = parse_number(cell, "extra")
        if isinstance(value, Fault):
            return pd.array(list(cells), dtype="str")
        values.append(value)
    return np.array(values, dtype=np.float64)


def _slow(name: str, body: bytes, kinds: dict[str, Kind]) -> Columns:
    """Read row by row and stop at the first thing that is wrong."""
    records = _records(name, body)
    next(records)
    read: dict[str, list[Any]] = {column: [] for column, kind in kinds.items() if kind != "ignored"}
    seen: dict[tuple[Any, ...], int] = {}
    for line, cells in records:
        if len(cells) != len(kinds):
            raise DataError(
                f"{name}: line {line}: must have {len(kinds)} fields like the header, got {len(cells)}; "
                "put a field that holds a comma into double quotes"
            )
        key: dict[Kind, Any] = {"symbol": None}
        for (column, kind), text in zip(kinds.items(), cells, strict=True):
            if kind == "ignored":
                continue
            value = _value(text, kind)
            if isinstance(value, Fault):
                complain(name, f"line {line}", column, value, text)
            read[column].append(value)
            key[kind] = value
        day, symbol = key["date"], key["symbol"]
        if seen.setdefault((day, symbol), line) != line:
            raise duplicate_error(name, f"lines {seen[day, symbol]} and {line}", day, symbol)
    if not seen:
        raise DataError(f"{name}: has a header but no rows; name a table with rows")
    return _columns(read, kinds)


def _value(text: str, kind: Kind) -> str | float | dt.date | Fault:
    if kind == "date":
        return parse_day(text)
    if kind == "symbol":
        return symbol_fault(text) or text
    return text if kind == "extra" else parse_number(text, kind)


def _columns(read: dict[str, list[Any]], kinds: dict[str, Kind]) -> Columns:
    by_kind = {kind: column for column, kind in kinds.items() if kind in ("date", "symbol")}
    days = np.array(read[by_kind["date"]], dtype="datetime64[D]")
    symbols: tuple[str, ...] = ()
    codes = np.zeros(len(days), dtype=np.int32)
    if "symbol" in by_kind:
        texts = read[by_kind["symbol"]]
        first = {symbol: position for position, symbol in enumerate(dict.fromkeys(texts))}
        symbols, codes = code_symbols(list(first), np.array([first[text] for text in texts]))
    numbers = {column: np.array(read[column], dtype=np.float64) for column in read if kinds[column] in _NUMBERS}
    extras = {column: extra_column(read[column]) for column in read if kinds[column] == "extra"}
    return Columns(days, symbols, codes, numbers, extras)


def _records(name: str, body: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, fields) of each record, the header's too; empty lines are none."""
    reader = csv.reader(io.StringIO(body.decode("utf-8"), newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        reason = "closes every quote" if "unexpected end" in str(error) else f"is well-formed CSV ({show(error)})"
        way = "put a quoted field wholly inside of double quotes and double those in it"
        raise DataError(f"{name}: line {line}: must be a record that {reason}; {way}") from None
