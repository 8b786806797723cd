"""Small markets whose results are worked out by hand in the comments; `run_study` and the reference must give them.

Likes are always 100, so a row's value is its comments / 100. Prices are given per trading day, `None` where there is
none.
"""

from __future__ import annotations

import math
from datetime import date
from itertools import accumulate
from typing import Any

import pytest
from reference import OWN_NUMBERS, reference_study
from test_reference import BENCHMARK, assert_agrees, assert_losses_agree, assert_reconciles, optimise, run

# January's last trading day is Friday the 29th; the 30th and 31st are a weekend that still belongs to January's signal.
JANUARY = ["2021-01-28", "2021-01-29"]
CLOSE = 1e-12


def study(
    comments: list[tuple[str, str, int]], days: list[str], closes: dict[str, list[float | None]], **knobs: Any
) -> Any:
    """Run a study on (day, symbol, comments) rows and closes per day; the reference must agree with it."""
    rows = [
        {
            "date": date.fromisoformat(day),
            "symbol": symbol,
            "twitterPosts": 1,
            "twitterComments": count,
            "twitterLikes": 100,
            "twitterImpressions": 1000,
            "twitterSentiment": None,
        }
        for day, symbol, count in comments
    ]
    prices = {
        symbol: {date.fromisoformat(d): p for d, p in zip(days, walk, strict=True) if p is not None}
        for symbol, walk in closes.items()
    }
    # Costs off unless a test is about them; top_n no larger than the table.
    knobs = {"cost_bps": 0.0, "top_n": min(5, len({row["symbol"] for row in rows}))} | knobs
    result = run(rows, prices, knobs)
    expected = reference_study(rows, prices, BENCHMARK, knobs, optimise)
    assert_agrees(result, expected)
    assert_reconciles(result, expected, knobs["cost_bps"])
    assert_losses_agree(result, expected)
    return result


def kinds(result: Any) -> set[tuple[str, str, str | None]]:
    """Return the losses as (kind, period, symbol)."""
    return {
        (loss.kind, loss.period, loss.symbol if isinstance(loss.symbol, str) else None)
        for loss in result.losses.itertuples()
    }


# --- two rebalances from first to last --------------------------------------------------------------------------------

TWO_MONTHS = [
    ("2021-01-10", "A", 90),
    ("2021-01-11", "B", 50),
    ("2021-01-12", "C", 20),
    ("2021-02-25", "A", 90),
    ("2021-02-26", "B", 20),
    ("2021-02-28", "C", 50),  # a Sunday: it belongs to February, and puts C before B
]
# In order: January's e0 is 01-29 and its e 02-01, February's 02-26 and 03-01, March's 03-31 and 04-01.
TWO_MONTH_DAYS = [*JANUARY, "2021-02-01", "2021-02-02", "2021-02-26", "2021-03-01", "2021-03-02", "2021-03-31"]
TWO_MONTH_DAYS += ["2021-04-01", "2021-04-05"]
TWO_MONTH_CLOSES: dict[str, list[float | None]] = {
    "A": [100, 100, 100, 110, 121, 121, 121, 133.1, 133.1, 1],
    "B": [50, 50, 50, 50, 40, 50, 50, 50, 50, 50],
    "C": [10, 10, 10, 10, 10, 20, 10, 10, 10, 10],
    BENCHMARK: [100, 100, 100, 101, 102, 102, 102, 103, 104, 200],
}


