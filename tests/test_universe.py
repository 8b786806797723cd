"""Who could be bought: the universe by month, and what the missing names could have done to the result."""

import numpy as np
import pandas as pd
import pytest

from workbench import StudyConfig, load_market, run_study
from workbench.universe import return_bounds, universe_by_month

NAMES = "date symbol twitterPosts twitterComments twitterLikes twitterImpressions twitterSentiment".split()


def market_with(*, without: str = "", ends: dict[str, str] | None = None, late: dict[str, str] | None = None):
    """Four symbols over three months; prices stand still but the benchmark's; `ends` and `late` cut prices off."""
    days = pd.bdate_range("2024-01-01", "2024-05-15")
    wide = pd.DataFrame({"date": days, "A": 10.0, "B": 20.0, "C": 30.0, "D": 40.0, "QQQ": 100.0})
    for symbol, day in (ends or {}).items():
        wide.loc[wide["date"] > day, symbol] = np.nan
    for symbol, day in (late or {}).items():
        wide.loc[wide["date"] < day, symbol] = np.nan
    rows = [
        (day, symbol, 30.0, comments, 100.0, 1000.0, np.nan)
        for day in pd.date_range("2024-01-02", "2024-03-29", freq="3D")
        for symbol, comments in (("A", 60.0), ("B", 50.0), ("C", 40.0), ("D", 30.0))
    ]
    return load_market(pd.DataFrame(rows, columns=NAMES), wide.drop(columns=list(without)))


FREE = StudyConfig(top_n=2, cost_bps=0.0)


def test_the_universe_adds_up_and_names_each_reason() -> None:
    universe = universe_by_month(market_with(without="A", ends={"B": "2024-02-10"}, late={"C": "2024-02-05"}))
    parts = ["priced", "not_yet_listed", "delisted", "gap", "not_updated", "missing"]
    assert (universe[parts].sum(axis=1) == universe["requested"]).all()
    assert universe.loc["2024-01", "names"] == "A (missing), C (not yet listed)"
    assert universe.loc["2024-02", "names"] == "A (missing)"
    assert universe.loc["2024-03", "names"] == "A (missing), B (delisted)"


def test_bounds_equal_the_study_where_nothing_is_missing() -> None:
    market = load_market()
    config = StudyConfig(top_n=3)
    complete = load_market(market.sentiment.frame, wide_of(market))
    bounds, affected = return_bounds(config, complete)
    assert affected == 0
    total = run_study(config, complete).summary["total_return"]
    assert bounds["total_return"].tolist() == pytest.approx([total] * 3, abs=1e-12)


def wide_of(market) -> pd.DataFrame:
    """The market's prices without gaps, so that no symbol is ever missing."""
    wide = pd.DataFrame(market.prices.filled, columns=list(market.prices.symbols)).bfill()
    wide.insert(0, "date", market.prices.days.astype("datetime64[us]"))
    return wide


@pytest.mark.parametrize("drift", [True, False])
def test_a_missing_half_of_the_portfolio_bounds_the_result_by_hand(drift: bool) -> None:
    # A and B are selected in each of three months, A has no prices, B's stand still: half the wealth is supposed.
    bounds, affected = return_bounds(FREE.replace(drift=drift), market_with(without="A"))
    assert affected == 3
    assert bounds["total_return"].tolist() == pytest.approx([0.5**3 - 1, 0.85**3 - 1, 0.0], abs=1e-9)
    assert bounds["excess_return"].tolist() == pytest.approx([0.5**3 - 1, 0.85**3 - 1, 0.0], abs=1e-9)


def test_a_symbol_whose_prices_end_while_it_is_held_is_supposed_too() -> None:
    # B is bought on 1 February and 1 March; its prices end on 8 March, so that March's holding is the one concerned.
    bounds, affected = return_bounds(FREE, market_with(ends={"B": "2024-03-08"}))
    # In the third period, April's, B has no price at the trade.
    assert affected == 2
    assert bounds["total_return"].tolist() == pytest.approx([0.25 - 1, 0.85**2 - 1, 0.0], abs=1e-9)


def test_costs_are_charged_for_what_is_supposed_to_be_bought() -> None:
    bounds, _ = return_bounds(FREE.replace(cost_bps=100.0), market_with(without="A"), (0.0,))
    # Bought once, nothing traded afterwards: one per cent of everything.
    assert bounds["total_return"].tolist() == pytest.approx([-0.01], abs=1e-12)


def test_a_study_that_trades_nothing_has_no_bounds() -> None:
    bounds, affected = return_bounds(FREE.replace(min_likes=10**6), market_with())
    assert affected == 0
    assert bounds["total_return"].isna().all()
