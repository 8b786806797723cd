"""What is wrong with bars is listed, kind by kind, and nothing else is."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.losses import KINDS, Loss
from workbench.market.bars import Bars, bars_of
from workbench.market.coverage import DayRange
from workbench.market.quality import calendar_of, check_bars, missing_days, sessions

# A week of XNYS with Martin Luther King's day on Monday the 16th: no gap.
WEEK = ["2023-01-13", "2023-01-17", "2023-01-18", "2023-01-19", "2023-01-20", "2023-01-23"]
CLOSES = [10.0, 10.5, 10.25, 11.0, 10.75, 10.5]


def table(**columns: Any) -> pd.DataFrame:
    """Return six good bars, with some columns replaced."""
    close = np.array(CLOSES)
    frame = pd.DataFrame(
        {
            "date": pd.to_datetime(WEEK),
            "open": close - 0.1,
            "high": close + 0.2,
            "low": close - 0.3,
            "close": close,
            "adj_close": close * 0.9,
            "volume": 1000.0,
            "dividends": 0.0,
            "splits": 0.0,
        }
    )
    return frame.assign(**columns)


def found(frame: pd.DataFrame, **how: Any) -> list[Loss]:
    return check_bars("A", bars_of("A", frame), **how)


def brief(losses: list[Loss]) -> list[tuple[Any, ...]]:
    return [(loss.kind, loss.count, loss.first, loss.last) for loss in losses]


def test_good_bars_have_no_findings():
    assert found(table()) == []
    assert found(table(), exchange="NMS", asked=DayRange(dt.date(2023, 1, 13), dt.date(2023, 1, 23))) == []


def test_a_trading_day_without_a_bar_is_a_gap_and_a_holiday_is_none():
    gap = table().drop(index=[2, 3])
    assert found(gap) == [
        Loss("missing_trading_day", None, "A", 2, "2023-01-18", "2023-01-19", "trading days of XNYS without a bar")
    ]
    [unknown] = found(gap, exchange="ZZZ")  # no known calendar: cannot tell, and says so
    assert unknown.kind == "no_calendar"
    # London had no holiday on the 16th.
    assert brief(found(table(), exchange="LSE")) == [("missing_trading_day", 1, "2023-01-16", "2023-01-16")]


def test_days_before_the_first_bar_and_after_the_last_are_listed_apart():
    asked = DayRange(dt.date(2023, 1, 11), dt.date(2023, 1, 26))
    assert [(loss.count, loss.first, loss.last, loss.reason) for loss in found(table(), asked=asked)] == [
        (2, "2023-01-11", "2023-01-12", "its bars begin on 2023-01-13 (XNYS)"),
        (3, "2023-01-24", "2023-01-26", "its bars end on 2023-01-23 (XNYS)"),
    ]
    nothing = found(table()[:0], asked=asked)
    assert brief(nothing) == [("missing_trading_day", 11, "2023-01-11", "2023-01-26")]
    assert nothing[0].reason == "it has no bars at all (XNYS)"
    assert found(table()[:0]) == []


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "adj_close"])
@pytest.mark.parametrize("value", [0.0, -1.0, np.inf])
def test_a_price_that_is_zero_negative_or_infinite_is_bad(column: str, value: float):
    frame = table()
    frame.loc[[1, 4], column] = value
    losses = [loss for loss in found(frame) if loss.kind == "bad_price"]
    assert brief(losses) == [("bad_price", 2, "2023-01-17", "2023-01-20")]
    frame.loc[[1, 4], column] = np.nan
    assert [loss for loss in found(frame) if loss.kind == "bad_price"] == []


def test_a_high_and_a_low_must_enclose_the_other_prices():
    for column, change in (("high", -0.5), ("low", 0.5), ("open", 3.0), ("open", -3.0)):
        frame = table()
        frame.loc[3, column] += change
        assert brief(found(frame)) == [("inconsistent_bar", 1, "2023-01-19", "2023-01-19")], (column, change)
    rounded = table(high=np.array(CLOSES) * (1 - 1e-7))  # 32-bit floats, each rounded for itself
    assert found(rounded) == []
    empty = table()
    empty.loc[2, ["open", "high", "low"]] = np.nan
    assert found(empty) == []


def test_a_flat_bar_without_volume_is_listed():
    frame = table()
    frame.loc[2, ["open", "high", "low", "close"]] = frame.loc[2, "close"]
    assert found(frame) == []  # traded at one price
    frame.loc[2, "volume"] = 0
    assert brief(found(frame)) == [("flat_bar", 1, "2023-01-18", "2023-01-18")]
    frame.loc[2, "high"] += 0.1
    assert found(frame) == []


def test_five_equal_closes_are_stale_and_four_are_not():
    four, five = (np.array([10.0] * n + [10.5] * (6 - n)) for n in (4, 5))
    bars = {"open": 10.0, "high": 11.0, "low": 9.0}
    assert found(table(close=four, **bars)) == []
    [loss] = found(table(close=five, **bars))
    assert (loss.kind, loss.count, loss.first, loss.last) == ("stale_price", 5, "2023-01-13", "2023-01-20")
    assert loss.reason == "runs of 5 or more equal closes: 1, the longest of 5"


def test_a_large_move_is_listed_unless_it_is_a_split():
    jump = np.array([10.0, 10.0, 14.1, 14.1, 8.4, 8.4])
    [loss] = found(table(adj_close=jump))
    assert (loss.kind, loss.count, loss.first, loss.last) == ("large_move", 2, "2023-01-18", "2023-01-20")
    assert loss.reason == "moves of more than 40% without a split, the largest of +41.0% on 2023-01-18"
    assert brief(found(table(adj_close=jump, splits=[0, 0, 2.0, 0, 0, 0]))) == [
        ("large_move", 1, "2023-01-20", "2023-01-20")
    ]
    assert found(table(adj_close=[10.0, 10.0, 14.0, 14.0, 8.4, 8.4])) == []
    # A gap does not hide the move over it, and a close without an adjusted one is no price, which is said.
    assert brief(found(table(adj_close=[10.0, np.nan, 20.0, 20.0, 20.0, 20.0]))) == [
        ("inconsistent_bar", 1, "2023-01-17", "2023-01-17"),
        ("large_move", 1, "2023-01-18", "2023-01-18"),
    ]


def test_a_split_that_the_days_before_are_not_adjusted_for_is_listed():
    halved = np.array([10.0, 10.0, 5.2, 5.2, 5.2, 5.3])
    [loss] = found(table(adj_close=halved, splits=[0, 0, 2.0, 0, 0, 0]))
    assert (loss.kind, loss.first, loss.reason) == (
        *("large_move", "2023-01-18", "the move of a split: the days before it are not adjusted for it"),
    )
    assert (
        found(table(adj_close=halved, splits=[0, 0, 0.5, 0, 0, 0])) == []
    )  # a move, and a split that is not its reason
    assert found(table(splits=[0, 0, 2.0, 0, 0, 0])) == []


def test_every_kind_is_explained():
    frame = table(splits=0.0)
    kinds = {
        "missing_trading_day",
        "bad_price",
        "flat_bar",
        "large_move",
        "stale_price",
        "inconsistent_bar",
        "not_priced",
    }
    assert kinds <= set(KINDS)
    assert {loss.kind for loss in found(frame.drop(index=2))} <= set(KINDS)


def test_calendars_are_known_by_the_codes_of_exchanges():
    assert [calendar_of(code) for code in ("", "NMS", "nyq", "LSE", "GER", "CCC", "ZZZ")] == [
        *("XNYS", "XNYS", "XNYS", "XLON", "XETR", "24/7"),
        None,
    ]


def test_sessions_end_where_they_are_asked_to_and_not_a_year_from_today():
    year = DayRange(dt.date(2023, 1, 1), dt.date(2023, 12, 31))
    assert len(sessions("XNYS", year)) == 250
    assert np.array_equal(sessions("XNYS", year), sessions("XNYS", year))
    far = sessions("XNYS", DayRange(dt.date(2031, 6, 1), dt.date(2031, 6, 30)))
    assert len(far) in (20, 21, 22)
    crypto = sessions("24/7", DayRange(dt.date(2023, 1, 1), dt.date(2023, 1, 31)))
    assert len(crypto) == 31


@given(st.lists(st.lists(st.floats(allow_nan=True, width=32), min_size=8, max_size=8), max_size=12))
def test_no_value_breaks_a_check_and_no_check_changes_a_value(rows: list[list[float]]):
    days = np.datetime64("2023-01-02") + np.arange(len(rows))
    bars = Bars(days, np.array(rows, dtype=np.float64).reshape(len(rows), 8))
    before = bars.values.copy()
    for loss in check_bars("A", bars):
        assert loss.count > 0 and loss.first <= loss.last and loss.kind in KINDS
    assert np.array_equal(bars.values, before, equal_nan=True)


# ---- facts about the real bars ----


@pytest.fixture(scope="module")
def real_bars(real_data: Path) -> dict[str, Bars]:
    frame = pd.read_csv(real_data / "prices.csv.gz", keep_default_na=False, na_values=[""], parse_dates=["date"])
    frame = frame.assign(dividends=0.0, splits=0.0)
    return {str(symbol): bars_of(str(symbol), rows) for symbol, rows in frame.groupby("symbol")}


@pytest.mark.real
def test_the_real_bars_have_the_known_defects_and_no_others(real_bars: dict[str, Bars]):
    asked = DayRange(dt.date(2020, 1, 1), dt.date(2023, 12, 31))
    losses = [loss for symbol, bars in real_bars.items() for loss in check_bars(symbol, bars, "NYQ", asked)]
    listed = [(loss.symbol, loss.kind, loss.count, loss.first, loss.last) for loss in losses]
    assert [entry for entry in listed if entry[1] != "large_move"] == [
        ("ATVI", "missing_trading_day", 222, "2023-02-13", "2023-12-29"),
        ("BIIB", "flat_bar", 1, "2023-06-09", "2023-06-09"),
    ]
    assert [(entry[0], entry[3]) for entry in listed if entry[1] == "large_move"] == [
        ("AAL", "2020-06-04"),
        ("BIIB", "2020-11-04"),
        ("ENPH", "2020-02-19"),
        ("MRO", "2020-03-09"),
        ("NCLH", "2020-03-24"),
        ("OXY", "2020-03-09"),
    ]


@pytest.mark.real
def test_the_days_of_the_real_benchmark_are_those_of_its_exchange(real_bars: dict[str, Bars]):
    assert (
        list(missing_days("QQQ", real_bars["QQQ"], "NMS", DayRange(dt.date(2020, 1, 1), dt.date(2023, 12, 31)))) == []
    )
    assert np.array_equal(real_bars["QQQ"].days, sessions("XNYS", DayRange(dt.date(2020, 1, 1), dt.date(2023, 12, 31))))
