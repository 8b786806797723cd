"""`run_study` agrees with the plain-loop reference of METHOD.md on random markets, in which everything goes wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import OWN_NUMBERS, Prices, Reference, Row, reference_study

from workbench import StudyConfig, load_market, run_study
from workbench.core.optimisation import OPTIMISERS, optimised_weights

BENCHMARK = "QQQ"
# Names that readers like to take for missing values or booleans, lower beside upper case, and the benchmark itself.
NAMES = ("NA", "TRUE", "A", "AA", "a", "B.C", "É", "nan", "Z", "1", BENCHMARK)
WEIGHTINGS = ("equal", "signal", "inverse_volatility")  # those of `OPTIMISERS` are slow and come in smaller numbers
TOLERANCE = 1e-10
# 250 examples for each of the three weightings. No deadline: the first run of a process imports and compiles.
EXAMPLES = settings(
    max_examples=250, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@dataclass
class Case:
    """One random market and the knobs of one study on it."""

    rows: list[Row]
    prices: Prices
    knobs: dict[str, Any]
    wide: bool = False
    bounds: tuple[date | None, date | None] = (None, None)

    def run(self) -> Any:
        return run(self.rows, self.prices, self.knobs, self.wide, self.bounds)

    def reference(self) -> Reference:
        start, end = self.bounds
        return reference_study(self.rows, self.prices, BENCHMARK, self.knobs | {"start": start, "end": end}, optimise)


def optimise(weighting: str, returns: list[list[float]], max_weight: float, daily: float) -> list[float] | None:
    """Show the models what the reference would: what they are shown is under test here, not what they answer."""
    assert weighting in OPTIMISERS
    weights, reason = optimised_weights(weighting, np.array(returns), max_weight, daily)
    return weights.tolist() if reason is None else None


# --- random markets ---------------------------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn, weighting: str, bounded: bool = False) -> Case:
    """Draw a market's shape and the knobs; the many numbers come from a generator with a drawn seed, for speed."""
    dice = random.Random(draw(st.integers(0, 2**32 - 1)))
    symbols = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=8, unique=True))
    first = date(2021, 1, 1) + timedelta(days=draw(st.integers(0, 800)))
    length = draw(st.sampled_from([110, 45, 66, 90, 130, 155, 185])) + dice.randint(0, 9)
    prices = random_prices(
        dice,
        symbols,
        first,
        length,
        benchmark_gaps=draw(st.sampled_from([0.0, 0.05, 0.3])),
        hole=draw(st.sampled_from([0, 0, 9, 40])),
    )
    rows = random_rows(
        dice,
        symbols,
        first - timedelta(days=dice.randint(-15, 45)),
        first + timedelta(days=length + draw(st.sampled_from([0, -40, -20, -5, 3, 20, 45]))),
        density=draw(st.sampled_from([0.4, 0.03, 0.15, 0.4])),
        empty_months=draw(st.integers(0, 2)),
        overlap=sorted(prices[BENCHMARK]),
    )
    bounds = draw(st.sampled_from([False, False, True])) if bounded else False
    start, end = random_bounds(dice, rows, sorted(prices[BENCHMARK])) if bounds else (None, None)
    in_table = {row["symbol"] for row in rows if (start or date.min) <= row["date"] <= (end or date.max)}
    knobs = {
        "signal": draw(st.sampled_from(["engagement_ratio", "twitter_sentiment"])),
        "min_likes": draw(st.integers(-1, 3)),
        "min_comments": draw(st.integers(-1, 2)),
        "min_observations": draw(st.sampled_from([1, 1, 2, 4])),
        "rebalance": draw(st.sampled_from(["monthly", "monthly", "weekly", "quarterly"])),
        "exclude": tuple(draw(st.lists(st.sampled_from([*symbols, "UNKNOWN"]), max_size=2, unique=True))),
        "top_n": draw(st.integers(1, min(5, len(in_table)))),
        "execution_lag": draw(st.integers(0, 5)),
        "weighting": weighting,
        "lookback_days": draw(st.integers(3, 20)),
        "max_weight": draw(st.sampled_from([1.0, 1.0, 0.6, 0.4, 0.25, 0.2, 0.07])),
        "missing": draw(st.sampled_from(["redistribute", "cash"])),
        "drift": draw(st.booleans()),
        "cost_bps": draw(st.sampled_from([0.0, 10.0, 123.4])),
        "risk_free_rate": draw(st.sampled_from([0.0, 0.04, -0.01])),
    }
    return Case(rows, prices, knobs, draw(st.booleans()), (start, end))