def test_two_drifting_rebalances_by_hand() -> None:
    result = study(TWO_MONTHS, TWO_MONTH_DAYS, TWO_MONTH_CLOSES, top_n=2, cost_bps=10.0)
    assert result.selection == {"2021-01": ["A", "B"], "2021-02": ["A", "C"]}
    assert result.weights == {"2021-02-01": {"A": 0.5, "B": 0.5}, "2021-03-01": {"A": 0.5, "C": 0.5}}
    # Value of one unit bought on 02-01:  A        B       V
    #   02-02                             0.550    0.500   1.050
    #   02-26                             0.605    0.400   1.005
    #   03-01 (sold at its close)         0.605    0.500   1.105
    # and of one bought on 03-01:         A        C
    #   03-02                             0.500    0.250   0.750
    #   03-31                             0.550    0.250   0.800
    #   04-01 = one more period: the last trading day of March plus one. A's fall to 1 on 04-05 is not held.
    gross = [0.05, 1.005 / 1.05 - 1, 1.105 / 1.005 - 1, -0.25, 0.8 / 0.75 - 1, 0.0]
    assert result.returns["gross"].tolist() == pytest.approx(gross, abs=CLOSE)
    # The first purchase trades 1. Before the second A is 0.605 / 1.105 and B 0.5 / 1.105, so A gives up
    # 0.605 / 1.105 - 0.5, B all of its 0.5 / 1.105, and C takes 0.5: together 1.105 / 1.105 = 1. Each of the two costs
    # 0.001 of wealth on the day after.
    net = [0.999 * 1.05 - 1, gross[1], gross[2], 0.999 * 0.75 - 1, gross[4], 0.0]
    assert result.returns["net"].tolist() == pytest.approx(net, abs=CLOSE)
    assert result.summary["mean_turnover"] == pytest.approx(1.0, abs=CLOSE)
    assert result.summary["gross_total_return"] == pytest.approx(1.105 * 0.8 - 1, abs=CLOSE)
    assert result.summary["total_return"] == pytest.approx(1.105 * 0.8 * 0.999**2 - 1, abs=CLOSE)
    # The benchmark is bought on 02-01 at 100 and worth 104 on 04-01.
    assert result.summary["benchmark_total_return"] == pytest.approx(0.04, abs=CLOSE)
    assert result.summary["excess_return"] == pytest.approx(1.105 * 0.8 * 0.999**2 - 1.04, abs=CLOSE)
    assert (result.summary["n_periods"], result.summary["n_symbols"], result.summary["n_days"]) == (2, 3, 6)
    assert (result.summary["first_date"], result.summary["last_date"]) == ("2021-02-02", "2021-04-01")


def test_two_rebalances_back_to_target_every_day_by_hand() -> None:
    result = study(TWO_MONTHS, TWO_MONTH_DAYS, TWO_MONTH_CLOSES, top_n=2, cost_bps=10.0, drift=False)
    # Half of each day's returns: A +10 %; A +10 % and B -20 %; B +25 %; C -50 %; A +10 %; nothing.
    assert result.returns["gross"].tolist() == pytest.approx([0.05, -0.05, 0.125, -0.25, 0.05, 0.0], abs=CLOSE)
    # Before the second rebalance the target has moved by the return of 03-01: A 0.5 / 1.125 = 4/9 and B
    # 0.625 / 1.125 = 5/9.
    # Traded: A 1/18, B 10/18, C 9/18: together 20/18.
    assert result.summary["mean_turnover"] == pytest.approx((1 + 20 / 18) / 2, abs=CLOSE)
    assert result.returns["net"].iloc[3] == pytest.approx((1 - 0.001 * 20 / 18) * 0.75 - 1, abs=CLOSE)


def test_lag_zero_trades_on_the_last_day_of_the_period() -> None:
    result = study(TWO_MONTHS, TWO_MONTH_DAYS, TWO_MONTH_CLOSES, top_n=2, execution_lag=0)
    # Bought on 01-29, changed on 02-26, held to 03-31. The weekend's post of C is in February's signal.
    assert list(result.weights) == ["2021-01-29", "2021-02-26"]
    # 02-01: nothing; 02-02: 1.05; 02-26: 1.005. Then A and C from 02-26: C doubles on 03-01 (1.5) and halves on 03-02
    # (1.0); A gains 10 % on 03-31 (1.05).
    gross = [0.0, 0.05, 1.005 / 1.05 - 1, 0.5, 1 / 1.5 - 1, 0.05]
    assert result.returns["gross"].tolist() == pytest.approx(gross, abs=CLOSE)
    assert result.summary["last_date"] == "2021-03-31"


# --- ranking ----------------------------------------------------------------------------------------------------------


def test_ties_go_to_the_lower_code_point_and_the_unbuyable_is_not_replaced() -> None:
    days = [*JANUARY, "2021-02-01", "2021-02-02"]
    flat: list[float | None] = [1, 1, 1, 1]
    # All have the mean 0.5: a from one row, B from (0.4 + 0.6) / 2, Z from one. "B" < "Z" < "a" by code point.
    rows = [("2021-01-04", "a", 50), ("2021-01-05", "B", 40), ("2021-01-06", "B", 60), ("2021-01-31", "Z", 50)]
    result = study(rows, days, {"a": flat, "B": [1, 1, None, 1], BENCHMARK: flat}, top_n=2)
    assert result.selection == {"2021-01": ["B", "Z"]}
    # B has no price on 02-01 and Z has none at all; a, next in rank, does not take their place: all is cash.
    assert result.weights == {"2021-02-01": {}}
    assert ("no_price_at_trade", "2021-01", "B") in kinds(result)
    assert ("no_price_at_trade", "2021-01", "Z") in kinds(result)
    assert result.returns["net"].tolist() == [0.0]
    assert result.summary["n_symbols"] == 0


