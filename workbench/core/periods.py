"""Rebalance periods and the timing of trades.

Enters: days (datetime64[D]). Leaves: period numbers, labels and last days, and the schedule that says which period is traded at
the close of which trading day, and which is left out. METHOD.md, "Timing".
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

Days = npt.NDArray[np.datetime64]
Ints = npt.NDArray[np.int64]

# 1970-01-01 was a Thursday: three days earlier is the Monday on which week 0 starts.
_THURSDAY = 3


def period_numbers(days: Days, rebalance: str) -> Ints:
    """Return for each day the number of its period; numbers of consecutive periods are consecutive."""
    if rebalance == "weekly":
        return (days.astype("datetime64[D]").astype(np.int64) + _THURSDAY) // 7
    months = days.astype("datetime64[M]").astype(np.int64)
    return months if rebalance == "monthly" else months // 3


def period_end(number: int, rebalance: str) -> np.datetime64:
    """Return the last calendar day of a period."""
    if rebalance == "weekly":
        return np.datetime64(7 * number - _THURSDAY + 6, "D")
    following = number + 1 if rebalance == "monthly" else 3 * (number + 1)
    first_after: np.datetime64 = np.datetime64(following, "M").astype("datetime64[D]")
    return first_after - np.timedelta64(1, "D")


def period_label(number: int, rebalance: str) -> str:
    """Return a period's name: "2021-11", "2021-W46" (ISO week) or "2021Q4"."""
    end = period_end(number, rebalance)
    if rebalance == "monthly":
        return str(end)[:7]
    if rebalance == "weekly":
        year, week, _ = dt.date.fromisoformat(str(end)).isocalendar()
        return f"{year}-W{week:02d}"
    return f"{str(end)[:4]}Q{number % 4 + 1}"


def partial_periods(days: Days, numbers: Ints, rebalance: str) -> set[int]:
    """Return the periods that the table does not cover to their end.

    A period is partial when its last row is more than 7 days before its last calendar day, or more than twice the median gap between the
    table's distinct days where that is longer (weekly tables).

    Parameters
    ----------
    days, numbers
        The table's distinct days, increasing, and the period of each.
    rebalance
        As in StudyConfig.
    """
    gap = float(np.median(np.diff(days.astype(np.int64)))) if len(days) > 1 else 0.0
    last = np.append(np.flatnonzero(np.diff(numbers)), len(numbers) - 1)
    ends = np.array([period_end(int(number), rebalance) for number in numbers[last]])
    short = (ends - days[last]).astype(np.int64) > max(7.0, 2.0 * gap)
    return {int(number) for number in numbers[last][short]}


Status = Literal["executed", "pending", "no_trading_day_before", "no_trading_day_after", "same_trading_day"]


@dataclass(frozen=True)
class Slot:
    """When one selection is traded.

    `period` its number, `end` p, `decision` the row of e0, or of the last trading day so far where p is still to come (-1: none),
    `trade` the row of e (beyond the prices where it is not known yet), `until` the last row held (executed ones only), `status`
    what becomes of it.
    """

    period: int
    end: np.datetime64
    decision: int
    trade: int
    until: int
    status: Status


def schedule(periods: Ints, days: Days, rebalance: str, execution_lag: int) -> list[Slot]:
    """Place each period that has a selection on the trading days.

    Parameters
    ----------
    periods
        (P) numbers of the periods with a selection, increasing.
    days
        (T) trading days, increasing.
    rebalance, execution_lag
        As in StudyConfig.

    Returns
    -------
    list of Slot, one per period, in order.
    """
    total = len(days)
    ends = [period_end(int(number), rebalance) for number in periods]
    decisions = [int(np.searchsorted(days, end, side="right")) - 1 for end in ends]
    # The last trading day up to a p that is still to come is not known: such a period shares its trade with no other.
    known = [bool(end <= days[-1]) for end in ends]
    trades = [(decision if seen else total) + execution_lag for decision, seen in zip(decisions, known, strict=True)]
    statuses: list[Status] = []
    for position, decision in enumerate(decisions):
        if decision < 0:
            statuses.append("no_trading_day_before")
        elif position + 1 < len(decisions) and known[position + 1] and decisions[position + 1] == decision:
            # Both trade at the same close, so the earlier one would be held for no time at all.
            statuses.append("same_trading_day")
        elif trades[position] >= total - 1:
            statuses.append("pending")
        else:
            statuses.append("executed")
    executed = [position for position, status in enumerate(statuses) if status == "executed"]
    until = {a: decisions[b] + execution_lag for a, b in pairwise(executed)}
    if executed:
        last = executed[-1]
        following = period_end(int(periods[last]) + 1, rebalance)
        held = int(np.searchsorted(days, following, side="right")) - 1 + execution_lag
        until[last] = min(held, total - 1)
    return [
        Slot(int(number), end, decision, trade, until.get(position, -1), status)
        for position, (number, end, decision, trade, status) in enumerate(
            zip(periods, ends, decisions, trades, statuses, strict=True)
        )
    ]
