"""METHOD's no-look-ahead rule: rubbish in the future changes nothing in the past, to the last bit.

A checker runs a study twice, the second time with everything after a day replaced by rubbish: rows and prices changed,
added and removed. Only the set of trading days stays, which is the calendar, and with targets whether a symbol has a
price at the trade, which METHOD lets the trade know. What must not depend on the future is compared with `==` and not
with a tolerance.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any, Literal, NamedTuple

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Prices, Row, last_index_on_or_before, next_period_end, period_of
from test_reference import BENCHMARK, WEIGHTINGS, Case, cases, random_row, run

import workbench.plan
from workbench import register_signal, registry
from workbench.core.optimisation import OPTIMISERS
from workbench.errors import ConfigError

EXAMPLES = settings(
    max_examples=50, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


class Period(NamedTuple):
    """A rebalance period on the calendar: name, last calendar day, positions of e0 and e among the trading days."""

    label: str
    last_day: date
    e0: int
    e: int


def trading_days(case: Case) -> list[date]:
    return sorted(case.prices[BENCHMARK])


def schedule(case: Case) -> list[Period]:
    """Return all periods from the first row's on, past the last row and price, whether they have rows or not."""
    rebalance, lag = case.knobs["rebalance"], case.knobs["execution_lag"]
    days = trading_days(case)
    ends = [period_of(min(row["date"] for row in case.rows), rebalance)[1]]
    last = max(max(row["date"] for row in case.rows), days[-1])
    while ends[-1] < last + timedelta(days=100):
        ends.append(next_period_end(ends[-1], rebalance))
    periods = []
    for end in ends:
        e0 = last_index_on_or_before(days, end)
        periods.append(Period(period_of(end, rebalance)[0], end, e0, e0 + lag))
    return periods


def executed_periods(case: Case, result: Any) -> list[Period]:
    """Return the periods whose selection was traded, in order; of several with one e the last one was."""
    days = trading_days(case)
    by_trade_day = {}
    for period in schedule(case):
        if period.label in result.selection and 0 <= period.e0 and period.e < len(days):
            by_trade_day[days[period.e].isoformat()] = period
    return [by_trade_day[day] for day in sorted(result.weights)]


# --- rubbish ----------------------------------------------------------------------------------------------------------


def rubbish_rows(dice: random.Random, case: Case, after: date) -> list[Row]:
    """Keep the rows up to `after`; change, remove and add rows later, those of unknown symbols among them."""
    rows = [row for row in case.rows if row["date"] <= after]
    for row in case.rows:
        if row["date"] > after and dice.random() < 0.7:
            rows.append(random_row(dice, row["date"], row["symbol"]) if dice.random() < 0.5 else row)
    symbols = sorted({row["symbol"] for row in case.rows})
    taken = {(row["date"], row["symbol"]) for row in rows}
    # One row for every symbol at least, so that the table has no fewer symbols than before and top_n stays valid.
    for symbol in [*symbols, *dice.choices([*symbols, "0", "RUBBISH"], k=dice.choice([0, 5, 60]))]:
        day = after + timedelta(days=dice.randint(1, dice.choice([3, 30, 120])))
        if (day, symbol) not in taken:
            taken.add((day, symbol))
            rows.append(random_row(dice, day, symbol))
    return rows


def rubbish_prices(dice: random.Random, case: Case, after: date, trade_day: date | None) -> Prices:
    """Keep the prices up to `after`; invent later ones, on `trade_day` where there was one, else on days of chance."""
    days = trading_days(case)
    prices: Prices = {}
    for symbol in [*case.prices, "0", "RUBBISH", *(row["symbol"] for row in case.rows)]:
        if symbol in prices:
            continue
        before = case.prices.get(symbol, {})
        prices[symbol] = {day: price for day, price in before.items() if day <= after}
        share = dice.choice([0.0, 0.5, 1.0])
        for day in days:
            if day <= after:
                continue
            there = dice.random() < share
            if symbol == BENCHMARK:
                there = True
            elif day == trade_day:
                there = day in before
            if there:
                prices[symbol][day] = round(dice.uniform(1, 500), 2)
    return prices


