"""A finished sweep of the API as a `SweepResult`, so that the report's tables and figures draw it.

Enters: a job, and the Parquet file that it left. Leaves: the result; its rows are not computed again here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.config import StudyConfig
from workbench.errors import ConfigError, UnavailableError
from workbench.sweep.grid import Grid, parse_grid, product_grid
from workbench.sweep.result import LOSS_COUNTS, SUMMARY, Columns, SweepResult
from workbench.sweep.tables import errors_of


def grid_of(request: Mapping[str, Any]) -> Grid:
    """Return the configurations of a sweep's request."""
    asked = request["grid"]
    return product_grid(parse_grid(asked) if isinstance(asked, str) else asked, base_of(request))


def base_of(request: Mapping[str, Any]) -> StudyConfig:
    """Return the configuration that a sweep's grid varies."""
    return StudyConfig.from_names(request)


def sweep_result(request: Mapping[str, Any], content: bytes) -> SweepResult:
    """Return a sweep from the bytes of its Parquet file.

    Raises
    ------
    UnavailableError
        The file is none, or has other rows than the request asks for.
    """
    grid = grid_of(request)
    try:
        table = pq.read_table(io.BytesIO(content))
        about = json.loads((table.schema.metadata or {})[b"workbench"])
        columns = {name: np.asarray(table.column(name).to_numpy()) for name in (*SUMMARY, *LOSS_COUNTS)}
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        why = type(error).__name__
        raise UnavailableError(f"the rows of the sweep cannot be read ({why}); start it again") from None
    if table.num_rows != len(grid):
        raise UnavailableError(
            f"the sweep must have {len(grid):,} rows, got {table.num_rows:,}; use the API's version of the workbench here"
        )
    return SweepResult(grid, Columns(columns), errors_of(table, 0), about, _not_here)


def _not_here(rows: Sequence[int]) -> pd.DataFrame:
    raise ConfigError("daily returns of a sweep must be asked for by run_sweep, got a sweep of an API")