def random_prices(
    dice: random.Random, symbols: list[str], first: date, length: int, benchmark_gaps: float, hole: int
) -> Prices:
    """Return prices of `symbols` and the benchmark: full, with gaps, ending early, starting late, constant, or none."""
    calendar = [first + timedelta(days=i) for i in range(length)]
    weekdays = [day for day in calendar if day.weekday() < 5]
    # A long hole in the benchmark leaves whole periods without a trading day: rebalances that share an e.
    hole_starts = dice.choice(weekdays)
    kept = [
        day
        for day in weekdays
        if dice.random() >= benchmark_gaps and not hole_starts <= day < hole_starts + timedelta(days=hole)
    ]
    trading_days = kept if len(kept) >= 2 else weekdays
    prices = {BENCHMARK: random_walk(dice, trading_days, flat=dice.random() < 0.05)}
    for symbol in symbols:
        if symbol == BENCHMARK:
            continue
        kind = dice.choice(["full", "full", "full", "gaps", "gaps", "late", "ends", "ends", "flat", "none"])
        days = list(weekdays)
        cut = dice.randrange(len(days))
        if kind == "gaps":
            share = dice.choice([0.1, 0.4])
            days = [day for day in days if dice.random() >= share]
        elif kind == "late":
            days = days[cut:]
        elif kind == "ends":
            days = days[:cut]
        elif kind == "none":
            if dice.random() < 0.5:
                continue
            days = []
        if dice.random() < 0.2:
            # Prices on days that are no trading days, which are to be dropped first.
            days = sorted({*days, *dice.sample(calendar, 5)})
        prices[symbol] = random_walk(dice, days, flat=kind == "flat")
    return prices


def random_walk(dice: random.Random, days: list[date], flat: bool) -> dict[date, float]:
    """Return prices on `days`, rounded to cents; now and then one trebles or loses two thirds in a day."""
    price = dice.uniform(5, 300)
    volatility = dice.choice([0.003, 0.02, 0.06])
    walk = {}
    for day in days:
        if not flat and dice.random() < 0.9:
            price *= math.exp(dice.gauss(0, volatility))
        if not flat and dice.random() < 0.002:
            price *= dice.choice([3, 1 / 3])
        walk[day] = max(round(price, 2), 0.01)
    return walk


def random_rows(
    dice: random.Random,
    symbols: list[str],
    first: date,
    last: date,
    density: float,
    empty_months: int,
    overlap: list[date],
) -> list[Row]:
    """Return sentiment rows on all days of the week; small counts make ties, sentiment in eighths makes sums exact."""
    days = [first + timedelta(days=i) for i in range(max((last - first).days, 1))]
    months = sorted({(day.year, day.month) for day in days})
    without = set(dice.sample(months, min(empty_months, len(months) - 1)))
    rows = [
        random_row(dice, day, symbol)
        for day in days
        for symbol in symbols
        if (day.year, day.month) not in without and dice.random() < density
    ]
    if not any(overlap[0] <= row["date"] <= overlap[-1] for row in rows):
        rows.append(random_row(dice, dice.choice(overlap), dice.choice(symbols)))
    return rows


def random_bounds(dice: random.Random, rows: list[Row], trading_days: list[date]) -> tuple[date | None, date | None]:
    """Return a start and an end, either of them perhaps none, that leave a row on the days that have prices."""
    inside = dice.choice([row["date"] for row in rows if trading_days[0] <= row["date"] <= trading_days[-1]])
    start = dice.choice([None, inside, inside - timedelta(days=dice.randint(0, 60))])
    return start, dice.choice([None, inside, inside + timedelta(days=dice.randint(0, 120))])


def random_row(dice: random.Random, day: date, symbol: str) -> Row:
    return {
        "date": day,
        "symbol": symbol,
        "twitterPosts": dice.randint(0, 5),
        "twitterComments": dice.randint(0, 6),
        "twitterLikes": dice.randint(0, 9),
        "twitterImpressions": dice.randint(0, 1000),
        "twitterSentiment": None if dice.random() < 0.3 else dice.randint(-1, 8) / 8,
    }


# --- the workbench's side ---------------------------------------------------------------------------------------------


def sentiment_frame(rows: Iterable[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows))
    return frame.assign(
        date=pd.to_datetime(frame["date"]), twitterSentiment=frame["twitterSentiment"].astype("float64")
    )