# --- the checkers -----------------------------------------------------------------------------------------------------


def check_targets(case: Case, dice: random.Random, known_at: Literal["period end", "trade"] = "period end") -> int:
    """Assert that no executed period's selection and targets depend on what comes later; return how many there are.

    `known_at` is the day up to which rows may matter: METHOD's p, or, for the question whether a study could have been
    traded at all, the day of the trade.
    """
    result = run(case.rows, case.prices, case.knobs, case.wide)
    days = trading_days(case)
    periods = executed_periods(case, result)
    for period in dice.sample(periods, min(2, len(periods))):
        trade_day = days[period.e]
        rows = rubbish_rows(dice, case, after=period.last_day if known_at == "period end" else trade_day)
        prices = rubbish_prices(dice, case, after=days[period.e0], trade_day=trade_day)
        other = run(rows, prices, case.knobs, case.wide)
        assert other.selection.get(period.label) == result.selection[period.label]
        # A later period with the same e, empty before and filled with rubbish now, takes this one's place: see METHOD's
        # sharing rule. Its end still lies before e, so nothing is looked ahead at; but there is no target to compare.
        if not any(later.e == period.e and later.last_day > period.last_day for later in schedule(case)):
            assert other.weights.get(trade_day.isoformat()) == result.weights[trade_day.isoformat()]
    return len(periods)


def check_returns(case: Case, dice: random.Random) -> int:
    """Assert that no return up to a day t depends on what comes later; return how many days were compared."""
    result = run(case.rows, case.prices, case.knobs, case.wide)
    if result.returns.empty:
        return 0
    days = trading_days(case)
    t = dice.randrange(len(result.returns))
    day = result.returns.index[t].date()
    position = days.index(day)
    # The last rebalance that can have been executed by t: where its period is empty, rows in it would make it one.
    end = max(period.last_day for period in schedule(case) if period.e <= position)
    rows = rubbish_rows(dice, case, after=end)
    prices = rubbish_prices(dice, case, after=day, trade_day=None)
    other = run(rows, prices, case.knobs, case.wide)
    before, after = result.returns.loc[: pd.Timestamp(day)], other.returns.loc[: pd.Timestamp(day)]
    # The last executed rebalance is held for one period: where the later ones vanish with their rows, the series may
    # end sooner. It may not be another one while it lasts, and it must last for that period.
    last = [period for period in executed_periods(case, result) if period.e <= position][-1]
    next_end = next_period_end(last.last_day, case.knobs["rebalance"])
    must_last = min(position, last_index_on_or_before(days, next_end) + case.knobs["execution_lag"])
    assert len(after) >= sum(date_ <= pd.Timestamp(days[must_last]) for date_ in before.index)
    before = before.iloc[: len(after)]
    assert before.index.equals(after.index)
    for name in ("gross", "net", "benchmark"):
        assert before[name].to_numpy().tobytes() == after[name].to_numpy().tobytes(), name
    return len(after)


# --- tests ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_selection_and_targets_do_not_depend_on_later_rows_and_prices(weighting: str) -> None:
    looked_at = 0

    @EXAMPLES
    @given(case=cases(weighting), dice=st.integers(0, 2**32 - 1).map(random.Random))
    def check(case: Case, dice: random.Random) -> None:
        nonlocal looked_at
        looked_at += check_targets(case, dice)

    check()
    assert looked_at >= 30


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_returns_do_not_depend_on_later_rows_and_prices(weighting: str) -> None:
    looked_at = 0

    @EXAMPLES
    @given(case=cases(weighting), dice=st.integers(0, 2**32 - 1).map(random.Random))
    def check(case: Case, dice: random.Random) -> None:
        nonlocal looked_at
        looked_at += check_returns(case, dice)

    check()
    assert looked_at >= 300


