"""SweepResult: METHOD's numbers of every configuration of a grid, as columns.

Enters: a grid and its columns, in memory or in a Parquet file. Leaves: frames, single rows, the best ones. A configuration and its id are
built for the rows that are asked for, never for all.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.config import StudyConfig, nearest
from workbench.core.metrics import RELATIVE_METRICS, RETURN_METRICS
from workbench.errors import ConfigError
from workbench.result import format_number
from workbench.sweep.grid import Grid

COUNTS = ("n_periods", "n_symbols", "n_days")
DATES = ("first_date", "last_date")
SUMMARY = (
    *RETURN_METRICS,
    *(f"benchmark_{name}" for name in RETURN_METRICS),
    *(f"gross_{name}" for name in RETURN_METRICS),
    *RELATIVE_METRICS,
    "n_periods",
    "mean_turnover",
    "n_symbols",
    "n_days",
    "first_date",
    "last_date",
)
"""The names of `run_study`'s summary, in its order."""

LOSS_COUNTS = ("n_fallbacks", "n_unavailable")
"""Per row: rebalances whose weighting fell back to equal, and selected symbols without a price at the trade."""

TIMING = ("causal", "LOOK-AHEAD")
"""What a row is marked with: whether its trades follow the last day that its signal reads."""

HEADLINE = ("total_return", "excess_return", "sharpe_ratio", "max_drawdown", "mean_turnover")


@dataclass(frozen=True)
class FailedStudy:
    """A configuration that could not be computed, and why. `config` is what was given where it is no StudyConfig."""

    config: StudyConfig | Mapping[str, Any]
    error: str


class Columns:
    """Columns in memory: name -> (rows)."""

    path: Path | None = None

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._arrays = arrays

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return one column."""
        return self._arrays[name]

    def entries(self, names: Sequence[str], row: int) -> list[Any]:
        """Return one row's entries of some columns."""
        return [self._arrays[name][row] for name in names]


