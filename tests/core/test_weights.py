"""Weights: schemes, the cap, symbols that cannot be bought."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.weights import cap, place, scheme_weights

positive = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12).map(np.array)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(values=positive, max_weight=st.floats(0.01, 1.0))
def test_capped_weights_keep_within_the_cap_and_invest_what_they_can(values: np.ndarray, max_weight: float) -> None:
    weights = cap(values / values.sum(), max_weight)
    assert (weights <= max_weight + 1e-12).all()
    assert weights.sum() == pytest.approx(min(1.0, max_weight * len(values)), abs=1e-9)
    # Whoever is below the cap keeps proportion to the others below it.
    below = weights < max_weight - 1e-9
    shares = weights[below] / values[below]
    assert shares == pytest.approx(np.full(len(shares), shares[0] if len(shares) else 0.0))


def test_the_excess_over_the_cap_goes_to_the_others_in_proportion() -> None:
    assert cap(np.array([0.6, 0.3, 0.1]), 0.5) == pytest.approx([0.5, 0.375, 0.125])
    # 0.375 exceeds 0.35 in turn: the rest goes to the last one.
    assert cap(np.array([0.6, 0.3, 0.1]), 0.35) == pytest.approx([0.35, 0.35, 0.30])


def test_what_cannot_be_placed_under_the_cap_is_cash() -> None:
    assert cap(np.array([0.5, 0.5]), 0.3).sum() == pytest.approx(0.6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    values=positive,
    max_weight=st.floats(0.05, 1.0),
    missing=st.sampled_from(["redistribute", "cash"]),
    data=st.data(),
)
def test_weights_sum_to_one_or_less_when_a_price_is_missing(
    values: np.ndarray, max_weight: float, missing: str, data: st.DataObject
) -> None:
    n = len(values)
    available = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    before = cap(values / values.sum(), max_weight)
    weights = place(before, available, missing, max_weight)
    assert (weights[~available] == 0).all()
    assert (weights <= max_weight + 1e-12).all()
    if missing == "cash":
        assert (weights[available] == before[available]).all()
    elif available.any():
        assert weights.sum() == pytest.approx(min(before.sum(), max_weight * available.sum()), abs=1e-9)


def test_a_signal_that_is_not_positive_falls_back_to_equal_by_name() -> None:
    weights, reason = scheme_weights("signal", np.array([2.0, 0.0]), None)
    assert weights.tolist() == [0.5, 0.5]
    assert reason is not None
    assert "not positive" in reason


def test_signal_values_too_large_to_add_fall_back_to_equal_by_name() -> None:
    weights, reason = scheme_weights("signal", np.array([1.7e308, 1.7e308]), None)
    assert weights.tolist() == [0.5, 0.5]
    assert reason is not None
    assert "too large" in reason


def test_signal_weights_are_proportional_to_the_value() -> None:
    weights, reason = scheme_weights("signal", np.array([3.0, 1.0]), None)
    assert weights.tolist() == [0.75, 0.25]
    assert reason is None


def test_inverse_volatility_gives_the_calmer_symbol_more() -> None:
    window = np.array([[0.01, 0.02], [-0.01, -0.02], [0.01, 0.02]])
    weights, reason = scheme_weights("inverse_volatility", np.array([1.0, 1.0]), window)
    assert weights == pytest.approx([2 / 3, 1 / 3])
    assert reason is None


def test_a_price_that_does_not_move_or_a_short_history_falls_back_to_equal() -> None:
    window = np.array([[0.01, 0.0], [-0.01, 0.0]])
    for given_window in (window, None):
        weights, reason = scheme_weights("inverse_volatility", np.array([1.0, 2.0]), given_window)
        assert weights.tolist() == [0.5, 0.5]
        assert reason is not None
