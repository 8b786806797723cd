"""How far the numbers of one history could have come out otherwise: the stationary block bootstrap.

Enters: daily simple returns (n), as decimal fractions, and a seed. Leaves: percentile intervals. Politis and Romano (1994), "The Stationary
Bootstrap", JASA 89: blocks of random, geometric length with uniform starts are laid end to end on the sample closed to a circle, which
keeps the dependence between near days and leaves the resampled series stationary.

An interval speaks of a future with the same mean, risk and dependence as this history, of the same length. It does not know that a strategy
was chosen among many, nor that a month can hold what this history never saw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.shown import html_rows, text_rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DAYS_PER_YEAR = 252
HOLDING_DAYS = 21
_ZERO = 1e-14  # METHOD: a denominator of absolute value up to this counts as zero


@dataclass(frozen=True)
class Interval:
    """A percentile interval and how it was made, so that it can be made again.

    low, high : in the unit of the number.
    confidence : 0.95 is 95 %.
    mean_block_days : expected block length in trading days.
    n_resamples, seed : of the bootstrap (PCG64).
    """

    low: float
    high: float
    confidence: float
    mean_block_days: float
    n_resamples: int
    seed: int


class Intervals(dict[str, Interval]):
    """Intervals by the name of the number: a dict that shows itself."""

    def _shown(self) -> tuple[str, list[tuple[str, str, str]], tuple[str, str, str]]:
        caption = "No intervals: too few days"
        for one in self.values():
            how = f"{one.n_resamples:,} resamples, mean block {one.mean_block_days:g} days, seed {one.seed}"
            caption = f"{100 * one.confidence:g} % intervals by stationary block bootstrap ({how}), as fractions"
        rows = [(name, f"{interval.low:+.4f}", f"{interval.high:+.4f}") for name, interval in self.items()]
        return caption, rows, ("number", "low", "high")

    def __repr__(self) -> str:
        return text_rows(*self._shown())

    def _repr_html_(self) -> str:
        return html_rows(*self._shown())


def default_block_days(n: int) -> float:
    """Return the mean block length for n daily returns: 21, the trading days of a month, but at most n / 10.

    A portfolio that is traded monthly is one bet per month: what its days have in common (the same holdings, the same calm or storm)
    lasts about that long. Rules that estimate the length from the autocorrelation of returns (Politis and White 2004) come to one to three
    days for returns that look like noise one by one, and differ between portfolio, benchmark and difference, which are resampled
    together here. Ten blocks are the least from which a spread can be judged. The price: a 95 % interval covers
    the truth in about 92 % of cases with a year of independent returns, and in about 94 % with three.
    """
    return float(max(1.0, min(HOLDING_DAYS, n / 10)))


def stationary_bootstrap_indices(n: int, mean_block_days: float, n_resamples: int, rng: np.random.Generator) -> Ints:
    """Draw the positions of resampled days.

    Parameters
    ----------
    n
        Days in the sample, at least 1.
    mean_block_days
        Expected block length, at least 1. With 1 every day is drawn on its own.
    n_resamples
        At least 1.
    rng
        Generator that is drawn from.

    Returns
    -------
    (n_resamples, n) int64 in 0..n-1. Within a block the position goes up by one, from n-1 to 0.
    """
    starts, lengths = _blocks(n, mean_block_days, n_resamples, rng)
    ends = np.cumsum(lengths, axis=1)
    shift = (starts - (ends - lengths)).ravel()
    position = np.tile(np.arange(n), n_resamples)
    indices: Ints = (position + np.repeat(shift, lengths.ravel())) % n
    return indices.reshape(n_resamples, n)


def bootstrap_intervals(
    net: npt.ArrayLike,
    benchmark: npt.ArrayLike,
    *,
    seed: int,
    gross: npt.ArrayLike | None = None,
    risk_free_rate: float = 0.0,
    mean_block_days: float | None = None,
    n_resamples: int = 5000,
    confidence: float = 0.95,
) -> Intervals:
    """Put a percentile interval on METHOD's numbers. All series are resampled with the same days, so that differences keep their meaning.

    Parameters
    ----------
    net, benchmark, gross
        (n) daily simple returns on the same days, each above -1; `gross` may be absent.
    seed
        Of the PCG64 generator.
    risk_free_rate
        A year's rate, for the Sharpe ratio.
    mean_block_days
        Expected block length; None takes `default_block_days(n)`.
    n_resamples, confidence
        Resamples, and the share of them that lies within the interval.

    Returns
    -------
    `total_return`, `benchmark_total_return`, `excess_return`, `annualized_return`, `sharpe_ratio`, and `gross_total_return` where
    `gross` is given. Empty for fewer than two days; a number that is undefined in some resample is left out.
    """
    series = {"": _returns("net", net), "benchmark_": _returns("benchmark", benchmark)}
    if gross is not None:
        series["gross_"] = _returns("gross", gross)
    n = len(series[""])
    if any(len(values) != n for values in series.values()):
        raise ValueError(f"the series must have the same days, got {[len(values) for values in series.values()]}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}")
    if n < 2:
        return Intervals()
    block = default_block_days(n) if mean_block_days is None else float(mean_block_days)
    blocks = _blocks(n, block, n_resamples, np.random.Generator(np.random.PCG64(seed)))
    numbers = {
        f"{name}total_return": np.expm1(_block_sums(np.log1p(values), blocks)) for name, values in series.items()
    }
    numbers["excess_return"] = numbers["total_return"] - numbers["benchmark_total_return"]
    numbers["annualized_return"] = (1 + numbers["total_return"]) ** (DAYS_PER_YEAR / n) - 1
    numbers["sharpe_ratio"] = _sharpe_ratios(series[""], risk_free_rate, blocks)
    tail = (1 - confidence) / 2
    intervals = Intervals()
    for name, values in numbers.items():
        if np.isfinite(values).all():
            low, high = np.quantile(values, [tail, 1 - tail])
            intervals[name] = Interval(float(low), float(high), confidence, block, n_resamples, seed)
    return intervals


def _returns(name: str, values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all() or (array <= -1).any():
        raise ValueError(f"{name} must be a row of finite returns above -1")
    return array


def _blocks(n: int, mean_block_days: float, n_resamples: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Starts and lengths of the blocks, both (n_resamples, K); each row's lengths add up to n, with zeros at the end."""
    if n < 1 or n_resamples < 1 or not 1 <= mean_block_days < math.inf:
        raise ValueError(
            f"n, n_resamples and mean_block_days must be at least 1, got {n!r}, {n_resamples!r}, {mean_block_days!r}"
        )
    # Enough blocks for nearly every row at the first draw; short rows get more until all are full.
    width = int(n / mean_block_days + 5 * math.sqrt(n / mean_block_days)) + 5
    lengths = np.empty((n_resamples, 0), dtype=np.int64)
    total = np.zeros(n_resamples, dtype=np.int64)
    while total.min() < n:
        more = rng.geometric(1 / mean_block_days, (n_resamples, width))
        # A length above n could overflow the sum, and is cut to n anyway.
        lengths = np.hstack([lengths, np.minimum(more, n)])
        total = lengths.sum(axis=1)
    ends = np.minimum(np.cumsum(lengths, axis=1), n)
    lengths = np.diff(ends, axis=1, prepend=0)
    return rng.integers(0, n, lengths.shape), lengths