def test_values_equal_in_twelve_digits_are_a_tie() -> None:
    days = [*JANUARY, "2021-02-01", "2021-02-02"]
    flat: list[float | None] = [1, 1, 1, 1]
    # (0.20 + 0.40) / 2 is 0.30000000000000004 in floating point, above the plain 0.30: a tie all the same, A is first.
    rows = [("2021-01-04", "A", 30), ("2021-01-05", "B", 20), ("2021-01-06", "B", 40)]
    result = study(rows, days, {"A": flat, "B": flat, BENCHMARK: flat})
    assert result.selection == {"2021-01": ["A", "B"]}


def test_thresholds_are_strict_and_come_before_the_mean() -> None:
    days = [*JANUARY, "2021-02-01", "2021-02-02"]
    flat: list[float | None] = [1, 1, 1, 1]
    # B's row with 10 comments does not pass "more than 10", so B's mean is 0.80; A's is (0.11 + 0.99) / 2 = 0.55.
    # C has one row only and min_observations of 1 would do; its 10 comments do not pass.
    rows = [("2021-01-04", "A", 11), ("2021-01-05", "A", 99), ("2021-01-04", "B", 10), ("2021-01-05", "B", 80)]
    rows += [("2021-01-06", "C", 10)]
    result = study(rows, days, {"A": flat, "B": flat, "C": flat, BENCHMARK: flat})
    assert result.selection == {"2021-01": ["B", "A"]}
    # With two rows needed, B's single one above the threshold is too few.
    result = study(rows, days, {"A": flat, "B": flat, "C": flat, BENCHMARK: flat}, min_observations=2)
    assert result.selection == {"2021-01": ["A"]}


# --- weights ----------------------------------------------------------------------------------------------------------

THREE = [("2021-01-04", "A", 60), ("2021-01-04", "B", 30), ("2021-01-04", "C", 20)]
FOUR_DAYS = [*JANUARY, "2021-02-01", "2021-02-02"]
FLAT: dict[str, list[float | None]] = {name: [1, 1, 1, 1] for name in ("A", "B", "C", BENCHMARK)}


def only_weights(result: Any) -> dict[str, float]:
    (weights,) = result.weights.values()
    return dict(weights)


def test_signal_weights_are_proportional_and_the_excess_over_the_cap_is_handed_on_until_it_fits() -> None:
    # Values 0.6, 0.3, 0.2, sum 1.1: weights 6/11, 3/11, 2/11.
    result = study(THREE, FOUR_DAYS, FLAT, weighting="signal")
    assert only_weights(result) == pytest.approx({"A": 6 / 11, "B": 3 / 11, "C": 2 / 11}, abs=CLOSE)
    # Cap 0.5: A gives up 1/22; B and C take it 3 to 2: 3/11 + 3/110 = 0.3 and 2/11 + 2/110 = 0.2.
    result = study(THREE, FOUR_DAYS, FLAT, weighting="signal", max_weight=0.5)
    assert only_weights(result) == pytest.approx({"A": 0.5, "B": 0.3, "C": 0.2}, abs=CLOSE)
    # Cap 0.35: A leaves 0.65, to B 0.39 and C 0.26. B is above now: its 0.04 goes to C, 0.30.
    result = study(THREE, FOUR_DAYS, FLAT, weighting="signal", max_weight=0.35)
    assert only_weights(result) == pytest.approx({"A": 0.35, "B": 0.35, "C": 0.3}, abs=CLOSE)
    # Cap 0.3: all three end at the cap, the last 0.1 is cash.
    result = study(THREE, FOUR_DAYS, FLAT, weighting="signal", max_weight=0.3)
    assert only_weights(result) == pytest.approx({"A": 0.3, "B": 0.3, "C": 0.3}, abs=CLOSE)


