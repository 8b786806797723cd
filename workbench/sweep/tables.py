"""Chunks as tables: how a sweep's rows lie in memory and in Parquet.

Enters: chunks and a grid. Leaves: arrow tables, or arrays filled span by span. A number that is undefined is NaN in memory and null in a
file; the fields of the configuration are stored once per distinct value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workbench.sweep.chunk import BENCHMARK, NUMBERS, Chunk
from workbench.sweep.fits import Fit
from workbench.sweep.grid import FIELDS, Grid
from workbench.sweep.result import COUNTS, DATES, LOSS_COUNTS, SUMMARY, TIMING

_WHOLE = (*COUNTS, *LOSS_COUNTS)


def chunk_columns(chunk: Chunk) -> dict[str, npt.NDArray[Any]]:
    """Return a chunk's numbers by name, in the order of a summary: float64, int32 counts, datetime64[D] days."""
    found: dict[str, npt.NDArray[Any]] = dict(zip(NUMBERS, chunk.numbers, strict=False))
    found |= dict(zip(BENCHMARK, chunk.benchmark, strict=True))
    found |= {"n_periods": chunk.n_periods, "n_days": chunk.n_days, "first_date": chunk.first, "last_date": chunk.last}
    names = (*SUMMARY, *LOSS_COUNTS)
    return {name: np.nan_to_num(found[name]).astype(np.int32) if name in _WHOLE else found[name] for name in names}


class Memory:
    """Columns for `size` rows, filled as chunks arrive."""

    def __init__(self, size: int) -> None:
        kinds = dict.fromkeys(_WHOLE, "int32") | dict.fromkeys(DATES, "datetime64[D]")
        self.arrays = {name: np.empty(size, dtype=kinds.get(name, "float64")) for name in (*SUMMARY, *LOSS_COUNTS)}
        self.failures: dict[int, str] = {}

    def add(self, chunk: Chunk) -> None:
        """Take a chunk's numbers."""
        for name, column in chunk_columns(chunk).items():
            self.arrays[name][chunk.start : chunk.stop] = column
        self.failures |= chunk.errors


def chunk_table(chunk: Chunk, grid: Grid) -> pa.Table:
    """Return a chunk as a table: the configuration's fields, the numbers, `timing`, `error`."""
    columns: dict[str, Any] = {}
    for name in FIELDS:
        labels = pa.array([",".join(value) if isinstance(value, tuple) else value for value in grid.values[name]])
        codes = pa.array(grid.codes(name, chunk.start, chunk.stop).astype(np.int32))
        columns[name] = pa.DictionaryArray.from_arrays(codes, labels)
    for name, column in chunk_columns(chunk).items():
        columns[name] = pa.array(column, from_pandas=column.dtype.kind == "f")
    marks = np.array([lag == 0 for lag in grid.values["execution_lag"]])
    columns["timing"] = pa.DictionaryArray.from_arrays(
        pa.array(marks[grid.codes("execution_lag", chunk.start, chunk.stop)].astype(np.int32)), pa.array(TIMING)
    )
    errors = [chunk.errors.get(row) for row in range(chunk.start, chunk.stop)] if chunk.errors else None
    columns["error"] = pa.array(errors, pa.string()) if errors else pa.nulls(chunk.stop - chunk.start, pa.string())
    return pa.table(columns)


def errors_of(table: pa.Table, start: int) -> dict[int, str]:
    """Return row -> reason of a stored part whose first row is `start`."""
    column = table.column("error")
    if column.null_count == len(column):
        return {}
    return {start + place: error for place, error in enumerate(column.to_pylist()) if error is not None}


def returns_table(chunk: Chunk, days: npt.NDArray[np.datetime64]) -> pa.Table:
    """Return a chunk's daily net returns: `row`, `first_date` and the list `net` of the days from there on."""
    assert chunk.series is not None
    firsts, series = [], []
    for values in chunk.series:
        held = np.flatnonzero(~np.isnan(values))
        firsts.append(days[held[0]].item() if len(held) else None)
        series.append(values[held])
    return pa.table(
        {
            "row": pa.array(np.arange(chunk.start, chunk.stop)),
            "first_date": pa.array(firsts, pa.date32()),
            "net": pa.array(series, pa.list_(pa.float64())),
        }
    )


def fits_table(fits: Sequence[Fit]) -> pa.Table:
    """Return optimised weights as a table."""
    return pa.table(
        {
            "weights": pa.array([fit.weights for fit in fits], pa.list_(pa.float64())),
            "fallback": pa.array([fit.fallback for fit in fits], pa.string()),
        }
    )


def fits_of(table: pa.Table) -> list[Fit]:
    """Return what `fits_table` stored."""
    rows = zip(table.column("weights").to_pylist(), table.column("fallback").to_pylist(), strict=True)
    return [Fit(np.array(weights, dtype=np.float64), fallback) for weights, fallback in rows]