def steady_case(**knobs: Any) -> Case:
    """Three months of two symbols with a row a day, weekends included, in which nothing goes wrong by itself."""
    dice = random.Random(7)
    all_days = [date(2021, 1, 1) + timedelta(days=i) for i in range(120)]
    rows = [random_row(dice, day, symbol) for day in all_days[:90] for symbol in ("A", "B")]
    prices = {
        symbol: {day: round(dice.uniform(90, 110), 2) for day in all_days if day.weekday() < 5}
        for symbol in ("A", "B", BENCHMARK)
    }
    plain = {"min_likes": 0, "min_comments": 0, "top_n": 1, "rebalance": "monthly", "execution_lag": 1}
    return Case(rows, prices, plain | knobs)


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_optimised_targets_and_their_returns_do_not_depend_on_later_rows_and_prices(weighting: str) -> None:
    case = steady_case(weighting=weighting, top_n=2, lookback_days=15)
    assert (case.run().rebalances["weighting"] == weighting).sum() >= 2  # the others fell back to equal weights
    for seed in range(6):
        assert check_targets(case, random.Random(seed)) == 3
        assert check_returns(case, random.Random(seed)) > 0

    @settings(EXAMPLES, max_examples=4)
    @given(case=cases(weighting), dice=st.integers(0, 2**32 - 1).map(random.Random))
    def check(case: Case, dice: random.Random) -> None:
        check_targets(case, dice)
        check_returns(case, dice)

    check()


def test_checkers_catch_weights_that_look_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = workbench.plan.look_back

    def ahead(market: Any, columns: Any, decision: int, lookback_days: int) -> Any:
        return honest(market, columns, min(decision + 10, len(market.prices.days) - 1), lookback_days)

    monkeypatch.setattr(workbench.plan, "look_back", ahead)
    for checker in (check_targets, check_returns):
        with pytest.raises(AssertionError):
            for seed in range(20):
                checker(steady_case(weighting="hrp", top_n=2, lookback_days=15), random.Random(seed))


def test_with_a_lag_nothing_after_the_trade_matters_and_without_one_the_checker_finds_what_does() -> None:
    # January 2021 ends on a Sunday. With one day of lag the weekend's posts are known when the trade is done on Monday.
    for seed in range(20):
        assert check_targets(steady_case(), random.Random(seed), known_at="trade") == 3
    # Without one the trade is done on Friday, and posts of Saturday and Sunday choose what was bought: LOOK-AHEAD.
    with pytest.raises(AssertionError):
        for seed in range(20):
            check_targets(steady_case(execution_lag=0), random.Random(seed), known_at="trade")


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test register signals that are gone after it."""
    monkeypatch.setattr(registry, "_SIGNALS", dict(registry._SIGNALS))


@pytest.mark.usefixtures("own_registry")
def test_a_signal_that_reads_later_rows_is_refused() -> None:
    register_signal("leaky", lambda table: table.groupby("symbol")["twitterLikes"].transform("mean"), "1")
    register_signal("shifted", lambda table: table.groupby("symbol")["twitterComments"].shift(-1), "1")
    register_signal("expanding", lambda table: table.groupby("symbol")["twitterComments"].cumsum(), "1")
    for name in ("leaky", "shifted"):
        with pytest.raises(ConfigError, match="looks ahead"):
            steady_case(signal=name).run()
    assert steady_case(signal="expanding").run().summary["n_periods"] > 0


@pytest.mark.usefixtures("own_registry")
def test_checkers_catch_a_signal_that_reads_later_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    # run_study refuses such a signal by itself; without that, the checkers must see it.
    monkeypatch.setattr(workbench.plan, "_check_causal", lambda *_: None)

    def leaky(table: pd.DataFrame) -> Any:
        # The comments of the symbol's last row in the whole table: known only when all is over.
        return table.groupby("symbol")["twitterComments"].transform("last").to_numpy()

    def honest(table: pd.DataFrame) -> Any:
        return table["twitterComments"].to_numpy()

    register_signal("leaky", leaky, "1")
    register_signal("honest", honest, "1")
    for checker in (check_targets, check_returns):
        for seed in range(20):
            assert checker(steady_case(signal="honest"), random.Random(seed)) > 0
        with pytest.raises(AssertionError):
            for seed in range(20):
                checker(steady_case(signal="leaky"), random.Random(seed))
