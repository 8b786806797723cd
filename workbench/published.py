"""The published study whose figures we reproduce, and what its recipe gives.

METHOD.md, "The published figures". The recipe is wrong in ways that matter, and is followed here to the letter: it
averages log returns over symbols, compounds them as if they were simple, ignores costs, and leaves two symbols out
after ranking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.market.tables import Market
from workbench.plan import Target

Floats = npt.NDArray[np.float64]

# The sentiment table's rows, see SentimentTable.fingerprint.
FINGERPRINT = "4af56f506ad80c8880d212605ac17d726636bdd31c391bc9b1b463dcebd17f48"

PUBLISHED: dict[str, float | int] = {
    "total_portfolio_return": 0.0030,
    "total_benchmark_return": -0.2909,
    "excess_return": 0.2939,
    "unique_stocks_analyzed": 34,
}

# The study dropped these from its price table by hand, after ranking.
DROPPED = ("ATVI", "MRO")

RECIPE: dict[str, Any] = {"execution_lag": 0, "cost_bps": 0.0, "drift": False}

# What right arithmetic gives on the same data, from the study's own choices to those that could have been traded.
CORRECTED: dict[str, dict[str, Any]] = {
    "LOOK-AHEAD lag 0, daily to target": RECIPE,
    "LOOK-AHEAD lag 0, drifting": RECIPE | {"drift": True},
    "causal lag 1, 10 bps": {},
}
HELD_OUT = "MRO"
BENCHMARK = "QQQ"


def is_published(market: Market) -> bool:
    """Tell whether this is the published study's table, on real prices, against its benchmark."""
    known = market.data_kind == "real" and market.benchmark == BENCHMARK
    return known and market.sentiment.fingerprint == FINGERPRINT


def without_dropped(market: Market) -> Market:
    """Return the market without the prices of the symbols that the study left out: its selections, what it held."""
    prices = market.prices
    values = prices.values.copy()
    values[:, [prices.columns[symbol] for symbol in DROPPED if symbol in prices.columns]] = np.nan
    return replace(market, prices=replace(prices, values=values))


def figures(portfolio: float | None, benchmark: float | None, n_symbols: int) -> dict[str, Any]:
    """Return the four figures under the names that the published study gave them."""
    excess = None if portfolio is None or benchmark is None else portfolio - benchmark
    return {
        "total_portfolio_return": portfolio,
        "total_benchmark_return": benchmark,
        "excess_return": excess,
        "unique_stocks_analyzed": n_symbols,
    }


def reproduce(market: Market, executed: Sequence[Target]) -> dict[str, Any]:
    """Compound the mean log return of the symbols held as if it were a simple one: exp(sum(log1p(x))) - 1.

    Parameters
    ----------
    market
        Table and prices.
    executed
        The selections and their days, without lag.
    """
    if not executed:
        return figures(None, None, 0)
    prices = market.prices
    benchmark = prices.values[:, prices.columns[market.benchmark]]
    portfolio_days: list[Floats] = []
    benchmark_days: list[Floats] = []
    for target in executed:
        held = [
            column
            for symbol, column in zip(target.symbols, target.columns, strict=True)
            if symbol not in DROPPED and column >= 0
        ]
        rows = slice(target.slot.trade, target.slot.until + 1)
        log_returns = np.diff(np.log(prices.values[rows][:, held]), axis=0)
        known = ~np.isnan(log_returns)
        counts = known.sum(axis=1)
        portfolio_days.append(np.where(known, log_returns, 0.0).sum(axis=1) / np.maximum(counts, 1))
        benchmark_days.append(np.diff(np.log(benchmark[rows])))
    selected = {symbol for target in executed for symbol in target.symbols}
    return figures(_compound_wrongly(portfolio_days), _compound_wrongly(benchmark_days), len(selected))


def _compound_wrongly(parts: list[Floats]) -> float:
    return float(np.exp(np.log1p(np.concatenate(parts)).sum()) - 1.0)


def side_by_side(
    reproduced: Mapping[str, Any], corrected: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Put published, reproduced and corrected figures together; `corrected` maps a description to METHOD's summary of it."""
    by_label = {
        label: figures(summary["total_return"], summary["benchmark_total_return"], summary["n_symbols"])
        for label, summary in corrected.items()
    }
    label, first = next(iter(by_label.items()))
    shown = first | {"what": label, "variants": by_label}
    return {"published": dict(PUBLISHED), "reproduced": dict(reproduced), "corrected": shown}
