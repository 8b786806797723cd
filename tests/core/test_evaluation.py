"""Rank correlations against scipy, intervals against scipy's t, quantiles by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workbench.core.evaluation import mean_ic, quantile_returns, rank_ic, student_t_quantile


def panel(seed: int, shape: tuple[int, int], ties: bool, missing: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    signal, forward = rng.standard_normal((2, *shape))
    forward += 0.3 * signal
    if ties:
        signal, forward = np.round(signal), np.round(2 * forward) / 2
    signal[rng.random(shape) < missing] = np.nan
    forward[rng.random(shape) < missing] = np.nan
    return signal, forward


@given(
    seed=st.integers(0, 10_000),
    periods=st.integers(1, 6),
    symbols=st.integers(1, 40),
    ties=st.booleans(),
    missing=st.sampled_from([0.0, 0.3, 0.8]),
)
def test_rank_ic_is_scipys_spearman_over_the_pairs_present(
    seed: int, periods: int, symbols: int, ties: bool, missing: float
) -> None:
    signal, forward = panel(seed, (periods, symbols), ties, missing)
    for x, y, ours in zip(signal, forward, rank_ic(signal, forward), strict=True):
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
            assert math.isnan(ours)
        else:
            assert ours == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_a_symbol_without_a_forward_return_does_not_change_the_ranks_of_the_others() -> None:
    with_gap = rank_ic([[1.0, 2.0, 2.5, 3.0]], [[0.1, 0.2, np.nan, 0.15]])
    assert with_gap == pytest.approx(rank_ic([[1.0, 2.0, 3.0]], [[0.1, 0.2, 0.15]]))
    assert with_gap == pytest.approx([0.5])


def test_rank_ic_is_undefined_below_three_pairs_and_without_spread() -> None:
    signal = [[1.0, 2.0, np.nan], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [np.nan, np.nan, np.nan]]
    forward = [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0.0, 0.0, 0.0], [0.1, 0.2, 0.3]]
    assert np.isnan(rank_ic(signal, forward)).all()
    assert rank_ic(np.empty((0, 4)), np.empty((0, 4))).shape == (0,)
    assert np.isnan(rank_ic(np.empty((2, 0)), np.empty((2, 0)))).all()


def test_tables_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(periods, symbols\)"):
        rank_ic(np.zeros((2, 3)), np.zeros((3, 3)))


@given(seed=st.integers(0, 10_000), n=st.integers(2, 200), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_of_the_mean_is_scipys_t_interval(seed: int, n: int, confidence: float) -> None:
    ics = np.random.default_rng(seed).normal(0.05, 0.1, n)
    ours = mean_ic(np.append(ics, np.nan), confidence)
    low, high = stats.t.interval(confidence, n - 1, loc=ics.mean(), scale=stats.sem(ics))
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert ours.t_statistic == pytest.approx(stats.ttest_1samp(ics, 0).statistic, rel=1e-9)
    assert (ours.mean, ours.std, ours.n_periods) == (pytest.approx(ics.mean()), pytest.approx(ics.std(ddof=1)), n)


def test_undefined_numbers_of_a_summary_are_none() -> None:
    nothing, single, constant = mean_ic([np.nan]), mean_ic([0.1]), mean_ic([0.1, 0.1, 0.1])
    assert (nothing.mean, nothing.std, nothing.t_statistic, nothing.low, nothing.n_periods) == (None,) * 4 + (0,)
    assert (single.mean, single.std, single.t_statistic, single.high, single.n_periods) == (0.1, None, None, None, 1)
    assert constant.t_statistic is None
    assert constant.low == pytest.approx(0.1)
    with pytest.raises(ValueError, match="confidence"):
        mean_ic([0.1, 0.2], 1.0)


@given(probability=st.floats(0.0005, 0.9995), degrees=st.integers(1, 2000))
def test_the_t_quantile_is_scipys(probability: float, degrees: int) -> None:
    expected = stats.t.ppf(probability, degrees)
    assert student_t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_quantile_returns_by_hand() -> None:
    signal = [[4.0, 3.0, 2.0, 1.0, np.nan], [1.0, 1.0, 2.0, 2.0, 9.0], [1.0, np.nan, np.nan, np.nan, np.nan]]
    forward = [[0.04, 0.03, 0.02, 0.01, 0.5], [0.01, 0.03, 0.05, 0.07, np.nan], [0.9, 0.0, 0.0, 0.0, 0.0]]
    assert quantile_returns(signal, forward, 2) == pytest.approx([(0.015 + 0.02) / 2, (0.035 + 0.06) / 2])


def test_every_period_counts_the_same_in_the_quantiles() -> None:
    wide = np.arange(100.0)
    signal = np.vstack([wide, np.where(wide < 2, wide, np.nan)])
    forward = np.vstack([np.where(wide < 50, 0.0, 0.10), np.where(wide < 1, 0.0, 0.30)])
    assert quantile_returns(signal, forward, 2) == pytest.approx([0.0, 0.20])


def test_equal_signals_share_a_quantile_and_an_empty_one_is_undefined() -> None:
    means = quantile_returns([[1.0, 1.0, 1.0, 1.0]], [[0.1, 0.2, 0.3, 0.4]], 3)
    assert np.isnan(means[[0, 2]]).all()
    assert means[1] == pytest.approx(0.25)
    assert np.isnan(quantile_returns([[1.0, 2.0]], [[0.1, 0.2]], 3)).all()
    with pytest.raises(ValueError, match="n_quantiles"):
        quantile_returns([[1.0]], [[1.0]], 1)


@given(seed=st.integers(0, 10_000), n_quantiles=st.integers(2, 7))
def test_quantiles_of_distinct_signals_differ_in_size_by_at_most_one(seed: int, n_quantiles: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(n_quantiles, 60))
    signal = rng.permutation(n).astype(float)
    # The forward return marks one symbol at a time: 1/size of the quantile that holds it.
    sizes = [1 / quantile_returns([signal], [np.arange(n) == i], n_quantiles).max() for i in range(n)]
    assert max(sizes) - min(sizes) <= 1 + 1e-9
