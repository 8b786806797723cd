"""Tables whose columns have types: a DataFrame, or the bytes of a Parquet file.

Enters: the frame and its layout. Leaves: `Columns`, or a DataError naming the first row at fault in the first column
at fault (rows are counted from 1). A typed column is taken at its word: text is no number, a number is no symbol, a
time stamp is a day only at midnight and without a time zone. A missing value is what an empty cell is in text.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import numbers as abstract
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from workbench.errors import DataError
from workbench.losses import KINDS, Loss
from workbench.market.cells import (
    Fault,
    Kind,
    complain,
    must_be,
    number_fault,
    parse_day,
    symbol_fault,
    year_fault,
)
from workbench.market.columns import (
    Columns,
    Layout,
    check_header,
    code_symbols,
    duplicate_error,
    first_duplicate,
    has_duplicates,
)
from workbench.market.files import show
from workbench.market.tables import Days, Floats, Ints

PARQUET_MAGIC = b"PAR1"
LOSSES_KEY = b"workbench.losses"
"""Key of a Parquet file's metadata under which the workbench keeps what a table had lost before it was written."""

_INDEX = "__index_level_0__"
_NO_DAY = Fault("be an ISO day such as 2023-01-31", "fill it in or delete the row")
_ZONED = Fault("be a day without a time zone", "use the local day: dates.dt.tz_localize(None).dt.normalize()")
_TIMED = Fault("be a day without a time", "cut the time off: dates.dt.normalize()")
_UNREADABLE = Fault("be a date", "give dates, midnight time stamps or ISO text")
_NOT_TEXT = Fault("be text", "store symbols as text, exactly as they are written")


@dataclass(frozen=True, eq=False)
class _StoredColumns(Columns):
    """Columns of a Parquet file; `losses` is what the table had lost before it was written."""

    losses: tuple[Loss, ...]


def stored_losses(columns: Columns) -> tuple[Loss, ...]:
    """Return what the table had lost before it was written to the file that was read; nothing for other origins."""
    return columns.losses if isinstance(columns, _StoredColumns) else ()


def losses_metadata(losses: tuple[Loss, ...]) -> dict[bytes, bytes]:
    """Return the metadata that keep losses in a Parquet file."""
    return {LOSSES_KEY: json.dumps([loss.to_dict() for loss in losses]).encode()} if losses else {}


def _parse_losses(name: str, metadata: Mapping[bytes, bytes]) -> tuple[Loss, ...]:
    """Return the losses that a file's metadata hold; DataError if they cannot be read, for they must not be lost in turn."""
    text = metadata.get(LOSSES_KEY)
    if text is None:
        return ()
    try:
        losses = tuple(Loss(**record) for record in json.loads(text))
    except (ValueError, TypeError, RecursionError):
        losses = None
    if losses is None or not all(map(_is_loss, losses)):
        raise DataError(
            f"{name}: its metadata {LOSSES_KEY.decode()} must be a list of losses of this version, "
            f"got {show(text.decode('utf-8', 'replace'))}; write the table again, without it"
        )
    return losses


def _is_loss(loss: Loss) -> bool:
    texts = (loss.period, loss.symbol, loss.first, loss.last)
    known = isinstance(loss.kind, str) and loss.kind in KINDS and isinstance(loss.reason, str)
    return known and type(loss.count) is int and loss.count >= 0 and all(isinstance(t, str | None) for t in texts)