def prices_frame(prices: Prices, wide: bool) -> pd.DataFrame:
    if wide:
        days = sorted({day for walk in prices.values() for day in walk})
        columns: dict[str, Any] = {"date": pd.to_datetime(days)}
        for symbol, walk in prices.items():
            columns[symbol] = [walk.get(day, math.nan) for day in days]
        return pd.DataFrame(columns)
    bars = [(day, symbol, price) for symbol, walk in prices.items() for day, price in walk.items()]
    return pd.DataFrame(
        {
            "date": pd.to_datetime([bar[0] for bar in bars]),
            "symbol": [bar[1] for bar in bars],
            # Only the adjusted close may be used: the other prices are off by far.
            "open": [bar[2] * 7 for bar in bars],
            "high": [bar[2] * 9 for bar in bars],
            "low": [bar[2] * 5 for bar in bars],
            "close": [bar[2] * 6 for bar in bars],
            "adj_close": [bar[2] for bar in bars],
            "volume": [1000] * len(bars),
        }
    )


def run(
    rows: list[Row],
    prices: Prices,
    knobs: dict[str, Any],
    wide: bool = False,
    bounds: tuple[date | None, date | None] = (None, None),
) -> Any:
    """Load the tables as a user would and run the study."""
    start, end = bounds
    market = load_market(sentiment_frame(rows), prices_frame(prices, wide), benchmark=BENCHMARK, start=start, end=end)
    return run_study(StudyConfig(**knobs), market)