def test_weight_of_a_symbol_without_a_price_goes_to_the_others_up_to_the_cap_or_stays_cash() -> None:
    closes = FLAT | {"B": [1, 1, None, 1]}
    # Signal weights under the cap of 0.5 are A 0.5, B 0.3, C 0.2. B's 0.3 goes 5 to 2 to A (0.714...) and C (0.285...);
    # A is cut to 0.5, its 0.214... makes C 0.5.
    result = study(THREE, FOUR_DAYS, closes, weighting="signal", max_weight=0.5)
    assert only_weights(result) == pytest.approx({"A": 0.5, "C": 0.5}, abs=CLOSE)
    # Under 0.4: the weights before are A 0.4, B 0.36, C 0.24; A and C both end at the cap, 0.2 is cash.
    result = study(THREE, FOUR_DAYS, closes, weighting="signal", max_weight=0.4)
    assert only_weights(result) == pytest.approx({"A": 0.4, "C": 0.4}, abs=CLOSE)
    # Kept in cash: the others keep what they had.
    result = study(THREE, FOUR_DAYS, closes, weighting="signal", max_weight=0.5, missing="cash")
    assert only_weights(result) == pytest.approx({"A": 0.5, "C": 0.2}, abs=CLOSE)


def test_cash_earns_nothing_and_does_not_drift_away() -> None:
    # A third in cash; A doubles, B stays: 1/3 + 2/3 + 1/3 = 4/3 of wealth.
    closes = FLAT | {"A": [1, 1, 1, 2], "C": [1, 1, None, 1]}
    result = study(THREE, FOUR_DAYS, closes, missing="cash")
    assert result.returns["gross"].tolist() == pytest.approx([1 / 3], abs=CLOSE)


def test_inverse_volatility_uses_the_returns_up_to_the_signal_only() -> None:
    days = ["2021-01-26", "2021-01-27", "2021-01-28", "2021-01-29", "2021-02-01", "2021-02-02"]
    # Three returns ending on 01-29. A: +10 %, -10 %, 0: mean 0, std sqrt(0.02 / 2) = 0.1. B: +20 %, -20 %, 0: 0.2.
    # So A : B = 1/0.1 : 1/0.2 = 2 : 1. The jumps on 02-01, the day of the trade, are too late to count.
    closes: dict[str, list[float | None]] = {
        "A": [100, 110, 99, 99, 500, 500],
        "B": [100, 120, 96, 96, 1, 1],
        BENCHMARK: [1, 1, 1, 1, 1, 1],
    }
    rows = [("2021-01-04", "A", 30), ("2021-01-04", "B", 30)]
    result = study(rows, days, closes, weighting="inverse_volatility", lookback_days=3)
    assert only_weights(result) == pytest.approx({"A": 2 / 3, "B": 1 / 3}, abs=CLOSE)
    assert not {kind for kind, _, _ in kinds(result)} & {"weights_fallback"}
    # Four returns would need a price on 01-25, and there is none: equal weights, and said so.
    result = study(rows, days, closes, weighting="inverse_volatility", lookback_days=4)
    assert only_weights(result) == {"A": 0.5, "B": 0.5}
    assert "weights_fallback" in {kind for kind, _, _ in kinds(result)}


# 27 returns ending on 01-29, in per cent. A: 0.07 every day, but 2.07 and -1.93 on two of them. B: 0.06, but 1.06 and -0.94 on two
# others. So the sample covariance is 2/27 of 4 and 1 on the diagonal, 0 off it. OAS shrinks by (17 + 25) / (28 (17 - 25/2)) = 1/3,
# where 17 is the trace of the square and 25 the square of the trace: 4 becomes 8/3 + 2.5/3 = 3.5, and 1 becomes 2/3 + 2.5/3 = 1.5.
OPTIMISED_DAYS = [f"2020-12-{day}" for day in (23, 24, 25, 28, 29, 30, 31)]
OPTIMISED_DAYS += [f"2021-01-{day:02d}" for day in range(1, 30) if date(2021, 1, day).weekday() < 5]
OPTIMISED_DAYS += ["2021-02-01", "2021-02-02"]
OPTIMISED_ROWS = [("2021-01-04", "A", 30), ("2021-01-04", "B", 30)]


