"""The books of a study: what was left out, what was traded, when, as records and frames.

Enters: the ranking, the targets and the simulation. Leaves: `Loss` records and the frames of a StudyResult. Nothing
here changes a number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.config import StudyConfig, nearest
from workbench.core.periods import period_numbers
from workbench.core.simulation import Simulation
from workbench.losses import Loss
from workbench.market.tables import Market
from workbench.plan import Ranking, Target, executed_targets

_NOT_TRADED = {
    "no_trading_day_before": "the prices have no trading day on or before the period's end",
    "no_trading_day_after": "the prices end before or at the trade; what to hold is pending",
    "same_trading_day": "the next selection is traded at the same close",
}


def collect_losses(config: StudyConfig, market: Market, ranking: Ranking, targets: list[Target]) -> list[Loss]:
    """Return everything that the study left out or replaced, input losses first, then by step."""
    executed = executed_targets(targets)
    return [
        *market.losses,
        *_excluded(config, market, ranking),
        *_rows(config, market, ranking),
        *_periods(config, market, ranking),
        *_targets(config, market, targets),
        *(loss for target in executed for loss in _gaps(target, market)),
    ]


def _excluded(config: StudyConfig, market: Market, ranking: Ranking) -> Iterator[Loss]:
    for name in config.exclude:
        if name in market.sentiment.symbols:
            periods = int((ranking.panel.counts[:, market.sentiment.symbols.index(name)] > 0).sum())
            yield Loss("excluded", None, name, periods, None, None, "named in exclude; count is periods with a value")
        else:
            hint = nearest(name, market.sentiment.symbols)
            yield Loss(
                "exclude_unknown", None, name, 0, None, None, f"exclude names a symbol that the table lacks{hint}"
            )


def _rows(config: StudyConfig, market: Market, ranking: Ranking) -> Iterator[Loss]:
    """Rows that the thresholds, the signal or min_observations dropped."""
    panel, symbols = ranking.panel, market.sentiment.symbols
    reason = f"not above {config.min_likes} likes and {config.min_comments} comments"
    for position in np.flatnonzero(panel.below_threshold):
        count = int(panel.below_threshold[position])
        yield Loss("below_threshold", ranking.labels[position], None, count, None, None, reason)
    reason = f"{config.signal} is missing or not finite"
    for position, code in np.argwhere(panel.undefined):
        count = int(panel.undefined[position, code])
        yield Loss("undefined_signal", ranking.labels[position], symbols[code], count, None, None, reason)
    reason = f"fewer than {config.min_observations} rows in the period"
    for position, code in np.argwhere((panel.counts > 0) & (panel.counts < config.min_observations)):
        count = int(panel.counts[position, code])
        yield Loss("too_few_observations", ranking.labels[position], symbols[code], count, None, None, reason)


def _periods(config: StudyConfig, market: Market, ranking: Ranking) -> Iterator[Loss]:
    """Periods without rows, without a qualifying symbol, or that the table does not cover to their end."""
    days, _ = market.sentiment.distinct_days
    numbers = period_numbers(days, config.rebalance) - ranking.first
    edges = np.searchsorted(numbers, np.arange(len(ranking.labels) + 1))
    for position, label in enumerate(ranking.labels):
        inside = days[edges[position] : edges[position + 1]]
        if not len(inside):
            yield Loss("no_rows", label, None, 0, None, None, "no row of the table lies in the period; holdings stay")
            continue
        first, last = str(inside[0]), str(inside[-1])
        if not len(ranking.chosen[position]):
            yield Loss("no_selection", label, None, 0, first, last, "no symbol qualifies; holdings stay")
        if label in ranking.partial:
            reason = "the table's rows end before the period does; traded like a full one"
            yield Loss("partial_period", label, None, len(inside), first, last, reason)


def _targets(config: StudyConfig, market: Market, targets: list[Target]) -> Iterator[Loss]:
    """Selections that are not traded, symbols that cannot be bought, weightings that fell back."""
    for target in targets:
        status = "no_trading_day_after" if target.slot.status == "pending" else target.slot.status
        if status != "executed":
            yield Loss(status, target.label, None, len(target.symbols), None, None, _NOT_TRADED[status])
        if target.slot.status not in ("executed", "pending"):
            continue  # it has no target weights of which something could be said
        if target.fallback is not None:
            reason = f"{config.weighting} fell back to equal: {target.fallback}"
            yield Loss("weights_fallback", target.label, None, len(target.symbols), None, None, reason)
        if target.slot.trade >= len(market.prices.days):
            yield from _pending_without_price(target, market)
        if target.available.all():
            continue
        day = str(market.prices.days[target.slot.trade])
        goes = "goes to the others"
        if config.missing == "cash" or not np.any(target.weights > 0):  # an optimiser may have given the others nothing
            goes = "stays in cash"
        for position in np.flatnonzero(~target.available):
            why = "has no price that day" if target.columns[position] >= 0 else "is not in the price table"
            reason = f"{why}; its weight {goes}"
            yield Loss("no_price_at_trade", target.label, target.symbols[position], 1, day, day, reason)


def _pending_without_price(target: Target, market: Market) -> Iterator[Loss]:
    """Name the symbols of a pending selection that could not be bought if the trade were on the last known day."""
    prices = market.prices
    day = str(prices.days[-1])
    for symbol, column in zip(target.symbols, target.columns, strict=True):
        if column < 0 or np.isnan(prices.values[-1, column]):
            why = f"has no price on {day}" if column >= 0 else "is not in the price table"
            reason = f"{why}; if it has none at the trade either, its weight is placed as `missing` says"
            yield Loss("pending_without_price", target.label, symbol, 1, day, day, reason)


def _gaps(target: Target, market: Market) -> Iterator[Loss]:
    """Days on which a held symbol has no price."""
    prices = market.prices
    start = target.slot.trade + 1
    for position in np.flatnonzero(target.weights > 0):
        column = target.columns[position]
        if prices.gapless[column]:
            continue
        known = np.flatnonzero(~np.isnan(prices.values[:, column]))
        missing = np.flatnonzero(np.isnan(prices.values[start : target.slot.until + 1, column])) + start
        final = missing[missing > known[-1]]
        for kind, rows, reason in (
            ("no_price_while_held", missing[missing < known[-1]], "no price on these days: earns 0 until one returns"),
            ("price_never_returns", final, "its prices end: held at the last value until the next rebalance"),
        ):
            if len(rows):
                first, last = str(prices.days[rows[0]]), str(prices.days[rows[-1]])
                yield Loss(kind, target.label, target.symbols[position], len(rows), first, last, reason)


def mark(config: StudyConfig) -> str:
    """Return the word that every frame made with a configuration carries."""
    return "LOOK-AHEAD" if config.look_ahead else "causal"


def returns_frame(market: Market, simulation: Simulation | None) -> pd.DataFrame:
    """Return gross, net and benchmark returns by date."""
    prices = market.prices
    if simulation is None:
        days, columns = prices.days[:0], np.empty((0, 3))
    else:
        first, last = simulation.first, simulation.first + len(simulation.net)
        days = prices.days[first + 1 : last + 1]
        bought = prices.values[first : last + 1, prices.columns[market.benchmark]]
        columns = np.column_stack([simulation.gross, simulation.net, bought[1:] / bought[:-1] - 1.0])
    index = pd.DatetimeIndex(days.astype("datetime64[us]"), name="date")
    return pd.DataFrame(columns, index=index, columns=["gross", "net", "benchmark"])


def trades_frame(
    config: StudyConfig, market: Market, executed: list[Target], simulation: Simulation | None
) -> pd.DataFrame:
    """Return one row per symbol traded; sums of |trade| per date are turnovers, sums of cost what was charged."""
    trades = simulation.trades if simulation else ()
    sizes = [len(trade.columns) for trade in trades]
    rows = np.repeat(np.array([target.slot.trade for target in executed], dtype=np.intp), sizes)
    before = _concat([trade.before for trade in trades])
    target_weights = _concat([trade.target for trade in trades])
    names = market.prices.symbols
    return pd.DataFrame(
        {
            "date": market.prices.days[rows].astype("datetime64[us]"),
            "period": [target.label for target, size in zip(executed, sizes, strict=True) for _ in range(size)],
            "symbol": [names[column] for trade in trades for column in trade.columns],
            "weight_before": before,
            "weight_target": target_weights,
            "trade": target_weights - before,
            "cost": np.abs(target_weights - before) * (config.cost_bps / 10_000),
            "timing": [mark(config)] * len(rows),
        }
    )


def _concat(arrays: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.concatenate(arrays) if arrays else np.empty(0)


def rebalances_frame(
    config: StudyConfig, market: Market, ranking: Ranking, targets: list[Target], simulation: Simulation | None
) -> pd.DataFrame:
    """Return one row per selection: the proof that its signal was complete before it was traded, and what it cost."""
    days = market.prices.days
    executed = [target.slot.status == "executed" for target in targets]
    turnovers = iter([trade.turnover for trade in simulation.trades] if simulation else [])
    turnover = np.array([next(turnovers) if done else np.nan for done in executed])
    slots = [target.slot for target in targets]
    return pd.DataFrame(
        {
            "period": [target.label for target in targets],
            "status": [slot.status for slot in slots],
            "partial": [target.label in ranking.partial for target in targets],
            "signal_complete": [str(slot.end) for slot in slots],
            "decided": [str(days[slot.decision]) if slot.decision >= 0 else None for slot in slots],
            "traded": [str(days[s.trade]) if done else None for s, done in zip(slots, executed, strict=True)],
            "held_until": [str(days[s.until]) if done else None for s, done in zip(slots, executed, strict=True)],
            "n_selected": [len(target.symbols) for target in targets],
            "n_held": [np.count_nonzero(t.weights) if done else 0 for t, done in zip(targets, executed, strict=True)],
            "cash": [1.0 - t.weights.sum() if done else np.nan for t, done in zip(targets, executed, strict=True)],
            "turnover": turnover,
            "cost": turnover * (config.cost_bps / 10_000),
            "weighting": ["equal (fallback)" if t.fallback else config.weighting for t in targets],
            "timing": [mark(config)] * len(targets),
        }
    )


def ranking_frame(ranking: Ranking, targets: list[Target]) -> pd.DataFrame:
    """Return one row per selected symbol with its signal value and the number of rows behind it."""
    sizes = [len(target.symbols) for target in targets]
    rows = np.repeat(np.array([target.position for target in targets], dtype=np.intp), sizes)
    codes = np.concatenate([ranking.chosen[target.position] for target in targets]) if targets else rows
    return pd.DataFrame(
        {
            "period": [ranking.labels[row] for row in rows],
            "rank": [place + 1 for size in sizes for place in range(size)],
            "symbol": [symbol for target in targets for symbol in target.symbols],
            "value": ranking.panel.values[rows, codes],
            "n_observations": ranking.panel.counts[rows, codes],
        }
    )