def close(got: Any, expected: Any) -> bool:
    """Equal within the tolerance, relative for large numbers; None equals only None, and a NaN equals nothing."""
    if got is None or expected is None:
        return got is None and expected is None
    if isinstance(expected, str):
        return bool(got == expected)
    return math.isclose(got, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def differences(got: dict[str, Any], expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return {key: (got, expected)} for all that differ or are missing on one side."""
    return {
        key: (got.get(key, "absent"), expected.get(key, "absent"))
        for key in {*got, *expected}
        if key not in got or key not in expected or not close(got[key], expected[key])
    }


def assert_agrees(result: Any, expected: Reference) -> None:
    """Hold everything METHOD defines in a result against the reference."""
    assert result.selection == expected.selection

    assert sorted(result.weights) == sorted(expected.weights)
    for day, weights in expected.weights.items():
        assert not differences(result.weights[day], weights), day

    assert [entry["period"] for entry in result.pending] == [entry["period"] for entry in expected.pending]
    for got, entry in zip(result.pending, expected.pending, strict=True):
        assert (got["signal_date"], got["trade_date"]) == (entry["signal_date"], entry["trade_date"])
        assert list(got["selection"]) == entry["selection"]
        assert not differences(got["weights"], entry["weights"]), entry["period"]

    assert [day.date() for day in result.returns.index] == [day[0] for day in expected.returns]
    for position, name in enumerate(("gross", "net", "benchmark"), start=1):
        got_series = dict(zip(result.returns.index.strftime("%Y-%m-%d"), result.returns[name].tolist(), strict=True))
        assert not differences(got_series, {day[0].isoformat(): day[position] for day in expected.returns}), name

    assert not differences({name: result.summary[name] for name in expected.summary}, expected.summary)
    numbers = [value for value in result.summary.values() if isinstance(value, float)]
    assert all(math.isfinite(number) for number in numbers)


def assert_reconciles(result: Any, expected: Reference, cost_bps: float) -> None:
    """Trades add up to the turnover, and that to the cost by which net and gross differ on the first day held."""
    traded = result.trades.assign(size=result.trades["trade"].abs()).groupby("date")[["size", "cost"]].sum()
    traded.index = pd.DatetimeIndex(traded.index)
    first_days = {}
    for day, turnover in zip(sorted(expected.weights), expected.turnovers, strict=True):
        size, cost = traded.loc[day] if pd.Timestamp(day) in traded.index else (0.0, 0.0)
        assert abs(size - turnover) <= 1e-10, day
        assert abs(cost - cost_bps / 10_000 * size) <= 1e-12, day
        after = result.returns.index[result.returns.index > day]
        if len(after):
            first_days[after[0]] = cost
    for day, gross, net in zip(result.returns.index, result.returns["gross"], result.returns["net"], strict=True):
        cost = first_days.get(day, 0.0)
        assert abs(net - ((1 - cost) * (1 + gross) - 1)) <= 1e-12, day
    for trade in result.trades.itertuples():
        target = expected.weights[pd.Timestamp(trade.date).strftime("%Y-%m-%d")].get(trade.symbol, 0.0)
        assert abs(trade.weight_target - target) <= TOLERANCE
    steps = result.trades["weight_target"] - result.trades["weight_before"] - result.trades["trade"]
    assert not len(steps) or steps.abs().max() <= 1e-12
    if result.summary["mean_turnover"] is not None:
        mean_turnover = traded["size"].sum() / len(expected.weights)
        assert abs(result.summary["mean_turnover"] - mean_turnover) <= 1e-12


# Kinds that concern a rebalance or a symbol at a time; those that count rows on reading are tested with the readers.
PERIOD_KINDS = {
    "no_rows",
    "no_selection",
    "no_trading_day_before",
    "no_trading_day_after",
    "same_trading_day",
    "partial_period",
    "weights_fallback",
}
SYMBOL_KINDS = {"no_price_at_trade", "no_price_while_held", "price_never_returns"}


def assert_losses_agree(result: Any, expected: Reference) -> None:
    """Each thing left out is one entry per (kind, period, symbol), with its first and last day."""
    losses = result.losses.astype(object).where(result.losses.notna(), None)
    got_periods = sorted((loss.kind, loss.period) for loss in losses.itertuples() if loss.kind in PERIOD_KINDS)
    assert got_periods == sorted((kind, period) for kind, period, _ in expected.losses if kind in PERIOD_KINDS)
    got_symbols = sorted(
        (loss.kind, loss.period, loss.symbol, loss.first, loss.last)
        for loss in losses.itertuples()
        if loss.kind in SYMBOL_KINDS
    )
    assert got_symbols == sorted(
        (kind, period, symbol, days[0], days[1])
        for (kind, period, symbol), days in expected.losses.items()
        if kind in SYMBOL_KINDS
    )


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_study_agrees_with_the_reference_on_random_markets(weighting: str) -> None:
    @EXAMPLES
    @given(case=cases(weighting, bounded=True))
    def check(case: Case) -> None:
        expected = case.reference()
        result = case.run()
        assert_agrees(result, expected)
        assert_reconciles(result, expected, case.knobs["cost_bps"])
        assert_losses_agree(result, expected)

    check()


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_study_agrees_with_the_reference_that_is_given_the_same_models(weighting: str) -> None:
    optimised = 0

    @settings(EXAMPLES, max_examples=20)
    @given(case=cases(weighting, bounded=True))
    def check(case: Case) -> None:
        nonlocal optimised
        expected = case.reference()
        result = case.run()
        assert_agrees(result, expected)
        assert_reconciles(result, expected, case.knobs["cost_bps"])
        assert_losses_agree(result, expected)
        optimised += int((result.rebalances["weighting"] == weighting).sum())

    check()
    assert optimised >= 15


def test_random_markets_reach_every_branch() -> None:
    """An agreement on markets in which nothing goes wrong would be worth little: count what the strategy does."""
    seen: dict[str, int] = {}

    @settings(EXAMPLES, max_examples=150)
    @given(case=st.sampled_from(WEIGHTINGS).flatmap(cases))
    def look(case: Case) -> None:
        expected = case.reference()
        marks = {kind for kind, _, _ in expected.losses}
        marks |= {"pending"} if expected.pending else set()
        marks |= {"pending at the last price"} if any(entry["trade_date"] for entry in expected.pending) else set()
        marks |= {"no returns"} if not expected.returns else {"returns"}
        marks |= {"all cash"} if any(not weights for weights in expected.weights.values()) else set()
        marks |= {"part cash"} if any(0 < sum(w.values()) < 0.99 for w in expected.weights.values()) else set()
        marks |= {"many periods"} if len(expected.weights) >= 4 else set()
        if expected.returns:
            marks |= {f"no {name}" for name in OWN_NUMBERS if expected.summary[name] is None}
        for mark in marks:
            seen[mark] = seen.get(mark, 0) + 1

    look()
    wanted = {
        *PERIOD_KINDS,
        *SYMBOL_KINDS,
        "pending",
        "pending at the last price",
        "no returns",
        "all cash",
        "part cash",
    }
    wanted |= {"many periods", "no sharpe_ratio", "no sortino_ratio", "no calmar_ratio"}
    assert not wanted - set(seen), seen
    assert seen["returns"] >= 90, seen