def optimised_closes(drift_b: float = 0.06) -> dict[str, list[float | None]]:
    moves = {"A": [0.07] * 27, "B": [drift_b] * 27}
    for name, day, jump in (("A", 3, 2.0), ("A", 4, -2.0), ("B", 9, 1.0), ("B", 10, -1.0)):
        moves[name][day] += jump
    # What comes on the day of the trade is too late to count.
    walks = {name: [*accumulate(steps, lambda p, r: p * (1 + r / 100), initial=100.0)] for name, steps in moves.items()}
    return {"A": [*walks["A"], 500, 500], "B": [*walks["B"], 1, 1], BENCHMARK: [1.0] * 30}


OPTIMISED = {
    # Uncorrelated, so in proportion to 1 / variance: 1/3.5 to 1/1.5.
    "min_variance": 0.3,
    # Two clusters of one: the same.
    "hrp": 0.3,
    # In proportion to 1 / standard deviation.
    "risk_parity": 1.5**0.5 / (1.5**0.5 + 3.5**0.5),
    # In proportion to mean / variance: 0.07/3.5 to 0.06/1.5, 1 to 2.
    "max_sharpe": 1 / 3,
    # 5 % of 27 days are 1.35: the worst day and 0.35 of the second. With w in A they lose 2w and 1 - w. Below w = 1/3 more in A
    # means less, as the sum falls by 1 - 0.35 * 2; above it rises by 2 - 0.35.
    "min_cvar": 1 / 3,
}


@pytest.mark.parametrize("weighting", OPTIMISED)
def test_optimised_weights_of_two_uncorrelated_symbols(weighting: str) -> None:
    in_a, closes = OPTIMISED[weighting], optimised_closes()
    result = study(OPTIMISED_ROWS, OPTIMISED_DAYS, closes, weighting=weighting, lookback_days=27)
    assert only_weights(result) == pytest.approx({"A": in_a, "B": 1 - in_a}, abs=1e-6)
    assert not {kind for kind, _, _ in kinds(result)} & {"weights_fallback"}
    # All want more than 0.6 of B.
    result = study(OPTIMISED_ROWS, OPTIMISED_DAYS, closes, weighting=weighting, lookback_days=27, max_weight=0.6)
    assert only_weights(result) == pytest.approx({"A": 0.4, "B": 0.6}, abs=1e-8)
    # 28 returns would need a price on 12-22, and there is none: equal weights, and said so.
    result = study(OPTIMISED_ROWS, OPTIMISED_DAYS, closes, weighting=weighting, lookback_days=28)
    assert only_weights(result) == {"A": 0.5, "B": 0.5}
    (reason,) = result.losses.loc[result.losses["kind"] == "weights_fallback", "reason"]
    assert reason == f"{weighting} fell back to equal: a selected symbol has no price before the look-back begins"


def test_weight_of_a_symbol_without_a_price_is_cash_where_an_optimiser_gave_the_others_nothing() -> None:
    # B loses 0.06 % a day, so the best ratio is all in A, and pro rata to 0 B's share of what A cannot hold is 0.
    closes = optimised_closes(drift_b=-0.06)
    result = study(OPTIMISED_ROWS, OPTIMISED_DAYS, closes, weighting="max_sharpe", lookback_days=27)
    assert only_weights(result) == {"A": 1.0}
    closes["A"][28] = None
    result = study(OPTIMISED_ROWS, OPTIMISED_DAYS, closes, weighting="max_sharpe", lookback_days=27)
    assert only_weights(result) == {}


# --- prices that come and go ------------------------------------------------------------------------------------------


