"""Periods and the schedule: calendars by hand, against pandas, and every way of being left out."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from workbench.core.periods import partial_periods, period_end, period_label, period_numbers, schedule


@pytest.mark.parametrize(("rebalance", "freq"), [("monthly", "M"), ("weekly", "W-SUN"), ("quarterly", "Q")])
def test_period_ends_are_those_of_pandas(rebalance: str, freq: str) -> None:
    days = pd.date_range("1969-11-01", "2031-02-01", freq="13D")
    numbers = period_numbers(days.to_numpy().astype("datetime64[D]"), rebalance)
    ends = [period_end(int(number), rebalance) for number in numbers]
    expected = days.to_period(freq).end_time.normalize().to_numpy().astype("datetime64[D]")
    assert (np.array(ends) == expected).all()


def test_labels_follow_the_iso_calendar() -> None:
    def label(day: str, rebalance: str) -> str:
        return period_label(int(period_numbers(np.array([day], dtype="datetime64[D]"), rebalance)[0]), rebalance)

    assert label("2021-11-18", "monthly") == "2021-11"
    assert label("2021-11-18", "quarterly") == "2021Q4"
    assert label("2021-01-01", "weekly") == "2020-W53"
    assert label("2024-12-30", "weekly") == "2025-W01"
    assert label("1969-12-31", "quarterly") == "1969Q4"


def trading_days(start: str, end: str) -> np.ndarray:
    return pd.bdate_range(start, end).to_numpy().astype("datetime64[D]")


def months(*labels: str) -> np.ndarray:
    return np.array(labels, dtype="datetime64[M]").astype(np.int64)


def test_a_trade_follows_the_last_trading_day_of_its_period() -> None:
    days = trading_days("2024-01-01", "2024-04-30")
    first, second = schedule(months("2024-01", "2024-02"), days, "monthly", 1)
    # 31 January 2024 is a Wednesday, 29 February a Thursday.
    assert str(days[first.decision]) == "2024-01-31"
    assert str(days[first.trade]) == "2024-02-01"
    assert days[first.until] == days[second.trade] == np.datetime64("2024-03-01")
    # The last one is held for one more period, plus the lag: 29 March, then 1 April.
    assert str(days[second.until]) == "2024-04-01"


def test_prices_that_end_leave_the_last_selection_pending() -> None:
    days = trading_days("2024-01-01", "2024-03-01")
    first, second = schedule(months("2024-01", "2024-02"), days, "monthly", 1)
    assert (first.status, second.status) == ("executed", "pending")
    assert first.until == len(days) - 1
    assert second.trade == len(days) - 1


def test_a_period_that_is_not_over_does_not_displace_the_finished_one_before_it() -> None:
    # Prices end on Friday 30 December; the table already has rows of January, whose last trading day nobody knows.
    days = trading_days("2022-11-01", "2022-12-30")
    slots = schedule(months("2022-11", "2022-12", "2023-01"), days, "monthly", 1)
    assert [slot.status for slot in slots] == ["executed", "pending", "pending"]
    assert all(slot.trade >= len(days) for slot in slots[1:])


def test_the_trade_of_a_period_that_is_not_over_has_no_day_yet() -> None:
    days = trading_days("2022-11-01", "2022-12-15")
    (slot,) = schedule(months("2022-12"), days, "monthly", 0)
    assert slot.status == "pending"
    assert slot.trade >= len(days)


def test_of_two_selections_that_share_a_trade_the_earlier_is_left_out() -> None:
    days = np.array(["2024-01-30", "2024-01-31", "2024-03-04", "2024-03-05"], dtype="datetime64[D]")
    statuses = [slot.status for slot in schedule(months("2024-01", "2024-02"), days, "monthly", 1)]
    assert statuses == ["same_trading_day", "executed"]


def test_a_period_before_the_first_price_is_left_out() -> None:
    days = trading_days("2024-02-15", "2024-04-30")
    statuses = [slot.status for slot in schedule(months("2024-01", "2024-02"), days, "monthly", 0)]
    assert statuses == ["no_trading_day_before", "executed"]


def test_a_table_that_stops_early_makes_its_last_period_partial() -> None:
    def partial(first: str, last: str, step: int) -> set[str]:
        start, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
        days = np.arange(np.datetime64(start), np.datetime64(end) + 1, step)
        numbers = period_numbers(days, "monthly")
        return {period_label(number, "monthly") for number in partial_periods(days, numbers, "monthly")}

    assert partial("2024-01-01", "2024-02-22", 1) == set()  # seven days before the 29th
    assert partial("2024-01-01", "2024-02-21", 1) == {"2024-02"}
    # Weekly tables may stop two gaps early: 15 February is 14 days before the 29th.
    assert partial("2024-01-04", "2024-02-15", 7) == set()
    assert partial("2024-01-03", "2024-02-14", 7) == {"2024-02"}