def read_parquet(name: str, data: bytes, layout: Layout) -> Columns:
    """Read a Parquet table from its bytes; as `read_frame`, and DataError if it is damaged.

    What the workbench wrote brings its losses along, see `stored_losses`.
    """
    import pyarrow.parquet as pq

    try:
        # ParquetFile, as read_table would import pyarrow.dataset.
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
        check_header(f"{name}: names", table.column_names or [""])
        frame = table.to_pandas(date_as_object=False, ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        reason = show(error).split("\\n")[0]
        raise DataError(f"{name}: is not readable Parquet ({reason}); write it again") from None
    losses = _parse_losses(name, table.schema.metadata or {})
    columns = read_frame(name, frame, layout)
    return _StoredColumns(columns.days, columns.symbols, columns.codes, columns.numbers, columns.extras, losses)


def read_frame(name: str, frame: pd.DataFrame, layout: Layout) -> Columns:
    """Read a DataFrame, its index included where that has a name or holds dates.

    Parameters
    ----------
    name
        What messages call the table.
    frame
        One row per day (and symbol). It is not changed.
    layout
        Says of what kind each column is.

    Raises
    ------
    DataError
        The first thing at fault: row, column, rule, value got, way out.
    """
    frame = _flat(name, frame)
    kinds = layout(f"{name}: names", list(frame.columns))
    if not len(frame):
        raise DataError(f"{name}: has no rows; name a table with rows")
    days: Days | None = None
    symbols: tuple[str, ...] = ()
    codes: Ints = np.zeros(len(frame), dtype=np.int32)
    numbers: dict[str, Floats] = {}
    extras: dict[str, Any] = {}
    for column, kind in kinds.items():
        cells = frame[column]
        if kind == "date":
            days = _days(name, cells)
        elif kind == "symbol":
            symbols, codes = _symbols(name, cells)
        elif kind == "extra":
            extras[column] = cells.array
        elif kind != "ignored":
            numbers[column] = _numbers(name, cells, kind)
    assert days is not None, "every layout has a date"
    columns = Columns(days, symbols, codes, numbers, extras)
    if has_duplicates(columns.keys):
        one, two = first_duplicate(columns.keys)
        symbol = symbols[codes[two]] if symbols else None
        raise duplicate_error(name, f"rows {one + 1} and {two + 1}", days[two], symbol)
    return columns


def _flat(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its index among the columns, unless that only counts rows."""
    if frame.columns.nlevels > 1:
        raise DataError(
            f"{name}: must have one level of column names, got {frame.columns.nlevels}; pick one: frame['Adj Close']"
        )
    for column in frame.columns:
        if not isinstance(column, str):
            raise DataError(f"{name}: column names must be text, got {show(repr(column))}; rename the column")
    if any(level is not None for level in frame.index.names) or isinstance(frame.index, pd.DatetimeIndex):
        names = [show(level) if level is not None else "date" for level in frame.index.names]
        for level in names:
            if level in frame.columns:
                raise DataError(f"{name}: has {level} as a column and in the index; drop one of them")
        frame = frame.reset_index(names=names)
    elif _INDEX in frame.columns:
        # What pandas calls an index without a name in Parquet.
        dates = pd.api.types.is_datetime64_any_dtype(frame[_INDEX].dtype) and "date" not in frame.columns
        frame = frame.rename(columns={_INDEX: "date"}) if dates else frame.drop(columns=_INDEX)
    check_header(f"{name}: names", list(frame.columns) or [""])
    return frame


def _complain_row(name: str, row: int, cells: pd.Series[Any], fault: Fault, got: object) -> None:
    complain(name, f"row {row + 1}", str(cells.name), fault, got)


def _days(name: str, cells: pd.Series[Any]) -> Days:
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        _complain_row(name, 0, cells, _ZONED, cells.iloc[0])
    if not (isinstance(cells.dtype, np.dtype) and cells.dtype.kind == "M"):
        return _days_by_cell(name, cells)
    stamps = cells.to_numpy()
    days = stamps.astype("datetime64[D]")
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970
    for wrong, fault in ((np.isnat(stamps), _NO_DAY), (stamps != days, _TIMED)):
        if wrong.any():
            row = int(np.argmax(wrong))
            _complain_row(name, row, cells, fault, stamps[row])
    for year in (years.min(), years.max()):
        if fault_of_year := year_fault(int(year)):
            row = int(np.argmax(years == year))
            _complain_row(name, row, cells, fault_of_year, days[row])
    return days


def _days_by_cell(name: str, cells: pd.Series[Any]) -> Days:
    days = []
    for row, cell in enumerate(cells.tolist()):
        day = _day(cell)
        if isinstance(day, Fault):
            _complain_row(name, row, cells, day, cell)
        days.append(day)
    return np.array(days, dtype="datetime64[D]")


def _day(cell: object) -> dt.date | Fault:
    if isinstance(cell, str):
        return parse_day(cell)
    if cell is None or cell is pd.NaT or cell is pd.NA or (isinstance(cell, float) and np.isnan(cell)):
        return _NO_DAY
    if isinstance(cell, dt.datetime):
        if cell.tzinfo is not None:
            return _ZONED
        timed = cell.time() != dt.time() or (isinstance(cell, pd.Timestamp) and cell.nanosecond)
        return _TIMED if timed else year_fault(cell.year) or cell.date()
    if isinstance(cell, dt.date):
        return year_fault(cell.year) or cell
    return _UNREADABLE


def _symbols(name: str, cells: pd.Series[Any]) -> tuple[tuple[str, ...], Ints]:
    texts = cells.tolist()
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            missing = text is None or text is pd.NA or text is pd.NaT or (isinstance(text, float) and np.isnan(text))
            fault = symbol_fault("") if missing else _NOT_TEXT
            _complain_row(name, row, cells, fault or _NOT_TEXT, text)
        elif text not in first:
            if fault := symbol_fault(text):
                _complain_row(name, row, cells, fault, text)
            first[text] = len(first)
    return code_symbols(list(first), np.array([first[text] for text in texts]))


def _numbers(name: str, cells: pd.Series[Any], kind: Kind) -> Floats:
    values = _floats(name, cells, kind)
    wrong = np.isinf(values)
    if kind in ("count", "price"):
        wrong |= (values < 0) if kind == "count" else (values <= 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        _complain_row(name, row, cells, number_fault(float(values[row]), kind) or must_be(kind), float(values[row]))
    return values


def _floats(name: str, cells: pd.Series[Any], kind: Kind) -> Floats:
    dtype = cells.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        return cells.to_numpy(dtype=np.float64, copy=True)
    values = np.empty(len(cells))
    for row, cell in enumerate(cells.tolist()):
        if cell is None or cell is pd.NA or cell is pd.NaT:
            values[row] = np.nan
        elif isinstance(cell, abstract.Real | decimal.Decimal) and not isinstance(cell, bool | np.bool_):
            values[row] = _float(cell)
        else:
            _complain_row(name, row, cells, must_be(kind), cell)
    return values


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        # A whole number beyond float64: too large to be one, as 1e400 is in text.
        return np.inf if value > 0 else -np.inf