class StoredColumns:
    """Columns of a Parquet file, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return one column."""
        import pyarrow.parquet as pq

        column = pq.read_table(self.path, columns=[name]).column(name)
        return np.asarray(column.to_numpy())

    def entries(self, names: Sequence[str], row: int) -> list[Any]:
        """Return one row's entries of some columns; of the file, only the part that holds the row is read."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.path) as file:
            group = 0
            while row >= (size := file.metadata.row_group(group).num_rows):
                row, group = row - size, group + 1
            table = file.read_row_group(group, columns=list(names))
        return [np.asarray(table.column(name).slice(row, 1).to_numpy())[0] for name in names]


@dataclass(frozen=True, eq=False)
class SweepResult:
    """The numbers of every configuration, in the order of the grid.

    grid : the configurations.
    failures : row -> why it has no numbers.
    provenance : hashes, versions, data kind, engine and what ran where.
    path : the Parquet file, where one was asked for.
    """

    grid: Grid
    columns: Columns | StoredColumns
    failures: Mapping[int, str]
    provenance: dict[str, Any]
    recompute: Callable[[Sequence[int]], pd.DataFrame] = field(repr=False)

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def path(self) -> Path | None:
        """The Parquet file that holds the rows, None where they are in memory."""
        return self.columns.path

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return one of METHOD's numbers for every row: float64 with NaN where undefined, int32 counts, datetime64[D] days."""
        if name not in SUMMARY and name not in LOSS_COUNTS:
            raise ConfigError(f"a sweep has no number {name!r}{nearest(name, SUMMARY)}")
        return self.columns.read(name)

    def knob(self, name: str) -> npt.NDArray[Any]:
        """Return one field of the configurations for every row, as an object array."""
        if name not in self.grid.values:
            raise ConfigError(f"unknown parameter {name!r}{nearest(name, self.grid.values)}")
        values = np.empty(len(self.grid.values[name]), dtype=object)
        values[:] = self.grid.values[name]
        return values[self.grid.codes(name, 0, len(self))]

    def config(self, row: int) -> StudyConfig:
        """Return the configuration of a row."""
        return self.grid.config(row)

    def config_id(self, row: int) -> str:
        """Return the id of a row's configuration."""
        return self.grid.config(row).config_id

    def summary(self, row: int) -> dict[str, Any]:
        """Return what `run_study` calls `summary`, for one row.

        Raises
        ------
        ConfigError
            The row failed; the message says why.
        IndexError
            There is no such row.
        """
        if row in self.failures:
            raise ConfigError(self.failures[row])
        return self.numbers(SUMMARY, row)

    def numbers(self, names: Sequence[str], row: int) -> dict[str, Any]:
        """Return some of METHOD's numbers of one row; None where undefined, as all but the counts of a failed row are."""
        self.grid.check_row(row)
        return {name: _value(value) for name, value in zip(names, self.columns.entries(names, row), strict=True)}

    @property
    def failed(self) -> list[FailedStudy]:
        """The configurations without numbers, in order."""
        return [FailedStudy(self._given(row), self.failures[row]) for row in sorted(self.failures)]

    def _given(self, row: int) -> StudyConfig | Mapping[str, Any]:
        return self.grid.describe(row) if row in self.grid.invalid else self.grid.config(row)

    def to_frame(self, names: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a frame with one row per configuration: the fields that vary, the numbers, `timing`, `error`.

        Parameters
        ----------
        names
            The numbers; all of them if not given.
        """
        frame: dict[str, Any] = {
            name: pd.Categorical.from_codes(self.grid.codes(name, 0, len(self)), pd.Index(_labels(self.grid, name)))
            for name in self.grid.varying
        }
        frame |= {name: self.column(name) for name in names or (*SUMMARY, *LOSS_COUNTS)}
        errors = np.full(len(self), None, dtype=object)
        for row, error in self.failures.items():
            errors[row] = error
        lags = np.array([lag == 0 for lag in self.grid.values["execution_lag"]])
        codes = lags[self.grid.codes("execution_lag", 0, len(self))].astype(np.int8)
        timing = pd.Categorical.from_codes(codes, pd.Index(TIMING))
        return pd.DataFrame(frame | {"timing": timing, "error": errors})

    def to_records(self) -> Iterator[dict[str, Any]]:
        """Yield the contract's `{"config", "summary"}` of each row, plain values only; a failed one has `error` and no summary."""
        columns = {name: self.columns.read(name) for name in SUMMARY}
        for row in range(len(self)):
            record: dict[str, Any] = {"config": self.grid.describe(row), "summary": None}
            if row in self.failures:
                record["error"] = self.failures[row]
            else:
                record["summary"] = {name: _value(column[row]) for name, column in columns.items()}
                record["timing"] = TIMING[record["config"]["execution_lag"] == 0]
            yield record

    def best(self, name: str = "sharpe_ratio", n: int = 10) -> list[int]:
        """Return the `n` rows with the largest value of a number, the earlier row first among equals.

        Rows that failed, or in which the number is undefined, are left out.

        Raises
        ------
        ConfigError
            There is no such number, it is a day, or `n` is negative.
        """
        if name in DATES:
            raise ConfigError(f"the best must be by a number, got the day {name!r}")
        if n < 0:
            raise ConfigError(f"n must be at least 0, got {n}")
        values = np.asarray(self.column(name), dtype=np.float64).copy()
        values[list(self.failures)] = np.nan
        defined = np.flatnonzero(~np.isnan(values))
        return [int(row) for row in defined[np.argsort(-values[defined], kind="stable")[:n]]]

    def returns(self, rows: Sequence[int]) -> pd.DataFrame:
        """Return daily net returns, index date, one column per row; computed again for the rows asked for. NaN: not held that day.

        Raises
        ------
        ConfigError
            One of the rows failed, or a signal of the user's own was registered anew since with another version.
        IndexError
            There is no such row.
        """
        return self.recompute(rows)

    @property
    def title(self) -> str:
        """One line: how many configurations, what varies, and what a reader must not overlook."""
        kind = self.provenance["data_kind"]
        marks = [] if kind == "real" else [f"{kind.upper()} DATA"]
        if 0 in self.grid.values["execution_lag"]:
            marks.append("LOOK-AHEAD rows" if len(self.grid.values["execution_lag"]) > 1 else "LOOK-AHEAD")
        prefix = f"[{', '.join(marks)}] " if marks else ""
        failed = f"; {len(self.failures):,} failed" if self.failures else ""
        return f"{prefix}{self.grid!r}{failed}"

    def _head(self) -> list[list[str]]:
        lines = []
        for row in self.best(n=5):
            knobs = self.grid.knobs(row)
            named = ", ".join(f"{name}={knobs[name]}" for name in self.grid.varying) or "the one configuration"
            lines.append([named, *(format_number(*item) for item in self.numbers(HEADLINE, row).items())])
        return lines

    def __repr__(self) -> str:
        lines = ["  ".join(f"{cell:>14s}" for cell in [*line[1:]]) + f"  {line[0]}" for line in self._head()]
        head = "  ".join(f"{name:>14s}" for name in HEADLINE)
        note = f"  the best of {len(self):,} by sharpe_ratio: picked after the fact, so expect less"
        return "\n".join([self.title, note, head, *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("configuration", *HEADLINE))
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in line)}</tr>" for line in self._head())
        note = f"The best of {len(self):,} by sharpe_ratio: picked after the fact, so expect less."
        return f"<table><caption>{html.escape(self.title)}<br>{note}</caption><tr>{head}</tr>{rows}</table>"


def _labels(grid: Grid, name: str) -> list[Any]:
    return [",".join(value) if isinstance(value, tuple) else value for value in grid.values[name]]


def _value(value: Any) -> Any:
    """Return one entry of a column as a summary has it: None for what is undefined."""
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value.astype("datetime64[D]"))
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value)
