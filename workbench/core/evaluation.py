"""Does the signal order the returns that follow it? Rank correlation per period, its mean with an interval, returns by quantile.

Enters: a signal and the forward returns, both (P, N) with NaN where a symbol has none, period by period in the same order. Leaves:
numbers. The caller decides what "forward" is; METHOD's holding period (close of e to the next close of e) is what the workbench uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ZERO = 1e-14  # METHOD: a denominator of absolute value up to this counts as zero


@dataclass(frozen=True)
class ICSummary:
    """The mean of a rank correlation over periods; None where a number is undefined.

    mean : arithmetic mean of the periods' correlations.
    std : their standard deviation, ddof = 1.
    n_periods : periods with a correlation.
    t_statistic : mean / (std / sqrt(n_periods)).
    low, high : Student-t interval of the mean, n_periods - 1 degrees of freedom.
    confidence : of the interval, 0.95 by default.
    """

    mean: float | None
    std: float | None
    n_periods: int
    t_statistic: float | None
    low: float | None
    high: float | None
    confidence: float


def rank_ic(signal: npt.ArrayLike, forward: npt.ArrayLike) -> Floats:
    """Correlate the ranks of signal and forward return in each period (Spearman 1904; ties get their average rank).

    Parameters
    ----------
    signal, forward
        (P, N), NaN = none. Only symbols with both count, and both are ranked among these.

    Returns
    -------
    (P,) in -1..1, NaN where fewer than three symbols have both, or one of the two is the same for all of them.
    """
    signals, returns = _paired(signal, forward)
    counts = np.isfinite(signals).sum(axis=1)
    x = _average_ranks(signals) - (counts[:, None] + 1) / 2
    y = _average_ranks(returns) - (counts[:, None] + 1) / 2
    scale = np.sqrt(np.nansum(x * x, axis=1) * np.nansum(y * y, axis=1))
    defined = (counts >= 3) & (scale > _ZERO)
    return np.where(defined, np.nansum(x * y, axis=1) / np.where(defined, scale, 1.0), np.nan)


def mean_ic(ics: npt.ArrayLike, confidence: float = 0.95) -> ICSummary:
    """Average rank correlations over the periods that have one, with a Student-t interval.

    The interval takes the periods as independent: forward returns of consecutive periods must not overlap.

    Parameters
    ----------
    ics
        (P,) as `rank_ic` returns them; NaN is left out.
    confidence
        Between 0 and 1, both excluded.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")
    values = np.asarray(ics, dtype=np.float64)
    values = values[np.isfinite(values)]
    n = len(values)
    if n == 0:
        return ICSummary(None, None, 0, None, None, None, confidence)
    mean = float(values.mean())
    if n == 1:
        return ICSummary(mean, None, 1, None, None, None, confidence)
    std = float(values.std(ddof=1))
    error = std / math.sqrt(n)
    margin = student_t_quantile((1 + confidence) / 2, n - 1) * error
    t_statistic = mean / error if std > _ZERO else None
    return ICSummary(mean, std, n, t_statistic, mean - margin, mean + margin, confidence)


def quantile_returns(signal: npt.ArrayLike, forward: npt.ArrayLike, n_quantiles: int = 5) -> Floats:
    """Average the forward return of each quantile of the signal: first within a period, then over the periods.

    Every period counts the same, however many symbols it has. The quantile of a symbol follows from its average rank, so equal signals
    are never split.

    Parameters
    ----------
    signal, forward
        (P, N), NaN = none.
    n_quantiles
        At least 2. A period with fewer symbols than this is left out.

    Returns
    -------
    (n_quantiles,) mean simple returns, lowest signals first; NaN for a quantile that is empty in every period.
    """
    if n_quantiles < 2:
        raise ValueError(f"n_quantiles must be at least 2, got {n_quantiles!r}")
    signals, returns = _paired(signal, forward)
    counts = np.isfinite(signals).sum(axis=1)
    used = counts >= n_quantiles
    signals, returns, counts = signals[used], returns[used], counts[used]
    quantile = np.floor((_average_ranks(signals) - 0.5) * n_quantiles / counts[:, None])
    means = np.full((len(counts), n_quantiles), np.nan)
    for number in range(n_quantiles):
        inside = quantile == number
        size = inside.sum(axis=1)
        means[:, number] = np.where(inside, returns, 0.0).sum(axis=1) / np.where(size > 0, size, np.nan)
    periods = np.isfinite(means).sum(axis=0)
    return np.asarray(np.nansum(means, axis=0) / np.where(periods > 0, periods, np.nan), dtype=np.float64)


def student_t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t for whole degrees of freedom.

    The distribution is the finite sum of Abramowitz and Stegun 26.7.3 and 26.7.4, inverted by bisection: exact to a few units in the
    twelfth digit, and it spares a study the import of scipy.

    Parameters
    ----------
    probability
        Between 0 and 1, both excluded.
    degrees
        At least 1.
    """
    if not 0 < probability < 1 or degrees < 1:
        raise ValueError(
            f"probability must be between 0 and 1 and degrees at least 1, got {probability!r}, {degrees!r}"
        )
    wanted = abs(2 * probability - 1)
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _central_mass(middle, degrees) < wanted else (low, middle)
    return math.copysign(math.sqrt(degrees) * math.tan((low + high) / 2), probability - 0.5)


def _central_mass(theta: float, degrees: int) -> float:
    """P(|t| <= sqrt(degrees) tan(theta)) for Student's t: Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even)."""
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2 == 1
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def _paired(signal: npt.ArrayLike, forward: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both as (P, N) float64, NaN in both wherever either is missing."""
    signals, returns = np.asarray(signal, dtype=np.float64), np.asarray(forward, dtype=np.float64)
    if signals.ndim != 2 or signals.shape != returns.shape:
        raise ValueError(f"signal and forward must both be (periods, symbols), got {signals.shape} and {returns.shape}")
    present = np.isfinite(signals) & np.isfinite(returns)
    return np.where(present, signals, np.nan), np.where(present, returns, np.nan)


def _average_ranks(values: Floats) -> Floats:
    """(P, N) ranks from 1 within each row, ties averaged, NaN for NaN."""
    if values.size == 0:
        return values
    order = np.argsort(values, axis=1, kind="stable")  # NaN last
    ordered = np.take_along_axis(values, order, axis=1)
    position = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    changes = ordered[:, 1:] != ordered[:, :-1]
    edge = np.ones((len(values), 1), dtype=np.bool_)
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), position, 0), axis=1)
    ends = np.where(np.hstack([changes, edge]), position, values.shape[1])
    last = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=1)
    return np.where(np.isnan(values), np.nan, ranks)
