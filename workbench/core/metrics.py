"""From daily returns to METHOD's numbers.

Enters: simple returns per trading day as decimal fractions, without NaN. Leaves: plain floats; None where a number is undefined.
Conventions (METHOD.md, "Numbers"): 252 days a year, ddof = 1, arithmetic Sharpe and Sortino, drawdown from a start of 1.0.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DAYS_PER_YEAR = 252
# A denominator of at most this absolute value counts as zero, and what is divided by it is undefined.
ZERO = 1e-14


def ratio(numerator: float, denominator: float) -> float | None:
    """Divide; None where the denominator counts as zero or the result is not finite."""
    if not abs(denominator) > ZERO:
        return None
    result = float(numerator / denominator)
    return result if math.isfinite(result) else None


def finite(value: float) -> float | None:
    """Return a number, None where it is beyond a float: wealth that no account ever held."""
    return value if math.isfinite(value) else None


def daily_rate(annual_rate: float) -> float:
    """Return the daily rate that compounds to `annual_rate` over 252 days."""
    return float((1.0 + annual_rate) ** (1.0 / DAYS_PER_YEAR) - 1.0)


def drawdown(returns: Floats) -> Floats:
    """Return (n) wealth / running peak - 1, the start (1.0) counting as a peak."""
    wealth = np.cumprod(1.0 + returns)
    return np.asarray(wealth / np.maximum(np.maximum.accumulate(wealth), 1.0) - 1.0)


def annualize(total_return: float, n_days: int) -> float | None:
    """Return (1 + total_return)^(252 / n_days) - 1, None where that is beyond a float."""
    try:
        return float((1.0 + total_return) ** (DAYS_PER_YEAR / n_days) - 1.0)
    except OverflowError:
        return None


def return_metrics(returns: Floats, risk_free_rate: float = 0.0) -> dict[str, float | None]:
    """Compute every number that needs one series of returns.

    Parameters
    ----------
    returns
        (n) simple daily returns.
    risk_free_rate
        A year's rate as a fraction.

    Returns
    -------
    dict
        total_return, annualized_return, annualized_volatility, sharpe_ratio, sortino_ratio, max_drawdown, calmar_ratio,
        value_at_risk_95, conditional_value_at_risk_95, hit_rate. All None for n = 0; for n = 1, those with a standard deviation
        and sortino_ratio.
    """
    n = len(returns)
    if n == 0:
        return dict.fromkeys(RETURN_METRICS)
    excess = returns - daily_rate(risk_free_rate)
    with np.errstate(over="ignore", invalid="ignore"):
        total = finite(float(np.prod(1.0 + returns)) - 1.0)
        worst = finite(min(float(drawdown(returns).min()), 0.0))
    annual = None if total is None else annualize(total, n)
    quantile, tail = _lower_tail(returns)
    yearly = math.sqrt(DAYS_PER_YEAR)
    volatility = sharpe = sortino = None
    if n > 1:
        volatility = float(returns.std(ddof=1)) * yearly
        sharpe = ratio(float(excess.mean()) * yearly, float(excess.std(ddof=1)))
        below = np.minimum(excess, 0.0)
        sortino = ratio(float(excess.mean()) * yearly, math.sqrt(float((below * below).mean())))
    values = (
        total,
        annual,
        volatility,
        sharpe,
        sortino,
        worst,
        None if annual is None or worst is None else ratio(annual, abs(worst)),
        0.0 - quantile,  # not the negative, which would be -0.0 for a quantile of 0
        0.0 - tail,
        float(np.count_nonzero(returns > 0)) / n,
    )
    return dict(zip(RETURN_METRICS, values, strict=True))


RETURN_METRICS = (
    "total_return",
    "annualized_return",
    "annualized_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "max_drawdown",
    "calmar_ratio",
    "value_at_risk_95",
    "conditional_value_at_risk_95",
    "hit_rate",
)


def _lower_tail(returns: Floats) -> tuple[float, float]:
    """Return the 5 % quantile at position 0.05 (n - 1) of the sorted returns, interpolated, and the mean of those at or below it."""
    position = 0.05 * (len(returns) - 1)
    below = int(position)
    ordered = np.sort(returns)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    quantile = low + (position - below) * (high - low)
    return quantile, float(ordered[: int(np.searchsorted(ordered, quantile, side="right"))].mean())


def relative_metrics(returns: Floats, benchmark: Floats, risk_free_rate: float = 0.0) -> dict[str, float | None]:
    """Compute the numbers that hold a series of returns against a benchmark's on the same days.

    Parameters
    ----------
    returns, benchmark
        (n) simple daily returns.
    risk_free_rate
        A year's rate as a fraction.

    Returns
    -------
    dict
        excess_return, beta, alpha (a year's), tracking_error, information_ratio; all but excess_return None for n < 2.
    """
    if len(returns) == 0:
        return dict.fromkeys(RELATIVE_METRICS)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = finite(float(np.prod(1.0 + returns)) - float(np.prod(1.0 + benchmark)))
    beta = alpha = tracking_error = information_ratio = None
    if len(returns) > 1:
        rate = daily_rate(risk_free_rate)
        centred = benchmark - benchmark.mean()
        n = len(returns) - 1
        beta = ratio(float((centred * (returns - returns.mean())).sum()) / n, float((centred * centred).sum()) / n)
        if beta is not None:
            alpha = (float(returns.mean()) - rate - beta * (float(benchmark.mean()) - rate)) * DAYS_PER_YEAR
        active = returns - benchmark
        spread = float(active.std(ddof=1))
        tracking_error = spread * math.sqrt(DAYS_PER_YEAR)
        information_ratio = ratio(float(active.mean()) * math.sqrt(DAYS_PER_YEAR), spread)
    return dict(zip(RELATIVE_METRICS, (difference, beta, alpha, tracking_error, information_ratio), strict=True))


RELATIVE_METRICS = ("excess_return", "beta", "alpha", "tracking_error", "information_ratio")
