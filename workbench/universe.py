"""Who could be bought, who could not, and how much that matters.

Enters: a market, and a configuration. Leaves: the universe month by month (requested, priced, missing and why), and the bounds of a
study's result under suppositions about what the missing symbols would have earned. Survivors flatter a backtest; this says by
how much they could.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.config import StudyConfig
from workbench.core.metrics import relative_metrics, return_metrics
from workbench.core.simulation import Rebalance, simulate
from workbench.market.tables import Market
from workbench.plan import Target, executed_targets, plan, rank

Floats = npt.NDArray[np.float64]

SUPPOSITIONS = (-1.0, -0.3, 0.0)
# A symbol that is brought back to its weight every day must have a price to be bought at, even after a total loss.
_NEARLY_NOTHING = 1e-12


def universe_by_month(market: Market) -> pd.DataFrame:
    """Count the symbols with rows in each month by whether they have prices.

    Returns
    -------
    DataFrame
        Index month "YYYY-MM"; columns requested, priced (a price on a trading day of the month), not_yet_listed (first price
        later), delisted (last price earlier), gap (prices before and after), not_updated (the source did not answer for
        the newer ones), missing (no price at all): they add up to requested; and names, the symbols that are not priced
        with the reason, "ABC (delisted)".
    """
    table, prices = market.sentiment, market.prices
    months = table.days.astype("datetime64[M]")
    price_months = prices.days.astype("datetime64[M]")
    known = ~np.isnan(prices.values)
    stale = {loss.symbol for loss in market.losses if loss.kind == "not_updated"}
    last_row = known.shape[0] - 1 - known[::-1].argmax(axis=0)
    rows = []
    for month in np.unique(months):
        codes = np.unique(table.symbol_codes[months == month])
        inside = known[price_months == month].any(axis=0)
        reasons = {}
        for code in codes:
            column = int(market.price_columns[code])
            if column >= 0 and inside[column]:
                continue
            symbol = table.symbols[code]
            reason = _why(market, column, last_row, month)
            # Prices that end because the source did not answer are no sign that the company did.
            reasons[symbol] = "not_updated" if reason == "delisted" and symbol in stale else reason
        counts = {reason: list(reasons.values()).count(reason) for reason in _REASONS}
        names = ", ".join(f"{symbol} ({reason.replace('_', ' ')})" for symbol, reason in reasons.items())
        priced = len(codes) - len(reasons)
        rows.append({"month": str(month), "requested": len(codes), "priced": priced} | counts | {"names": names})
    return pd.DataFrame(rows).set_index("month")


_REASONS = ("not_yet_listed", "delisted", "gap", "not_updated", "missing")


def _why(market: Market, column: int, last_row: npt.NDArray[np.intp], month: np.datetime64) -> str:
    """Return why a symbol has no price in a month."""
    days, first = market.prices.days, market.prices.first_row
    if column < 0 or first[column] >= len(days):
        return "missing"
    if days[first[column]].astype("datetime64[M]") > month:
        return "not_yet_listed"
    return "delisted" if days[last_row[column]].astype("datetime64[M]") < month else "gap"


def return_bounds(
    config: StudyConfig, market: Market, suppositions: Sequence[float] = SUPPOSITIONS
) -> tuple[pd.DataFrame, int]:
    """Recompute a study as if every symbol that was selected and could not be bought had been bought all the same.

    A symbol without a price at the trade gets its pre-availability weight and earns the supposed return at once, nothing after that.
    A symbol whose prices end while it is held earns it on the day after its last price. Costs are charged as ever.

    Parameters
    ----------
    config, market
        The study.
    suppositions
        Returns of a missing symbol over its holding, as fractions; -1 is a total loss.

    Returns
    -------
    tuple of DataFrame and int
        One row per supposition: missing_return, total_return, excess_return (None where nothing was traded); and the number of
        positions concerned. With none, all rows equal the study.
    """
    targets = executed_targets(plan(config, market, rank(config, market)))
    ends = [_ends_while_held(target, market) for target in targets]
    affected = sum(int((~target.available).sum()) + int(end.sum()) for target, end in zip(targets, ends, strict=True))
    rows = []
    for supposed in suppositions:
        total = excess = None
        if targets:
            supposition = [_suppose(t, end, market, supposed) for t, end in zip(targets, ends, strict=True)]
            done = simulate(market.prices.filled, supposition, config.drift, config.cost_bps / 10_000)
            bought = market.prices.values[:, market.prices.columns[market.benchmark]]
            benchmark = bought[done.first + 1 : done.first + 1 + len(done.net)]
            returns = benchmark / bought[done.first : done.first + len(done.net)] - 1.0
            total = return_metrics(done.net)["total_return"]
            excess = relative_metrics(done.net, returns)["excess_return"]
        rows.append({"missing_return": supposed, "total_return": total, "excess_return": excess})
    return pd.DataFrame(rows), affected


def _ends_while_held(target: Target, market: Market) -> npt.NDArray[np.bool_]:
    """(k) True where a symbol is bought and its prices end for good before the holding does."""
    prices = market.prices
    ends = np.zeros(len(target.columns), dtype=bool)
    for position in np.flatnonzero(target.available & (target.wanted > 0)):
        ends[position] = np.isnan(prices.values[target.slot.until :, target.columns[position]]).all()
    return ends


def _suppose(target: Target, ends: npt.NDArray[np.bool_], market: Market, supposed: float) -> Rebalance:
    """Return the rebalance with every selected symbol in it, missing ones priced by supposition."""
    slot, prices = target.slot, market.prices
    factor = max(1.0 + supposed, _NEARLY_NOTHING)
    window = np.ones((slot.until - slot.trade + 1, len(target.columns)))
    window[1:, ~target.available] = factor
    for position in np.flatnonzero(target.available):
        rows = slice(slot.trade, slot.until + 1)
        window[:, position] = prices.filled[rows, target.columns[position]]
        if ends[position]:
            last = int(np.flatnonzero(~np.isnan(prices.values[rows, target.columns[position]]))[-1])
            window[last + 1 :, position] *= factor
    # Symbols that are in no price table get a column of their own beyond it, the same in every period.
    codes = [market.sentiment.symbols.index(symbol) for symbol in target.symbols]
    columns = np.where(target.columns >= 0, target.columns, len(prices.symbols) + np.array(codes))
    # With every symbol bought, nothing is redistributed; where all prices are there, these are the study's own weights.
    return Rebalance(slot.trade, slot.until, columns.astype(np.intp), target.wanted, window)
