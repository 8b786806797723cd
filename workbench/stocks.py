"""What single symbols did: a few of METHOD's numbers for each, over the price days that the user bounds.

Enters: a price table on trading days. Leaves: numbers by symbol, and a loss for everything that is not there. A symbol's returns run from
its first to its last price within the bounds; on a day without a price in between it earns 0, and the next return is from the last
known price, as for a held symbol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.config import nearest
from workbench.core.metrics import return_metrics
from workbench.errors import ConfigError, DataError
from workbench.losses import Loss
from workbench.market.sentiment import parse_bound, show_bounds
from workbench.market.tables import PriceTable
from workbench.shown import html_rows, text_rows

NUMBERS = ("total_return", "annualized_volatility", "sharpe_ratio")


@dataclass(frozen=True)
class StocksResult:
    """Numbers by symbol, in the order asked for.

    stocks : symbol -> total_return, annualized_volatility, sharpe_ratio (None where undefined), n_days (daily returns), first_date and
        last_date (ISO days of the first and last price used, None where there is none).
    losses : symbols without prices; days without a price before a symbol's first one, after its last one, and between.
    """

    stocks: dict[str, dict[str, Any]]
    losses: tuple[Loss, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return both as plain values, ready for JSON."""
        return {"stocks": self.stocks, "losses": [loss.to_dict() for loss in self.losses]}

    def _shown(self) -> tuple[str, list[list[str]], tuple[str, ...]]:
        names = (*NUMBERS, "n_days", "first_date", "last_date")
        rows = [[symbol, *(_text(name, values[name]) for name in names)] for symbol, values in self.stocks.items()]
        lost = f"; left out: {len(self.losses)}, see losses" if self.losses else ""
        return f"{len(rows)} symbol{'' if len(rows) == 1 else 's'}{lost}", rows, ("symbol", *names)

    def __repr__(self) -> str:
        return text_rows(*self._shown())

    def _repr_html_(self) -> str:
        return html_rows(*self._shown())


def _text(name: str, value: Any) -> str:
    if value is None:
        return "undefined" if name in NUMBERS else ""
    if not isinstance(value, float):
        return str(value)
    if name == "sharpe_ratio":
        return f"{value:.2f}"
    return f"{100 * value:+.2f} %" if name == "total_return" else f"{100 * value:.2f} %"


def analyze_stocks(
    prices: PriceTable, symbols: Sequence[str], start: str | None = None, end: str | None = None
) -> StocksResult:
    """Compute the numbers of each symbol.

    Parameters
    ----------
    prices
        Trading days only.
    symbols
        Compared exactly as written; repeated ones count once.
    start, end
        ISO days that bound the price days used, both included.

    Raises
    ------
    ConfigError
        `start` or `end` is not an ISO day, or `start` lies after `end`.
    DataError
        No symbol has prices, or no trading day lies within the bounds.
    """
    first, last = parse_bound("start", start), parse_bound("end", end)
    if first is not None and last is not None and first > last:
        raise ConfigError(f"start must not lie after end, got start {first} and end {last}; swap them")
    wanted = list(dict.fromkeys(symbols))
    if not any(symbol in prices.columns for symbol in wanted):
        hints = "".join(nearest(wanted[0], prices.symbols)) if wanted else ""
        raise DataError(
            f"symbols must have prices in {prices.source.name}, got none for {', '.join(wanted)}{hints}; "
            f"its symbols begin {', '.join(prices.symbols[:5])}"
        )
    low = 0 if first is None else int(np.searchsorted(prices.days, np.datetime64(first)))
    high = len(prices.days) if last is None else int(np.searchsorted(prices.days, np.datetime64(last), side="right"))
    if low >= high:
        raise DataError(
            f"{prices.source.name}: must have trading days from start to end, got {show_bounds(first, last)}; "
            f"its days run from {prices.days[0]} to {prices.days[-1]}"
        )
    losses: list[Loss] = []
    found = {symbol: _numbers(prices, symbol, slice(low, high), losses) for symbol in wanted}
    known = [loss for loss in prices.losses if loss.symbol in found]
    # The source's own reason says more than that the table lacks the symbol.
    named = {loss.symbol for loss in known if loss.kind == "not_priced"}
    own = [loss for loss in losses if not (loss.kind == "no_prices" and loss.symbol in named)]
    return StocksResult(found, (*known, *own))


def _numbers(prices: PriceTable, symbol: str, rows: slice, losses: list[Loss]) -> dict[str, Any]:
    column = prices.columns.get(symbol)
    values = prices.values[rows, column] if column is not None else np.empty(0)
    known = np.flatnonzero(~np.isnan(values))
    days = prices.days[rows]
    if not len(known):
        where = "the price table has no such symbol" if column is None else "no price within start and end"
        hint = nearest(symbol, prices.symbols) if column is None else ""
        losses.append(Loss("no_prices", None, symbol, 0, None, None, where + hint))
        return dict.fromkeys(NUMBERS) | {"n_days": 0, "first_date": None, "last_date": None}
    missing = np.flatnonzero(np.isnan(values))
    before, after = missing < known[0], missing > known[-1]
    for kind, gone, reason in (
        ("late_start", missing[before], "its prices start late: less time is covered"),
        ("early_end", missing[after], "its prices end early: less time is covered"),
        ("price_gap", missing[~before & ~after], "no price on these days: earns 0 until one returns"),
    ):
        if len(gone):
            losses.append(Loss(kind, None, symbol, len(gone), str(days[gone[0]]), str(days[gone[-1]]), reason))
    span = values[known[0] : known[-1] + 1]
    filled = span[np.maximum.accumulate(np.where(np.isnan(span), 0, np.arange(len(span))))]
    returns = filled[1:] / filled[:-1] - 1.0
    metrics = return_metrics(returns)
    return {name: metrics[name] for name in NUMBERS} | {
        "n_days": len(returns),
        "first_date": str(days[known[0]]),
        "last_date": str(days[known[-1]]),
    }
