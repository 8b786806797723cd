"""METHOD's numbers against empyrical, by hand, and where they are undefined."""

import math

import empyrical
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.metrics import RETURN_METRICS, drawdown, relative_metrics, return_metrics


def series(seed: int, n: int, scale: float = 0.02) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, n) * scale


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 800), rate=st.sampled_from([0.0, 0.03]))
def test_numbers_agree_with_empyrical_where_both_define_the_same_thing(seed: int, n: int, rate: float) -> None:
    r, b = np.clip(series(seed, n), -0.5, 0.5), np.clip(series(seed + 1, n, 0.01), -0.5, 0.5)
    daily = (1 + rate) ** (1 / 252) - 1
    ours, against = return_metrics(r, rate), relative_metrics(r, b, rate)
    expected = {
        "total_return": empyrical.cum_returns_final(r),
        "annualized_return": empyrical.annual_return(r),
        "annualized_volatility": empyrical.annual_volatility(r),
        "sharpe_ratio": empyrical.sharpe_ratio(r, risk_free=daily),
        "sortino_ratio": empyrical.sortino_ratio(r, required_return=daily),
        "max_drawdown": empyrical.max_drawdown(r),
        "calmar_ratio": empyrical.calmar_ratio(r),
        "value_at_risk_95": -empyrical.value_at_risk(r, cutoff=0.05),
    }
    for name, value in expected.items():
        if ours[name] is None:
            assert not math.isfinite(value) or name == "calmar_ratio"
        elif math.isfinite(value):
            assert ours[name] == pytest.approx(value, rel=1e-10, abs=1e-10), name
    beta = empyrical.beta(r, b, risk_free=daily)
    assert against["beta"] == pytest.approx(beta, rel=1e-9, abs=1e-10)
    # empyrical compounds alpha, METHOD does not: compare before annualisation.
    alpha = np.mean(r - daily) - beta * np.mean(b - daily)
    assert against["alpha"] == pytest.approx(252 * alpha, rel=1e-9, abs=1e-10)
    excess = empyrical.excess_sharpe(r, b)
    assert against["information_ratio"] == pytest.approx(excess * math.sqrt(252), rel=1e-10, abs=1e-10)


def test_numbers_of_three_days_by_hand() -> None:
    r = np.array([0.10, -0.50, 0.20])
    ours = return_metrics(r)
    assert ours["total_return"] == pytest.approx(1.1 * 0.5 * 1.2 - 1)
    # Wealth 1.1, 0.55, 0.66: the fall from the peak 1.1 is one half.
    assert ours["max_drawdown"] == pytest.approx(-0.5)
    assert ours["hit_rate"] == pytest.approx(2 / 3)
    # Position 0.05 x 2 = 0.1 between -0.5 and 0.1: -0.5 + 0.1 x 0.6.
    assert ours["value_at_risk_95"] == pytest.approx(0.44)
    assert ours["conditional_value_at_risk_95"] == pytest.approx(0.5)
    # mean -1/15; below zero: only -0.5, so sqrt(0.25 / 3).
    assert ours["sortino_ratio"] == pytest.approx((-0.2 / 3) / math.sqrt(0.25 / 3) * math.sqrt(252))


def test_the_start_counts_as_a_peak() -> None:
    assert drawdown(np.array([-0.1, 0.05]))[0] == pytest.approx(-0.1)


def test_without_days_everything_is_undefined() -> None:
    assert set(return_metrics(np.empty(0)).values()) == {None}
    assert set(relative_metrics(np.empty(0), np.empty(0)).values()) == {None}


def test_one_day_has_no_deviation_and_no_covariance() -> None:
    ours = return_metrics(np.array([0.01]))
    undefined = {"annualized_volatility", "sharpe_ratio", "sortino_ratio", "calmar_ratio"}
    assert {name for name in RETURN_METRICS if ours[name] is None} == undefined
    against = relative_metrics(np.array([0.01]), np.array([0.02]))
    assert {name for name, value in against.items() if value is not None} == {"excess_return"}


def test_constant_returns_have_no_ratios_and_no_infinity() -> None:
    ours = return_metrics(np.zeros(10))
    assert ours["sharpe_ratio"] is None
    assert ours["sortino_ratio"] is None
    assert ours["calmar_ratio"] is None
    assert ours["annualized_volatility"] == 0.0
    assert relative_metrics(np.zeros(10), np.zeros(10))["beta"] is None


def test_an_annual_return_beyond_a_float_is_undefined() -> None:
    ours = return_metrics(np.array([30.0]))
    assert ours["annualized_return"] is None
    assert ours["calmar_ratio"] is None


def test_wealth_beyond_a_float_is_undefined_and_not_infinite():
    returns = np.full(400, 9.0)  # ten times as much every day
    numbers = return_metrics(returns)
    assert numbers["total_return"] is None
    assert numbers["annualized_return"] is None
    assert numbers["max_drawdown"] is None
    assert numbers["calmar_ratio"] is None
    assert numbers["hit_rate"] == 1.0
    assert relative_metrics(returns, np.zeros(400))["excess_return"] is None
