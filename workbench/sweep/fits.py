"""Optimised weights, each computed once however many configurations ask for it.

Enters: keys that name everything an optimiser reads. Leaves: weights. A solver takes some hundredth of a second, a thousand times
what the rest of a configuration costs: this is the work that is spread over an engine's workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.config import StudyConfig
from workbench.core.optimisation import OPTIMISERS
from workbench.market.tables import Market
from workbench.plan import Positions, Weigh, weigh

Floats = npt.NDArray[np.float64]


class FitKey(NamedTuple):
    """What one call of an optimiser depends on: the model and its parameters, the row of e0, the symbols' columns in order."""

    weighting: str
    lookback_days: int
    max_weight: float
    risk_free_rate: float
    decision: int
    columns: tuple[int, ...]


class Fit(NamedTuple):
    """Weights (k) before the cap, and why they are equal although an optimiser was asked (None: they are its own)."""

    weights: Floats
    fallback: str | None


def fit_key(config: StudyConfig, decision: int, columns: npt.NDArray[np.signedinteger]) -> FitKey:
    """Return the key of one rebalance; the rate counts only where the model reads it."""
    rate = config.risk_free_rate if config.weighting == "max_sharpe" else 0.0
    asked = (config.weighting, config.lookback_days, config.max_weight, rate, decision)
    return FitKey(*asked, tuple(int(column) for column in columns))


def compute_fits(keys: Sequence[FitKey], market: Market) -> list[Fit]:
    """Ask the optimisers: the plain function behind every engine."""
    return [_compute(key, market) for key in keys]


def _compute(key: FitKey, market: Market) -> Fit:
    config = StudyConfig(
        weighting=key.weighting,
        lookback_days=key.lookback_days,
        max_weight=key.max_weight,
        risk_free_rate=key.risk_free_rate,
    )
    columns = np.array(key.columns, dtype=np.intp)
    return Fit(*weigh(config, market, np.full(len(columns), np.nan), columns, key.decision))


def weigher(fits: Mapping[FitKey, Fit]) -> Weigh:
    """Return `plan.weigh` with the optimisers' answers looked up where they are known."""

    def look_up(
        config: StudyConfig, market: Market, values: Floats, columns: Positions, decision: int
    ) -> tuple[Floats, str | None]:
        known = fits.get(fit_key(config, decision, columns)) if config.weighting in OPTIMISERS else None
        return known if known is not None else weigh(config, market, values, columns, decision)

    return look_up
