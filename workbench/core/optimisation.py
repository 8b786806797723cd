"""Optimised weights, from skfolio's models of the returns before the decision.

Enters: simple returns over the look-back. Leaves: weights in [0, max_weight] that sum to 1, or equal ones and why (METHOD.md, "Weights").

- `min_variance`: MeanRisk, the least variance.
- `max_sharpe`: MeanRisk, the highest mean excess return over standard deviation; sample means.
- `risk_parity`: RiskBudgeting, the same share in the variance for all (with a binding cap, the nearest to it that skfolio defines).
- `hrp`: HierarchicalRiskParity on variances; the tree by Ward linkage of sqrt((1 - correlation) / 2), from sample correlations.
- `min_cvar`: MeanRisk, the least conditional value at risk at 95 % over the days themselves, all equally likely.

All but the last use a shrunk covariance: OAS (Chen, Wiesel, Eldar and Hero 2010) as scikit-learn computes it. Out of sample it does
neither better nor worse than Ledoit and Wolf's, but it leaves no covariance without an inverse, so that there is one best answer
(theirs does after two days, or when prices go up and down by turns), and a stock that rose a thousandfold in a day stays the
volatile one (theirs then shrinks until all are equally volatile).
"""

from __future__ import annotations

import threading
import warnings
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

OPTIMISERS = ("min_variance", "max_sharpe", "risk_parity", "hrp", "min_cvar")

_ZERO = 1e-14  # METHOD: a denominator of absolute value up to this counts as zero
# The solver stops at an absolute gap, so accuracy is a matter of units. On daily returns as they are skfolio's own gap, 1e-9, leaves
# weights off by up to 2e-4, on those of bonds by 0.05. Here the unit is a typical volatility, and the gap the smallest of these that
# rounding lets the solver reach: nearly always the first, which leaves weights off by less than 1e-6.
_GAPS = (1e-12, 1e-10, 1e-8)
_FEASIBILITY = 1e-8
_STEP = 0.6  # of the way to the boundary; with Clarabel's 0.99 one fit in ten stalls before the first gap, with this one in a hundred
_NOISE = 1e-8  # the solver's zero: less is no weight, and no room for one
_BROKEN = 1e-6  # weights this far from their own constraints are no answer

# One fit at a time: BLAS threads and warning filters belong to the process. Nothing is lost, a fit holds the interpreter anyway.
_ALONE = threading.Lock()


def optimised_weights(
    weighting: str, returns: Floats, max_weight: float, daily_risk_free: float
) -> tuple[Floats, str | None]:
    """Weigh a selection by a model of its returns; the same to the last bit in every process, whatever its threads.

    Parameters
    ----------
    weighting
        One of `OPTIMISERS`.
    returns
        (lookback_days, k) simple returns ending at e0.
    max_weight
        Highest weight of one symbol, in (0, 1].
    daily_risk_free
        A day's risk-free rate as a fraction. Read by `max_sharpe` only.

    Returns
    -------
    weights, reason
        (k) weights that sum to 1, each in [0, max_weight], and None; or equal weights before any cap, and why they are equal.
    """
    returns = np.ascontiguousarray(returns)  # the last bit of a sum depends on the layout
    count = returns.shape[1]
    equal = np.full(count, 1.0 / count)
    reason = _unusable(returns)
    if reason is None and count * max_weight < 1 - _NOISE:
        reason = "infeasible: the selected symbols cannot hold everything under max_weight"
    if reason is not None or count * max_weight <= 1 + _NOISE:
        return equal, reason  # where max_weight leaves no choice, equal weights are the optimum
    volatility = returns.std(axis=0, ddof=1)
    unit = np.median(volatility) if weighting == "min_cvar" else np.sqrt(np.mean(volatility**2))
    scaled, rate = returns / unit, daily_risk_free / float(unit)
    if weighting == "max_sharpe" and _highest_mean(scaled, max_weight) - rate <= _ZERO:
        return equal, "infeasible: no allowed weights had a mean return above the risk-free rate"
    if weighting != "min_cvar" and _is_own_target(scaled):
        return equal, "the shrinkage is undefined: the returns are uncorrelated and equally volatile to the last digit"
    weights = _fit(weighting, scaled, max_weight, rate)
    return (equal, "the solver found no weights") if weights is None else (weights, None)


def _unusable(returns: Floats) -> str | None:
    """Return why no model can be made of the returns, or None."""
    if len(returns) < 2:
        return "the look-back has fewer than 2 days"
    with np.errstate(all="ignore"):
        volatility = returns.std(axis=0, ddof=1)
        if np.any(volatility <= _ZERO):
            return "a selected symbol's price does not move over the look-back"
        # Shrinkage takes fourth powers. NaN and infinity end here too.
        if not np.isfinite((returns / np.median(volatility)) ** 4).all():
            return "a return over the look-back is too large to compute with"
    return None


