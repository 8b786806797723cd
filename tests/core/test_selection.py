"""Ranking: rounding to twelve digits as decimal text would, ties by code point."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.selection import round_significant, select_top


def text_rounded(value: float) -> float:
    return float(f"{value:.11e}")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.floats(1e-250, 1e250) | st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_rounding_orders_and_ties_like_decimal_text(values: list[float]) -> None:
    values = [v if v == 0 or abs(v) > 1e-250 else 0.0 for v in values]
    ours = round_significant(np.array(values))
    theirs = [text_rounded(v) for v in values]
    for i in range(len(values)):
        for j in range(i):
            assert (ours[i] < ours[j]) == (theirs[i] < theirs[j])
            assert (ours[i] == ours[j]) == (theirs[i] == theirs[j])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(10**11, 10**12 - 1), st.integers(-20, 20), st.integers(-3, 3))
def test_values_next_to_a_half_round_like_decimal_text(digits: int, power: int, nudge: int) -> None:
    half = float(f"{digits}.5e{power}")
    value = half
    for _ in range(abs(nudge)):
        value = float(np.nextafter(value, np.inf if nudge > 0 else -np.inf))
    ours = round_significant(np.array([value, text_rounded(value)]))
    assert ours[0] == ours[1]


def test_sums_that_differ_in_the_last_bit_tie() -> None:
    values = np.array([[0.3, 0.1 + 0.2, 0.2]])
    assert values[0, 0] != values[0, 1]
    assert select_top(values, 2)[0].tolist() == [0, 1]


def test_a_nine_carried_over_a_power_of_ten_ties_with_it() -> None:
    values = np.array([[0.01, 0.009999999999999999, 0.00999999999]])
    assert select_top(values, 3)[0].tolist() == [0, 1, 2]
    assert round_significant(values[0])[0] == round_significant(values[0])[1]


def test_symbols_without_a_value_are_not_ranked() -> None:
    values = np.array([[np.nan, 1.0, np.nan, 2.0], [np.nan] * 4])
    first, second = select_top(values, 3)
    assert first.tolist() == [3, 1]
    assert second.tolist() == []