def test_a_gap_earns_nothing_until_the_price_returns_and_an_ended_price_is_sold_at_its_last_value() -> None:
    rows = [("2021-01-29", "A", 50), ("2021-01-29", "B", 40), ("2021-02-26", "C", 30)]
    days = [*JANUARY, "2021-02-01", "2021-02-02", "2021-02-03", "2021-02-26", "2021-03-01", "2021-03-02"]
    closes: dict[str, list[float | None]] = {
        "A": [10, 10, 10, None, 12, 12, 12, 12],  # away for a day, back 20 % higher
        "B": [10, 10, 10, 8, None, None, None, None],  # falls by 20 %, then no more
        "C": [5, 5, 5, 5, 5, 5, 5, 5],
        BENCHMARK: [1] * 8,
    }
    result = study(rows, days, closes, cost_bps=100.0)
    # Worth: A 0.5 and B 0.4 on 02-02 (0.9); A 0.6 and B 0.4 from 02-03 to 03-01 (1.0).
    gross = [-0.1, 1 / 0.9 - 1, 0.0, 0.0, 0.0]
    assert result.returns["gross"].tolist() == pytest.approx(gross, abs=CLOSE)
    # Sold on 03-01: A 0.6 and, at its last value, B 0.4; bought: C 1. Turnover 2 costs 2 %, after the first 1 %.
    net = [0.99 * 0.9 - 1, 1 / 0.9 - 1, 0.0, 0.0, -0.02]
    assert result.returns["net"].tolist() == pytest.approx(net, abs=CLOSE)
    assert result.summary["mean_turnover"] == pytest.approx(1.5, abs=CLOSE)
    held = result.losses[result.losses["kind"].isin(["no_price_while_held", "price_never_returns"])]
    assert held[["kind", "period", "symbol", "first", "last"]].values.tolist() == [
        ["no_price_while_held", "2021-01", "A", "2021-02-02", "2021-02-02"],
        ["price_never_returns", "2021-01", "B", "2021-02-03", "2021-03-01"],
    ]


def test_prices_on_days_without_the_benchmark_do_not_exist() -> None:
    days = [*JANUARY, "2021-02-01", "2021-02-02", "2021-02-03"]
    # 02-02 is no trading day, so A's 999 is never seen: the only return is from 10 to 11.
    closes: dict[str, list[float | None]] = {"A": [10, 10, 10, 999, 11], BENCHMARK: [4, 4, 4, None, 5]}
    result = study([("2021-01-29", "A", 50)], days, closes)
    assert result.returns["gross"].tolist() == pytest.approx([0.1], abs=CLOSE)
    assert result.returns["benchmark"].tolist() == pytest.approx([0.25], abs=CLOSE)


# --- timing -----------------------------------------------------------------------------------------------------------


def test_a_rebalance_at_the_end_of_the_prices_is_pending_with_its_weights() -> None:
    rows = [("2021-01-29", "A", 50), ("2021-01-29", "B", 40)]
    closes: dict[str, list[float | None]] = {"A": [1, 1, 1], "B": [1, 1, None], BENCHMARK: [1, 1, 1]}
    # The prices end on e itself, 02-01: nothing can be held after it. What could be bought there is known: A only.
    result = study(rows, [*JANUARY, "2021-02-01"], closes)
    (pending,) = result.pending
    assert (pending["period"], pending["trade_date"], pending["weights"]) == ("2021-01", "2021-02-01", {"A": 1.0})
    assert result.summary["n_periods"] == 0
    assert {result.summary[name] for name in OWN_NUMBERS} == {None}
    # With two days of lag e lies beyond the prices: the weights are those before anything is known of that day.
    result = study(rows, [*JANUARY, "2021-02-01"], closes, execution_lag=2)
    (pending,) = result.pending
    assert (pending["period"], pending["trade_date"]) == ("2021-01", None)
    assert pending["weights"] == {"A": 0.5, "B": 0.5}
    assert list(pending["selection"]) == ["A", "B"]


def test_of_two_rebalances_on_one_day_the_earlier_is_left_out_and_a_month_without_rows_keeps_the_holdings() -> None:
    rows = [("2021-01-29", "A", 50), ("2021-02-10", "B", 50), ("2021-04-10", "C", 50)]
    # No trading day in February: January's and February's e0 are both 01-29, their e both 03-01. Nothing in March, so B
    # is held through it, until April's C is bought on 05-03.
    days = [*JANUARY, "2021-03-01", "2021-03-02", "2021-03-31", "2021-04-01", "2021-04-30", "2021-05-03", "2021-05-04"]
    closes: dict[str, list[float | None]] = {
        "A": [1] * 9,
        "B": [1, 1, 1, 2, 2, 2, 2, 4, 4],
        "C": [1, 1, 1, 1, 1, 1, 1, 1, 3],
        BENCHMARK: [1] * 9,
    }
    result = study(rows, days, closes)
    assert result.weights == {"2021-03-01": {"B": 1.0}, "2021-05-03": {"C": 1.0}}
    assert {("same_trading_day", "2021-01", None), ("no_rows", "2021-03", None)} <= kinds(result)
    assert result.returns["gross"].tolist() == pytest.approx([1, 0, 0, 0, 1, 2], abs=CLOSE)


