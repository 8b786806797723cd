"""The daily bars of one symbol: as arrays, as a frame, and as the bytes of a Parquet file.

Enters: the frame that a source delivers, or the bytes of a stored file. Leaves: `Bars`, sorted by day, one row a day.
Values stay as the source gave them, whatever they are (market/quality.py lists what is wrong with them); only the form
is checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.errors import DataError, UnavailableError
from workbench.market.files import show
from workbench.market.tables import Days, Floats

COLUMNS = ("open", "high", "low", "close", "adj_close", "volume", "dividends", "splits")
PRICES = COLUMNS[:5]
"""What a bar has beside its day; `splits` is the ratio of new to old shares, 0 on other days."""

_SCHEMA = pa.schema([("date", pa.date32()), *((name, pa.float64()) for name in COLUMNS)])


@dataclass(frozen=True, eq=False)
class Bars:
    """Daily bars of one symbol.

    days : (T,) datetime64[D], strictly increasing: calendar days of the exchange.
    values : (T, 8) float64 in the order of `COLUMNS`, NaN where the source has no value.
    """

    days: Days
    values: Floats

    def __len__(self) -> int:
        return len(self.days)

    def __getitem__(self, rows: slice | npt.NDArray[np.bool_]) -> Bars:
        return Bars(self.days[rows], self.values[rows])

    def column(self, name: str) -> Floats:
        """Return one column (T)."""
        return self.values[:, COLUMNS.index(name)]

    @cached_property
    def priced(self) -> npt.NDArray[np.bool_]:
        """(T,) True on days with a close and an adjusted close that are positive and finite."""
        close, adjusted = self.column("close"), self.column("adj_close")
        with np.errstate(invalid="ignore"):
            return np.asarray((close > 0) & (close < np.inf) & (adjusted > 0) & (adjusted < np.inf))

    @property
    def frame(self) -> pd.DataFrame:
        """The same as a frame: `date` (datetime64[us]) and `COLUMNS`, one row a day."""
        frame = pd.DataFrame(self.values, columns=list(COLUMNS))
        frame.insert(0, "date", self.days.astype("datetime64[us]"))
        return frame


def bars_of(symbol: str, frame: pd.DataFrame) -> Bars:
    """Check the frame of a source and return its bars.

    Parameters
    ----------
    symbol
        What messages call it.
    frame
        Columns `date` (datetime64 without a time zone, at midnight) and `COLUMNS` (numbers); others are not looked
        at, and the order of the rows is free.

    Raises
    ------
    DataError
        A column is missing or is no number, a date is none or has a time, or a day is there twice.
    """
    name = show(symbol)
    missing = [column for column in ("date", *COLUMNS) if column not in frame]
    if missing:
        raise DataError(f"{name}: bars must have a column {missing[0]}, got {show(', '.join(map(str, frame)), 120)}")
    dates = frame["date"].to_numpy()
    if len(frame) == 0:
        return Bars(np.empty(0, "datetime64[D]"), np.empty((0, len(COLUMNS))))
    if not np.issubdtype(dates.dtype, np.datetime64):
        raise DataError(f"{name}: dates of bars must be days without a time zone, got {show(dates.dtype)}")
    days = dates.astype("datetime64[D]")
    timed = days != dates  # NaT differs from everything
    if timed.any():
        raise DataError(f"{name}: dates of bars must be days without a time, got {dates[timed][0]}")
    try:
        values = frame[list(COLUMNS)].to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: bars must be numbers: {show(error)}") from None
    order = np.argsort(days, kind="stable")
    days, values = days[order], np.ascontiguousarray(values[order])
    repeated = days[1:][days[1:] == days[:-1]]
    if len(repeated):
        raise DataError(f"{name}: bars must have one row a day, got {repeated[0]} more than once")
    return Bars(days, values)


def encode(bars: Bars) -> bytes:
    """Return the bars as a Parquet file; equal bars give equal bytes.

    One row group and no statistics, as a file is always read over all its days; dictionaries only where nearly all
    values are 0; LZ4, which costs no time beside reading the bytes and hashing them (benchmarks/bench_store.py).
    """
    columns = [pa.array(bars.days.astype("datetime64[D]"))]
    columns += [pa.array(np.ascontiguousarray(bars.values[:, place])) for place in range(len(COLUMNS))]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays(columns, schema=_SCHEMA),
        sink,
        row_group_size=max(len(bars), 1),
        compression="lz4",
        use_dictionary=["dividends", "splits"],
        write_statistics=False,
        store_schema=False,
    )
    return bytes(sink.getvalue())


def decode(data: bytes) -> Bars:
    """Return the bars in the bytes of a Parquet file that `encode` made."""
    days, columns = decode_columns(data, COLUMNS)
    return Bars(days, np.column_stack(columns) if len(days) else np.empty((0, len(COLUMNS))))


def decode_columns(data: bytes, names: Sequence[str]) -> tuple[Days, list[Floats]]:
    """Return the days (T) and some of the columns (T) in the bytes of a Parquet file that `encode` made."""
    try:
        # One group: threads inside a file cost more than they bring.
        table = pq.ParquetFile(pa.BufferReader(data)).read(columns=["date", *names], use_threads=False)
    except (pa.ArrowException, OSError) as error:  # only where nobody compared the checksum
        raise UnavailableError(
            f"a stored file cannot be read: {show(error)}; verify it: workbench prices verify"
        ) from None
    days: Days = table.column("date").to_numpy().astype("datetime64[D]")
    return days, [np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in names]
