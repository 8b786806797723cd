"""The random processes behind a simulated market: engagement counts, sentiment scores, daily returns.

Enters: a generator and sizes. Leaves: arrays of days by symbols. The engagement side imitates the real table of the original
study (constants fitted by eye to its distributions and persistence); the return side is a factor model with sectors, GARCH
volatility and Student-t shocks. The two know nothing of each other.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Rng = np.random.Generator
Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.datetime64]

N_SECTORS, DAYS_PER_YEAR = 8, 252
MARKET_VOLATILITY, SECTOR_VOLATILITY = 0.16, 0.10  # a year, as fractions
MARKET_DRIFT = 0.08  # a year, expected simple return of a symbol with beta 1


def engagement(rng: Rng, calendar: Days, n: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Posts, comments, likes, impressions, each (D, N), whole numbers. Constants are fitted by eye to the real table."""
    size = len(calendar)
    years = np.arange(size)[:, None] / 365.25
    monday_first = (calendar.astype(np.int64) + 3) % 7  # day 0 was a Thursday
    week = np.array([0.0, 0.05, 0.05, 0.05, 0.0, -0.42, -0.42])[monday_first, None]
    level = 2.2 + rng.gamma(2.0, 1.0, n)
    log_posts = level + 0.45 * years + week
    log_posts += _persistent(rng, size, n, 0.97, 0.47) + _persistent(rng, size, n, 0.3, 0.42)
    posts = np.floor(np.exp(log_posts))
    # What a day's best post does for likes, comments and views; likes do not share the quiet weekend.
    reach = 0.5 * (level - level.mean()) - week + _persistent(rng, size, n, 0.6, 1.6, 6)
    log_likes = -np.logaddexp(-(log_posts + rng.normal(2.6, 1.3, n) + reach), -18.5)  # an audience is finite
    slow, fast = _persistent(rng, size, n, 0.985, 0.17), _persistent(rng, size, n, 0.3, 0.50, 4)
    ratio = rng.normal(-1.62, 0.28, n) + slow + fast
    likes = rng.poisson(np.exp(log_likes))
    comments = rng.poisson(np.exp(np.minimum(log_likes + ratio, 20.0)))
    views = rng.normal(8.45, 0.3, n) + 0.15 * reach + _persistent(rng, size, n, 0.3, 0.5, 5)
    impressions = np.floor(np.exp(np.minimum(log_posts + views, 21.0)))
    return posts, comments.astype(np.float64), likes.astype(np.float64), impressions


def scores(rng: Rng, posts: Floats) -> Floats:
    """(D, N) mean sentiment in 0..1: noisier for fewer posts, missing in the first sixth of the days as in the real table."""
    size, n = posts.shape
    level = 0.545 + rng.normal(0, 0.035, n) + _persistent(rng, size, n, 0.9, 0.045)
    noise = 0.08 * rng.standard_normal((size, n)) * np.sqrt(40 / np.maximum(posts, 40))
    scores = np.clip(level + noise, 0, 1)
    scores[: size // 6] = np.nan
    return scores


def _persistent(rng: Rng, size: int, n: int, phi: float, sd: float, dof: float = math.inf) -> Floats:
    """(size, n) stationary first-order autoregressions with standard deviation `sd`; t shocks for a finite `dof`."""
    values = _shocks(rng, size, n, dof) * sd
    for t in range(1, size):
        values[t] = phi * values[t - 1] + math.sqrt(1 - phi * phi) * values[t]
    return values


def _shocks(rng: Rng, size: int, n: int, dof: float) -> Floats:
    """(size, n) shocks of unit variance; Student's t cut at 8 so that the exponential of a return has a mean."""
    if math.isinf(dof):
        return rng.standard_normal((size, n))
    return np.clip(rng.standard_t(dof, (size, n)) * math.sqrt((dof - 2) / dof), -8, 8)


def _garch(rng: Rng, size: int, volatilities: Floats, dof: float) -> Floats:
    """(size, K) daily returns with GARCH(1,1) variance (Bollerslev 1986) around the given volatilities a year (K,)."""
    alpha, beta = 0.06, 0.92
    target = volatilities**2 / DAYS_PER_YEAR
    shocks = _shocks(rng, size, len(volatilities), dof)
    variance = target * rng.lognormal(0, 0.3, len(volatilities))
    for t in range(size):
        shocks[t] *= np.sqrt(variance)
        variance = (1 - alpha - beta) * target + alpha * shocks[t] ** 2 + beta * variance
        variance = np.minimum(variance, 9 * target)  # one shock after another must not double a price in a day
    return shocks


def log_returns(rng: Rng, size: int, n: int) -> Floats:
    """(T, N) daily log returns: market factor x beta + sector + own, each with clustered volatility and heavy tails."""
    betas = np.clip(rng.normal(1.0, 0.25, n), 0.3, 1.8)
    sectors = rng.integers(0, N_SECTORS, n)
    own = np.clip(rng.lognormal(math.log(0.285), 0.3, n), 0.14, 0.6)
    market = _garch(rng, size, np.array([MARKET_VOLATILITY]), 6)
    sector = _garch(rng, size, np.full(N_SECTORS, SECTOR_VOLATILITY), 6)
    variance = (betas * MARKET_VOLATILITY) ** 2 + SECTOR_VOLATILITY**2 + own**2
    drift = (betas * MARKET_DRIFT - variance / 2) / DAYS_PER_YEAR
    return drift + betas * market + sector[:, sectors] + _garch(rng, size, own, 4)