def _block_sums(values: Floats, blocks: tuple[Ints, Ints]) -> Floats:
    """(n_resamples) sum of `values` over each resample.

    A block's sum is the difference of two running sums, so the work grows with the number of blocks, not of days.
    """
    starts, lengths = blocks
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values]))])
    return np.asarray((running[starts + lengths] - running[starts]).sum(axis=1), dtype=np.float64)


def _sharpe_ratios(net: Floats, risk_free_rate: float, blocks: tuple[Ints, Ints]) -> Floats:
    """(n_resamples) METHOD's sharpe_ratio; NaN where the spread counts as zero."""
    n = len(net)
    excess = net - ((1 + risk_free_rate) ** (1 / DAYS_PER_YEAR) - 1)
    # Squares around the sample's mean: the variance is then not a difference of two large numbers.
    centre = excess.mean()
    mean = _block_sums(excess - centre, blocks) / n
    squares = _block_sums((excess - centre) ** 2, blocks)
    std = np.sqrt(np.maximum(squares - n * mean**2, 0) / (n - 1))
    # A resample of one repeated day keeps rounding noise far above METHOD's zero; measured against the sample's own spread it is nothing.
    defined = std > max(_ZERO, 1e-6 * float(excess.std()))
    return np.where(defined, (mean + centre) / np.where(defined, std, 1.0) * math.sqrt(DAYS_PER_YEAR), np.nan)
