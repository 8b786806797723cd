"""From a configuration and a market to holdings: selections, their days, their target weights, the simulated portfolio.

The steps of METHOD.md put together from `core`, each a function of what the one before left, so that a sweep can share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.config import StudyConfig
from workbench.core.metrics import daily_rate
from workbench.core.optimisation import OPTIMISERS, optimised_weights
from workbench.core.periods import Slot, partial_periods, period_label, period_numbers, schedule
from workbench.core.selection import select_top
from workbench.core.signals import SignalPanel, daily_values, signal_panel
from workbench.core.simulation import Rebalance, Simulation, simulate
from workbench.core.weights import TOO_SHORT, cap, place, scheme_weights
from workbench.errors import ConfigError, DataError
from workbench.market.tables import Market
from workbench.registry import Signal, find_signal

Positions = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """The selection of every period.

    first : number of the panel's first period.
    panel : the signal values behind it, excluded symbols included.
    eligible : (P, N) the values that are ranked: NaN for excluded symbols.
    chosen : (P) positions in the table's symbols, best first; empty where no symbol qualifies.
    labels : (P) names of the periods.
    partial : labels of the periods that the table does not cover to their end.
    """

    first: int
    panel: SignalPanel
    eligible: Floats
    chosen: list[Positions]
    labels: list[str]
    partial: frozenset[str]


@dataclass(frozen=True, eq=False)
class Target:
    """What one selection wants to hold.

    slot : when it is traded, or why it is not.
    position, label : of its period in the ranking.
    symbols : (k) selected, best first; `columns` their positions in the price table (-1: no prices at all).
    wanted : (k) pre-availability weights: what it would hold if every price were there.
    weights : (k) targets; 0 for a symbol that cannot be bought; what is missing from 1 is cash.
    available : (k) True where the symbol has a price at the trade (or the trade's day is not known yet).
    fallback : why the weights are equal although another weighting was asked for.
    """

    slot: Slot
    position: int
    label: str
    symbols: tuple[str, ...]
    columns: Positions
    wanted: Floats
    weights: Floats
    available: npt.NDArray[np.bool_]
    fallback: str | None

    def positive(self) -> dict[str, float]:
        """Return the symbols with a positive target, best ranked first."""
        return {s: float(w) for s, w in zip(self.symbols, self.weights, strict=True) if w > 0}


def rank(config: StudyConfig, market: Market) -> Ranking:
    """Evaluate the signal and select each period's symbols. Looks at no price."""
    table, signal = market.sentiment, find_signal(config.signal)
    _check(config, market, signal)
    frame = table.frame
    passes = (frame["twitterLikes"].to_numpy() > config.min_likes) & (
        frame["twitterComments"].to_numpy() > config.min_comments
    )
    values = _evaluate(signal, frame, passes)
    if not signal.columns:
        _check_causal(signal, market, passes, values)
    days, rows = table.distinct_days
    numbers = period_numbers(days, config.rebalance)
    first, shape = int(numbers[0]), (int(numbers[-1] - numbers[0]) + 1, len(table.symbols))
    panel = signal_panel(
        values, passes, np.repeat(numbers - first, rows), table.symbol_codes, shape, config.min_observations
    )
    excluded = [code for code, symbol in enumerate(table.symbols) if symbol in config.exclude]
    eligible = panel.values.copy()
    eligible[:, excluded] = np.nan
    return Ranking(
        first=first,
        panel=panel,
        eligible=eligible,
        chosen=select_top(eligible, config.top_n),
        labels=[period_label(first + position, config.rebalance) for position in range(shape[0])],
        partial=frozenset(period_label(n, config.rebalance) for n in partial_periods(days, numbers, config.rebalance)),
    )


def _evaluate(signal: Signal, frame: pd.DataFrame, passes: npt.NDArray[np.bool_]) -> Floats:
    try:
        return daily_values(frame, passes, signal.function, signal.columns)
    except Exception as error:  # a signal of the user's own may raise anything, and all of it is the user's input
        raise ConfigError(
            f"signal {signal.name!r} must return one number per row of the table; it failed with "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_causal(signal: Signal, market: Market, passes: npt.NDArray[np.bool_], values: Floats) -> None:
    """Refuse a signal of the user's own whose past changes when the table ends earlier: it reads the future."""
    days = market.sentiment.distinct_days[0]
    for day in (days[len(days) // 3], days[2 * len(days) // 3]):
        until = market.sentiment.days <= day
        early = _evaluate(signal, market.sentiment.frame[until], passes[until])
        if not np.array_equal(early, values[: len(early)], equal_nan=True):
            raise ConfigError(
                f"signal {signal.name!r} must read rows up to its own day only; its values up to {day} change when later "
                "rows are removed, so it looks ahead"
            )


Weigh = Callable[[StudyConfig, Market, Floats, Positions, int], tuple[Floats, str | None]]
"""What `weigh` is: (config, market, values, columns, decision) -> (weights, reason)."""


def weigh(
    config: StudyConfig, market: Market, values: Floats, columns: Positions, decision: int
) -> tuple[Floats, str | None]:
    """Weigh one selection before the cap, from nothing later than its decision.

    For one of `OPTIMISERS` the result depends on `weighting`, `lookback_days`, `max_weight`, `risk_free_rate` (with `max_sharpe` only),
    `columns` in their order and `decision`, to the last bit, so that many configurations can share it.

    Parameters
    ----------
    values, columns
        (k) signal values of the selected symbols, best first, and their positions in the price table (-1: no prices at all).
    decision
        The row of e0 in the price table (-1: none).

    Returns
    -------
    weights, reason
        (k) weights that sum to 1, and why they are equal although another weighting was asked for (None: they are as asked).
    """
    optimised = config.weighting in OPTIMISERS
    estimated = optimised or config.weighting == "inverse_volatility"
    window = look_back(market, columns, decision, config.lookback_days) if estimated else None
    if not optimised:
        return scheme_weights(config.weighting, values, window)
    if window is None:
        return np.full(len(columns), 1.0 / len(columns)), TOO_SHORT
    return optimised_weights(config.weighting, window, config.max_weight, daily_rate(config.risk_free_rate))


def plan(config: StudyConfig, market: Market, ranking: Ranking, weigh: Weigh = weigh) -> list[Target]:
    """Give every selection its day and its target weights; `weigh` may be replaced by what knows its answers already."""
    held = [position for position, chosen in enumerate(ranking.chosen) if len(chosen)]
    numbers = np.array(held, dtype=np.int64) + ranking.first
    slots = schedule(numbers, market.prices.days, config.rebalance, config.execution_lag)
    return [_target(config, market, ranking, position, slot, weigh) for position, slot in zip(held, slots, strict=True)]


def _target(config: StudyConfig, market: Market, ranking: Ranking, position: int, slot: Slot, weigh: Weigh) -> Target:
    chosen, prices = ranking.chosen[position], market.prices
    columns = market.price_columns[chosen].astype(np.intp)
    weights, fallback = weigh(config, market, ranking.panel.values[position, chosen], columns, slot.decision)
    wanted = weights = cap(weights, config.max_weight)
    available = np.ones(len(chosen), dtype=bool)
    if 0 <= slot.decision and slot.trade < len(prices.days):
        available = (columns >= 0) & ~np.isnan(prices.values[slot.trade, columns])
        weights = place(weights, available, config.missing, config.max_weight)
    symbols = tuple(market.sentiment.symbols[code] for code in chosen)
    return Target(slot, position, ranking.labels[position], symbols, columns, wanted, weights, available, fallback)


def look_back(market: Market, columns: Positions, decision: int, lookback_days: int) -> Floats | None:
    """Return (lookback_days, k) simple returns ending at e0; None where a symbol's history does not reach back that far."""
    start = decision - lookback_days
    if start < 0 or np.any(columns < 0) or np.any(market.prices.first_row[columns] > start):
        return None
    window = market.prices.filled[start : decision + 1, columns]
    return np.asarray(window[1:] / window[:-1] - 1.0)


def executed_targets(targets: list[Target]) -> list[Target]:
    """Return those that are traded, in order."""
    return [target for target in targets if target.slot.status == "executed"]


def hold(config: StudyConfig, market: Market, executed: list[Target]) -> Simulation | None:
    """Simulate the executed rebalances; None where there is none."""
    if not executed:
        return None
    rebalances = []
    for target in executed:
        bought = target.weights > 0
        slot = target.slot
        rebalances.append(Rebalance(slot.trade, slot.until, target.columns[bought], target.weights[bought]))
    return simulate(market.prices.filled, rebalances, config.drift, config.cost_bps / 10_000)


def _check(config: StudyConfig, market: Market, signal: Signal) -> None:
    """Hold the configuration against the table: what only the data can refuse."""
    table = market.sentiment
    if config.top_n > len(table.symbols):
        raise ConfigError(
            f"top_n must be between 1 and {len(table.symbols)} (symbols in the table), got {config.top_n}"
        )
    absent = [column for column in signal.columns if column not in table.frame]
    if absent:
        raise DataError(
            f"signal {signal.name!r} needs the column {absent[0]}, which {table.source.name} does not have; "
            "map one with --columns or choose another signal"
        )