def _highest_mean(returns: Floats, max_weight: float) -> float:
    """Return the highest mean return that weights under the cap can have: the best symbols first, each up to the cap."""
    means = np.sort(returns.mean(axis=0))[::-1]
    return float(means @ np.clip(1.0 - max_weight * np.arange(len(means)), 0.0, max_weight))


def _is_own_target(returns: Floats) -> bool:
    """Tell whether the covariance is a multiple of the identity: the shrinkage then divides by what rounding leaves of 0."""
    covariance = np.cov(returns, rowvar=False)
    square = np.trace(covariance) ** 2
    return bool(len(covariance) * np.sum(covariance**2) - square <= 1e-12 * square)


def _fit(weighting: str, returns: Floats, max_weight: float, rate: float) -> Floats | None:
    """Return the model's weights, or None where the solver has none that keep their constraints."""
    with _ALONE, warnings.catch_warnings():
        # skfolio calls an answer within the tolerances inaccurate where the solver took small steps at the end.
        warnings.simplefilter("ignore")
        from skfolio.exceptions import SkfolioError

        with _blas().limit(limits=1):
            for gap in _GAPS:
                try:
                    weights = _model(weighting, max_weight, rate, gap).fit(returns).weights_
                except SkfolioError:
                    continue
                return _clean(np.asarray(weights), max_weight)
    return None


@cache
def _blas() -> Any:
    """Return what sets the number of BLAS threads; made once, when those that skfolio uses are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _model(weighting: str, max_weight: float, rate: float, gap: float) -> Any:
    """Return the unfitted skfolio model, everything that its weights depend on given by name."""
    from skfolio import RiskMeasure
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.distance import PearsonDistance
    from skfolio.moments import OAS, EmpiricalMu
    from skfolio.optimization import HierarchicalRiskParity, MeanRisk, ObjectiveFunction, RiskBudgeting
    from skfolio.prior import EmpiricalPrior
    from skfolio.seriation import HierarchicalSeriation

    prior = EmpiricalPrior(mu_estimator=EmpiricalMu(), covariance_estimator=OAS())
    bounds = {"prior_estimator": prior, "min_weights": 0.0, "max_weights": max_weight}
    if weighting == "hrp":
        # One cluster: spares the search for the number of them, of which the weights know nothing.
        tree = HierarchicalClustering(max_clusters=1, linkage_method=LinkageMethod.WARD)
        return HierarchicalRiskParity(
            risk_measure=RiskMeasure.VARIANCE,
            distance_estimator=PearsonDistance(),
            seriation_estimator=HierarchicalSeriation(hierarchical_clustering_estimator=tree),
            **bounds,
        )
    # The reduced tolerances, with which the solver would call an answer almost solved, are the full ones: almost is not enough.
    tolerances = {f"{prefix}tol_{name}": gap for prefix in ("", "reduced_") for name in ("gap_abs", "gap_rel")}
    tolerances |= {"tol_feas": _FEASIBILITY, "reduced_tol_feas": _FEASIBILITY, "max_step_fraction": _STEP}
    solver = {"solver": "CLARABEL", "solver_params": tolerances, "scale_objective": 1.0, "scale_constraints": 1.0}
    if weighting == "risk_parity":
        return RiskBudgeting(risk_measure=RiskMeasure.VARIANCE, **bounds, **solver)
    if weighting == "min_cvar":
        return MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=0.95, **bounds, **solver)
    goal = ObjectiveFunction.MAXIMIZE_RATIO if weighting == "max_sharpe" else ObjectiveFunction.MINIMIZE_RISK
    return MeanRisk(objective_function=goal, risk_measure=RiskMeasure.VARIANCE, risk_free_rate=rate, **bounds, **solver)


def _clean(weights: Floats, max_weight: float) -> Floats | None:
    """Rid weights of the solver's noise, so that they keep their constraints; None where they break them by more than that."""
    kept = weights >= _NOISE
    if kept.sum() * max_weight < 1:  # the others have no room for what the small ones hold
        kept[:] = True
    clean = np.where(kept, np.clip(weights, 0.0, max_weight), 0.0)
    total = clean.sum()
    if total >= 1:
        clean = clean / total
    else:
        room = np.where(kept, max_weight - clean, 0.0)
        clean = clean + room * ((1.0 - total) / max(room.sum(), 1.0 - total))
    return clean if np.abs(clean - weights).max() <= _BROKEN else None
