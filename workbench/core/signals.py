"""From the daily table to one signal value per period and symbol.

Enters: the table's rows (sorted by date, then symbol) and the period of each. Leaves: a panel of means, (P, N), NaN where a symbol
has no value, with the number of rows behind each. METHOD.md, "Signal", steps 1 to 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SignalPanel:
    """Period means of a daily signal.

    values : (P, N) float64, the mean over the period's rows; NaN below `min_observations` rows.
    counts : (P, N) int64, rows with a finite value behind each mean.
    below_threshold : (P) int64, rows dropped by the thresholds.
    undefined : (P, N) int64, rows that pass the thresholds and have no finite value.
    """

    values: Floats
    counts: Ints
    below_threshold: Ints
    undefined: Ints


def daily_values(
    frame: pd.DataFrame, passes: Bools, function: Callable[[Any], Any], columns: tuple[str, ...]
) -> Floats:
    """Evaluate a daily signal on the rows that pass the thresholds.

    Parameters
    ----------
    frame
        The sentiment table.
    passes
        (rows) True where the row passes.
    function, columns
        The signal, and the columns it reads; with none named it gets them all.

    Returns
    -------
    (passing rows) float64, not finite where the signal has no value.

    Raises
    ------
    ValueError
        The function did not return one number per row.
    """
    # A built-in signal needs two columns of numbers; filtering the text column along would cost more than the signal itself.
    table = {name: frame[name].to_numpy()[passes] for name in columns} if columns else frame[passes]
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(function(table), dtype=np.float64)
    if values.shape != (int(passes.sum()),):
        raise ValueError(f"one number per row, {int(passes.sum())} of them, got shape {values.shape}")
    return values


def signal_panel(
    values: Floats,
    passes: Bools,
    period_index: Ints,
    symbol_codes: npt.NDArray[np.int32],
    shape: tuple[int, int],
    min_observations: int,
) -> SignalPanel:
    """Average a daily signal per period and symbol.

    Parameters
    ----------
    values
        (passing rows) as `daily_values` returns them.
    passes
        (rows) True where the row passes the thresholds.
    period_index, symbol_codes
        (rows) position of each row's period (0..P-1) and symbol (0..N-1).
    shape
        (P, N).
    min_observations
        A mean of fewer rows is NaN.
    """
    size = shape[0] * shape[1]
    cell = (period_index * shape[1] + symbol_codes)[passes]
    finite = np.isfinite(values)
    # bincount adds in row order, which is date order: the same sum, to the last bit, as a loop over the days.
    counts = np.bincount(cell[finite], minlength=size)
    sums = np.bincount(cell[finite], weights=values[finite], minlength=size)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.where((counts >= max(min_observations, 1)) & np.isfinite(sums), sums / counts, np.nan)
    return SignalPanel(
        values=means.reshape(shape),
        counts=counts.reshape(shape),
        below_threshold=np.bincount(period_index[~passes], minlength=shape[0]),
        undefined=np.bincount(cell[~finite], minlength=size).reshape(shape),
    )
