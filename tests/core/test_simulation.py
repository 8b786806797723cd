"""Holdings, trades and costs against arithmetic spelt out by hand, and invariants."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.simulation import Rebalance, simulate


def rebalance(trade: int, until: int, **weights: float) -> Rebalance:
    names = ["a", "b", "c"]
    columns = np.array([names.index(name) for name in weights], dtype=np.intp)
    return Rebalance(trade, until, columns, np.array(list(weights.values())))


PRICES = np.array([[10.0, 20.0, 5.0], [11.0, 20.0, 5.0], [11.0, 30.0, 5.0], [22.0, 30.0, 10.0]])


def test_drifting_weights_by_hand() -> None:
    result = simulate(PRICES, [rebalance(0, 3, a=0.5, b=0.5)], drift=True, cost_rate=0.0)
    # a grows 1.1, 1.1, 2.2; b 1, 1.5, 1.5: wealth 1, 1.05, 1.3, 1.85.
    assert result.gross == pytest.approx([0.05, 1.3 / 1.05 - 1, 1.85 / 1.3 - 1])
    assert result.net.tolist() == result.gross.tolist()


def test_daily_return_to_target_by_hand() -> None:
    result = simulate(PRICES, [rebalance(0, 3, a=0.5, b=0.5)], drift=False, cost_rate=0.0)
    # a earns 10 %, 0 %, 100 %; b 0 %, 50 %, 0 %.
    assert result.gross == pytest.approx([0.05, 0.25, 0.5])


def test_turnover_is_measured_from_the_drifted_weights() -> None:
    plan = [rebalance(0, 2, a=0.5, b=0.5), rebalance(2, 3, b=0.5, c=0.5)]
    first, second = simulate(PRICES, plan, drift=True, cost_rate=0.01).trades
    assert first.turnover == pytest.approx(1.0)
    # At row 2 wealth is 1.3, of which a 0.55 and b 0.75.
    before = np.array([0.55, 0.75]) / 1.3
    assert second.before == pytest.approx([*before, 0.0])
    assert second.turnover == pytest.approx(before[0] + abs(0.5 - before[1]) + 0.5)


def test_turnover_without_drift_is_measured_after_the_last_day_only() -> None:
    plan = [rebalance(0, 2, a=0.5, b=0.5), rebalance(2, 3, b=0.5, c=0.5)]
    _, second = simulate(PRICES, plan, drift=False, cost_rate=0.0).trades
    # Back at one half each before day 2, on which a earns 0 and b 50 %: 0.5 and 0.75 of 1.25.
    assert second.before == pytest.approx([0.4, 0.6, 0.0])


def test_cost_scales_wealth_on_the_first_day_held() -> None:
    result = simulate(PRICES, [rebalance(0, 2, a=0.5, b=0.5)], drift=True, cost_rate=0.01)
    assert result.net[0] == pytest.approx(0.99 * 1.05 - 1)
    assert result.net[1] == result.gross[1]


def test_cash_earns_nothing_and_is_no_trade() -> None:
    result = simulate(PRICES, [rebalance(0, 1, a=0.25)], drift=True, cost_rate=0.0)
    assert result.gross == pytest.approx([0.025])
    assert result.trades[0].turnover == pytest.approx(0.25)


def test_selling_everything_costs_like_buying_it() -> None:
    plan = [rebalance(0, 1, a=1.0), Rebalance(1, 3, np.empty(0, dtype=np.intp), np.empty(0))]
    result = simulate(PRICES, plan, drift=True, cost_rate=0.01)
    assert result.trades[1].turnover == pytest.approx(1.0)
    assert result.net[1:] == pytest.approx([-0.01, 0.0])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), drift=st.booleans())
def test_one_symbol_earns_its_own_returns(seed: int, drift: bool) -> None:
    prices = np.exp(np.random.default_rng(seed).normal(0, 0.05, (30, 1)).cumsum(axis=0))
    plan = [Rebalance(k, k + 5, np.array([0]), np.array([1.0])) for k in range(0, 25, 5)]
    result = simulate(prices, plan, drift=drift, cost_rate=0.01)
    assert result.gross == pytest.approx(prices[1:26, 0] / prices[:25, 0] - 1)
    # Nothing is traded after the first purchase.
    assert [trade.turnover for trade in result.trades] == pytest.approx([1.0, 0, 0, 0, 0], abs=1e-12)