def test_a_last_rebalance_whose_next_period_has_no_trading_day_is_held_for_none() -> None:
    # The week ends on 01-03, e0 is 12-31 and e the next trading day, 01-18. One more period is the week to 01-10; the last
    # trading day on or before that is 12-31 again, plus the lag 01-18: nothing comes after e. Traded, but without returns.
    days = ["2020-12-31", "2021-01-18", "2021-01-19"]
    closes: dict[str, list[float | None]] = {"A": [1, 1, 2], BENCHMARK: [1, 1, 2]}
    result = study([("2021-01-03", "A", 50)], days, closes, rebalance="weekly")
    assert result.weights == {"2021-01-18": {"A": 1.0}}
    assert result.returns.empty
    assert (result.summary["n_periods"], result.summary["n_symbols"], result.summary["n_days"]) == (1, 1, 0)
    assert result.summary["mean_turnover"] == 1.0
    names = {prefix + name for prefix in ("", "benchmark_", "gross_") for name in OWN_NUMBERS}
    names |= {"excess_return", "beta", "alpha", "tracking_error", "information_ratio", "first_date", "last_date"}
    assert {name for name, value in result.summary.items() if value is None} == names


@pytest.mark.parametrize(
    ("rebalance", "label", "bought"),
    [("monthly", "2021-01", "2021-02-01"), ("weekly", "2020-W53", "2021-01-04"), ("quarterly", "2021Q1", "2021-04-01")],
)
def test_periods_are_calendar_months_iso_weeks_and_quarters(rebalance: str, label: str, bought: str) -> None:
    # Sunday 2021-01-03 is in January, in the first quarter, and in the last ISO week of 2020.
    days = ["2020-12-31", "2021-01-04", "2021-01-05", "2021-01-29", "2021-02-01", "2021-02-02", "2021-03-31"]
    days += ["2021-04-01", "2021-04-02"]
    closes: dict[str, list[float | None]] = {"A": [1] * 9, BENCHMARK: [1] * 9}
    result = study([("2021-01-03", "A", 50)], days, closes, rebalance=rebalance)
    assert result.selection == {label: ["A"]}
    assert list(result.weights) == [bought]


@pytest.mark.parametrize(("last_row", "partial"), [("2021-01-24", False), ("2021-01-23", True)])
def test_a_month_is_partial_when_its_last_row_is_more_than_a_week_before_its_end(last_row: str, partial: bool) -> None:
    # Gaps between the dates: 1 day each at the median, so the limit is the 7 days: 01-31 minus 7 is 01-24.
    rows = [("2021-01-04", "A", 50), ("2021-01-05", "A", 50), ("2021-01-06", "A", 50), (last_row, "A", 50)]
    result = study(rows, FOUR_DAYS, FLAT)
    assert (("partial_period", "2021-01", None) in kinds(result)) is partial
    assert list(result.weights) == ["2021-02-01"]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_every_number_by_hand_on_four_returns() -> None:
    days = [*JANUARY, "2021-02-01", "2021-02-02", "2021-02-03", "2021-02-04", "2021-02-05"]
    # Returns of A: +10 %, -20 %, +30 %, -20 %; wealth 1.1, 0.88, 1.144, 0.9152. Benchmark: +5 %, -5 %, +5 %, -5 %.
    closes: dict[str, list[float | None]] = {
        "A": [100, 100, 100, 110, 88, 114.4, 91.52],
        BENCHMARK: [100, 100, 100, 105, 99.75, 104.7375, 99.500625],
    }
    got = study([("2021-01-29", "A", 50)], days, closes).summary
    root = math.sqrt(252)
    # Mean 0; squares 0.01 + 0.04 + 0.09 + 0.04 = 0.18, so the variance is 0.06.
    assert got["total_return"] == pytest.approx(-0.0848, abs=CLOSE)
    assert got["annualized_return"] == pytest.approx(0.9152**63 - 1, abs=CLOSE)
    assert got["annualized_volatility"] == pytest.approx(math.sqrt(0.06) * root, abs=CLOSE)
    assert got["sharpe_ratio"] == pytest.approx(0, abs=1e-10)
    assert got["sortino_ratio"] == pytest.approx(0, abs=1e-10)
    # From the peak of 1.1 to 0.88, and from 1.144 to 0.9152: both -20 %.
    assert got["max_drawdown"] == pytest.approx(-0.2, abs=CLOSE)
    assert got["calmar_ratio"] == pytest.approx((0.9152**63 - 1) / 0.2, abs=1e-10)
    # Sorted: -0.2, -0.2, 0.1, 0.3; position 0.05 x 3 = 0.15 lies between the two equal lowest.
    assert got["value_at_risk_95"] == pytest.approx(0.2, abs=CLOSE)
    assert got["conditional_value_at_risk_95"] == pytest.approx(0.2, abs=CLOSE)
    assert got["hit_rate"] == 0.5
    # cov = (0.1 + 0.2 + 0.3 + 0.2) x 0.05 / 3 = 0.04 / 3; var(b) = 4 x 0.0025 / 3 = 0.01 / 3; beta 4; both means are 0.
    assert got["beta"] == pytest.approx(4, abs=1e-10)
    assert got["alpha"] == pytest.approx(0, abs=1e-10)
    # r - b: 0.05, -0.15, 0.25, -0.15: squares 0.0025 + 0.0225 + 0.0625 + 0.0225 = 0.11.
    assert got["tracking_error"] == pytest.approx(math.sqrt(0.11 / 3) * root, abs=CLOSE)
    assert got["information_ratio"] == pytest.approx(0, abs=1e-10)
    # Benchmark: 1.05 x 0.95 = 0.9975, twice. Its worst fall is from 1.05 to 0.99500625.
    assert got["benchmark_total_return"] == pytest.approx(0.9975**2 - 1, abs=CLOSE)
    assert got["benchmark_max_drawdown"] == pytest.approx(0.99500625 / 1.05 - 1, abs=CLOSE)
    assert got["benchmark_hit_rate"] == 0.5


