"""The stationary bootstrap: what its draws look like, a plain loop as oracle, and how often its intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.core.inference import (
    bootstrap_intervals,
    default_block_days,
    stationary_bootstrap_indices,
)
from workbench.core.metrics import return_metrics


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def returns(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    market = rng.normal(0.0004, 0.01, n)
    return market + rng.normal(0.0002, 0.006, n), market


@pytest.mark.parametrize("block", [1.0, 5.0, 21.0])
def test_blocks_have_the_stated_mean_length(block: float) -> None:
    n, draws = 500, 400
    indices = stationary_bootstrap_indices(n, block, draws, generator(1))
    follows = (indices[:, 1:] - indices[:, :-1]) % n == 1
    # A new block also continues the old one by chance, once in n.
    expected = (1 - 1 / block) + (1 / block) / n
    spread = math.sqrt(expected * (1 - expected) / follows.size)
    assert follows.mean() == pytest.approx(expected, abs=5 * spread)


def test_block_lengths_are_geometric() -> None:
    n, block = 100_000, 10.0
    row = stationary_bootstrap_indices(n, block, 1, generator(2))[0]
    starts = np.flatnonzero(np.diff(row) % n != 1)
    lengths = np.diff(starts)
    for length in (1, 5, 10, 20):
        expected = (1 - 1 / block) ** (length - 1)
        assert (lengths >= length).mean() == pytest.approx(expected, abs=5 * math.sqrt(0.25 / len(lengths)))


def test_every_day_is_equally_likely_in_every_place() -> None:
    n, draws = 20, 40_000
    indices = stationary_bootstrap_indices(n, 6.0, draws, generator(3))
    assert indices.shape == (draws, n)
    assert indices.dtype == np.int64
    for place in (0, 7, n - 1):
        shares = np.bincount(indices[:, place], minlength=n) / draws
        assert shares == pytest.approx(1 / n, abs=5 * math.sqrt(1 / n / draws))


def test_blocks_run_on_from_the_last_day_to_the_first() -> None:
    indices = stationary_bootstrap_indices(5, 1000.0, 50, generator(4))
    for row in indices:
        if ((row[1:] - row[:-1]) % 5 == 1).all():
            assert row.tolist() == [(row[0] + k) % 5 for k in range(5)]
    assert ((indices[:, 1:] - indices[:, :-1]) % 5 == 1).mean() > 0.98


def loop_intervals(
    net: np.ndarray, benchmark: np.ndarray, block: float, draws: int, seed: int
) -> dict[str, list[float]]:
    """Resample day by day and compute each number anew: slow, and nothing in it is clever."""
    samples: dict[str, list[float]] = {"total_return": [], "benchmark_total_return": [], "excess_return": []}
    samples |= {"annualized_return": [], "sharpe_ratio": []}
    for row in stationary_bootstrap_indices(len(net), block, draws, generator(seed)):
        ours, theirs = return_metrics(net[row], 0.02), return_metrics(benchmark[row], 0.02)
        for name in ("total_return", "annualized_return", "sharpe_ratio"):
            samples[name].append(ours[name])
        samples["benchmark_total_return"].append(theirs["total_return"])
        samples["excess_return"].append(ours["total_return"] - theirs["total_return"])
    return samples


@pytest.mark.parametrize(("n", "block"), [(2, 1.0), (37, 3.0), (250, 21.0)])
def test_intervals_are_those_of_a_plain_loop(n: int, block: float) -> None:
    net, benchmark = returns(5, n)
    draws = 300
    ours = bootstrap_intervals(
        net, benchmark, gross=net + 0.0001, seed=11, risk_free_rate=0.02, mean_block_days=block, n_resamples=draws
    )
    samples = loop_intervals(net, benchmark, block, draws, 11)
    samples["gross_total_return"] = loop_intervals(net + 0.0001, benchmark, block, draws, 11)["total_return"]
    for name, values in samples.items():
        if None in values:
            assert name == "sharpe_ratio"
            assert name not in ours
        else:
            expected = np.quantile(values, [0.025, 0.975])
            assert (ours[name].low, ours[name].high) == pytest.approx(tuple(expected), abs=1e-11), name


def test_the_same_seed_gives_the_same_intervals_and_another_seed_does_not() -> None:
    net, benchmark = returns(6, 300)
    first = bootstrap_intervals(net, benchmark, seed=1, n_resamples=500)
    assert first == bootstrap_intervals(net, benchmark, seed=1, n_resamples=500)
    assert first != bootstrap_intervals(net, benchmark, seed=2, n_resamples=500)
    # What is asked for beside a number does not move it.
    assert first.items() <= bootstrap_intervals(net, benchmark, seed=1, n_resamples=500, gross=net).items()


def test_an_interval_says_how_it_was_made() -> None:
    net, benchmark = returns(7, 300)
    interval = bootstrap_intervals(net, benchmark, seed=9, n_resamples=200, confidence=0.9)["excess_return"]
    assert (interval.confidence, interval.mean_block_days, interval.n_resamples, interval.seed) == (0.9, 21.0, 200, 9)
    again = bootstrap_intervals(net, benchmark, seed=9, n_resamples=200, confidence=0.9, mean_block_days=21)
    assert again["excess_return"] == interval
    wider = bootstrap_intervals(net, benchmark, seed=9, n_resamples=200)["excess_return"]
    assert wider.low < interval.low < interval.high < wider.high


def test_the_default_block_is_a_month_and_at_most_a_tenth_of_the_sample() -> None:
    assert [default_block_days(n) for n in (2, 10, 60, 210, 5000)] == [1.0, 1.0, 6.0, 21.0, 21.0]


def test_portfolio_and_benchmark_are_resampled_together() -> None:
    _, benchmark = returns(8, 300)
    same = bootstrap_intervals(benchmark, benchmark, seed=1, n_resamples=300)["excess_return"]
    assert (same.low, same.high) == (0.0, 0.0)


def test_fewer_than_two_days_have_no_interval() -> None:
    assert bootstrap_intervals([], [], seed=1) == {}
    assert bootstrap_intervals([0.01], [0.02], seed=1) == {}


def test_a_series_without_spread_has_no_sharpe_ratio() -> None:
    intervals = bootstrap_intervals(np.zeros(100), np.zeros(100), seed=1, n_resamples=50)
    assert "sharpe_ratio" not in intervals
    assert (intervals["total_return"].low, intervals["total_return"].high) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("net", "benchmark", "options", "message"),
    [
        ([0.1, np.nan], [0.1, 0.1], {}, "net must be"),
        ([0.1, 0.1], [0.1, -1.0], {}, "benchmark must be"),
        ([0.1, 0.1], [0.1], {}, "same days"),
        ([0.1, 0.1], [0.1, 0.1], {"confidence": 1.0}, "confidence"),
        ([0.1, 0.1], [0.1, 0.1], {"mean_block_days": 0.5}, "mean_block_days"),
        ([0.1, 0.1], [0.1, 0.1], {"n_resamples": 0}, "n_resamples"),
    ],
)
def test_what_cannot_be_resampled_is_refused(
    net: list[float], benchmark: list[float], options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(net, benchmark, seed=1, **options)  # type: ignore[arg-type]


def coverage(phi: float, n: int, block: float | None, histories: int = 300) -> float:
    """Share of histories (AR(1) log returns around a known mean) whose 95 % interval holds the true expected log wealth."""
    mean, inside = 0.0005, 0
    for seed in range(histories):
        shocks = np.random.default_rng(seed).normal(0, 0.01, n + 100)
        for t in range(1, len(shocks)):
            shocks[t] += phi * shocks[t - 1]
        log_returns = mean + shocks[100:]
        options = {} if block is None else {"mean_block_days": block}
        interval = bootstrap_intervals(np.expm1(log_returns), np.zeros(n), seed=seed, n_resamples=400, **options)
        # The logarithm is monotone, so the interval of wealth is the interval of the summed log return.
        inside += interval["total_return"].low <= math.expm1(n * mean) <= interval["total_return"].high
    return inside / histories


def test_intervals_cover_the_truth_on_independent_returns() -> None:
    assert 0.90 <= coverage(0.0, 500, None) <= 0.99


def test_intervals_cover_the_truth_on_dependent_returns_and_single_days_would_not() -> None:
    assert 0.88 <= coverage(0.4, 500, None) <= 0.99
    assert coverage(0.4, 500, 1.0) < 0.85