def test_risk_free_rate_lowers_every_excess_return_by_its_daily_part() -> None:
    days = [*JANUARY, "2021-02-01", "2021-02-02", "2021-02-03"]
    closes: dict[str, list[float | None]] = {"A": [100, 100, 100, 110, 99], BENCHMARK: [100, 100, 100, 105, 99.75]}
    got = study([("2021-01-29", "A", 50)], days, closes, risk_free_rate=0.04).summary
    # r = +10 %, -10 %; b = +5 %, -5 %; f a day. Means of x and x_b are both -f; std of r is sqrt(0.02) = 0.141...
    f = 1.04 ** (1 / 252) - 1
    assert got["sharpe_ratio"] == pytest.approx(-f / math.sqrt(0.02) * math.sqrt(252), abs=1e-10)
    # Only the second day lies below f: by 0.1 + f.
    assert got["sortino_ratio"] == pytest.approx(-f / ((0.1 + f) / math.sqrt(2)) * math.sqrt(252), abs=1e-10)
    # beta = 0.1 / 0.05 = 2, alpha = (-f - 2 x -f) x 252 = 252 f.
    assert got["beta"] == pytest.approx(2, abs=1e-10)
    assert got["alpha"] == pytest.approx(252 * f, abs=1e-10)


def test_one_return_leaves_undefined_what_needs_two() -> None:
    closes = FLAT | {"A": [1, 1, 1, 1.5], BENCHMARK: [1, 1, 1, 1.1]}
    got = study([("2021-01-29", "A", 50)], FOUR_DAYS, closes).summary
    undefined = {name for name, value in got.items() if value is None}
    own = {"annualized_volatility", "sharpe_ratio", "sortino_ratio"}
    # A rise only: no drawdown, and calmar's denominator is zero.
    own |= {"calmar_ratio"}
    names = {prefix + name for prefix in ("", "benchmark_", "gross_") for name in own}
    assert undefined == names | {"beta", "alpha", "tracking_error", "information_ratio"}
    assert got["total_return"] == pytest.approx(0.5, abs=CLOSE)
    assert got["value_at_risk_95"] == pytest.approx(-0.5, abs=CLOSE)  # not clipped at 0
    assert got["max_drawdown"] == 0


def test_a_number_too_large_for_a_float_is_undefined_and_not_infinite() -> None:
    # One day of x 20 to the power of 252 has 328 digits.
    closes = FLAT | {"A": [1, 1, 1, 20]}
    got = study([("2021-01-29", "A", 50)], FOUR_DAYS, closes).summary
    assert got["total_return"] == pytest.approx(19, abs=CLOSE)
    assert got["annualized_return"] is None
    assert got["calmar_ratio"] is None
