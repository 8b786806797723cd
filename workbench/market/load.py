"""load_market: from what the user named to the market that a study runs on.

Enters: a sentiment table and prices, as names or frames. Leaves: a `Market` whose prices hold trading days only,
whose sentiment rows lie within start..end, and which says whether it is real, simulated or mixed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.config import nearest
from workbench.errors import DataError
from workbench.losses import Loss
from workbench.market.files import show
from workbench.market.prices import PriceSource, SimulatedSource, price_source
from workbench.market.sentiment import parse_bound, parse_columns, read_sentiment, within
from workbench.market.tables import Market, PriceTable, SentimentTable, Wanted

DEFAULT_BENCHMARK = "QQQ"
SIMULATED_BENCHMARK = "SIMIDX"
DEFAULT_DAYS = 5 * 365
"""How far back prices are asked for where nothing says from when on."""
HISTORY_DAYS = 400
"""How many days before a table's first row prices are asked for: look-backs of up to a year."""

_SIMULATED = re.compile(r"SIM\d{3}|SIMIDX", re.ASCII)


def load_market(
    sentiment: str | Path | pd.DataFrame = "sentiment_data.csv",
    prices: str | Path | pd.DataFrame | PriceSource | None = None,
    benchmark: str = DEFAULT_BENCHMARK,
    start: str | dt.date | None = None,
    end: str | dt.date | None = None,
    columns: Mapping[str, str] | str | None = None,
    allow_mixed: bool = False,
) -> Market:
    """Load a sentiment table and the prices to trade it on.

    Parameters
    ----------
    sentiment
        A CSV, CSV.gz or Parquet file, an `http(s)://` address or a DataFrame; see `read_sentiment`.
    prices
        The same, long or wide, or a keyword (`simulated`), or a `PriceSource`. None means `simulated` for a simulated
        table; for any other it must be given.
    benchmark
        A symbol of the prices. The days on which it has a price are the trading days. The default, QQQ, gives way to
        SIMIDX where the prices are simulated and have no QQQ.
    start, end
        ISO days that bound the sentiment rows used, both included; prices are not cut.
    columns
        METHOD's column names to those of the sentiment table, as a mapping or as the text of `parse_columns`; see
        `read_sentiment`.
    allow_mixed
        Accept simulated data on one side only. The market's `data_kind` is then "mixed".

    Returns
    -------
    Market
        Its `losses` are those of both tables: rows dropped, rows out of bounds, prices on days that are no trading
        days.

    Raises
    ------
    DataError
        A table breaks a rule, the benchmark is not in the prices, the dates do not overlap, or simulated data meet
        real ones.
    ConfigError
        `start`, `end` or `columns` is wrong.
    UnavailableError
        An address does not deliver.
    """
    if isinstance(columns, str):
        columns = parse_columns(columns) if columns else None
    whole = read_sentiment(sentiment, columns)
    table = within(whole, start, end)
    origin = prices if prices is not None else _default_prices(whole)
    if isinstance(origin, str) and origin == "yfinance" and is_simulated(whole.symbols):
        raise DataError(
            f"prices of {show(whole.source.name, 200)}, whose symbols are simulated, must be simulated too, got yfinance; "
            "leave --prices out"
        )
    bars = price_source(origin).load(_wanted(table, benchmark))
    data_kind = _data_kind(whole, bars, allow_mixed)
    benchmark = _benchmark(bars, benchmark)
    bars = _trading_days_only(bars, benchmark)
    _check_overlap(table, bars)
    first, last = (parse_bound(field, bound) for field, bound in (("start", start), ("end", end)))
    return Market(
        sentiment=table,
        prices=bars,
        benchmark=benchmark,
        data_kind=data_kind,
        start=None if first is None else first.isoformat(),
        end=None if last is None else last.isoformat(),
        losses=table.losses + bars.losses,
        columns=columns,
    )


def load_prices(
    prices: str | Path | pd.DataFrame | PriceSource,
    benchmark: str = DEFAULT_BENCHMARK,
    wanted: Wanted | None = None,
) -> tuple[PriceTable, str]:
    """Load prices without a sentiment table.

    Parameters
    ----------
    prices, benchmark
        As in `load_market`.
    wanted
        What to ask for, where the prices have to be asked for.

    Returns
    -------
    tuple of PriceTable and str
        The prices on trading days, and the symbol of the benchmark that defines these.

    Raises
    ------
    DataError
        The table breaks a rule, or the benchmark is not in it.
    UnavailableError
        An address does not deliver.
    """
    bars = price_source(prices).load(wanted)
    benchmark = _benchmark(bars, benchmark)
    return _trading_days_only(bars, benchmark), benchmark


def _wanted(table: SentimentTable, benchmark: str) -> Wanted:
    """Return what a table needs: its symbols, from a look-back before its first row to today."""
    first = table.days[0].item() - dt.timedelta(days=HISTORY_DAYS)
    return Wanted(table.symbols, benchmark, first, dt.datetime.now(dt.UTC).date())


def wanted_prices(symbols: Sequence[str], benchmark: str, bounds: Mapping[str, Any]) -> Wanted:
    """Return what is wanted without a sentiment table: symbols, within `start` and `end` of `bounds`; five years by default."""
    today = dt.datetime.now(dt.UTC).date()
    first, last = (parse_bound(field, bounds.get(field)) for field in ("start", "end"))
    last = min(last or today, today)
    return Wanted(tuple(symbols), benchmark, first or last - dt.timedelta(days=DEFAULT_DAYS), last)


def is_simulated(symbols: tuple[str, ...]) -> bool:
    """Tell whether any of the symbols is a simulated one: SIM and three digits, or SIMIDX."""
    return any(_SIMULATED.fullmatch(symbol) for symbol in symbols)


def _default_prices(table: SentimentTable) -> PriceSource:
    if not is_simulated(table.symbols):
        raise DataError(
            f"prices must be given for {show(table.source.name, 200)}, whose symbols are not simulated; "
            "give --prices FILE with their adjusted closes"
        )
    return SimulatedSource()


def _data_kind(table: SentimentTable, prices: PriceTable, allow_mixed: bool) -> str:
    simulated = is_simulated(table.symbols)
    if simulated == is_simulated(prices.symbols):
        return "simulated" if simulated else "real"
    if allow_mixed:
        return "mixed"
    made_up, genuine = ("sentiment", "prices") if simulated else ("prices", "sentiment")
    names = {"sentiment": show(table.source.name, 200), "prices": show(prices.source.name, 200)}
    which = "" if names[made_up] == "simulated" else f" {names[made_up]}"
    raise DataError(
        f"sentiment and prices must both be simulated or both not, got simulated {made_up}{which} with {genuine} "
        f"{names[genuine]}; give tables that belong together, or --allow-mixed-data"
    )


def _benchmark(prices: PriceTable, benchmark: str) -> str:
    if benchmark == DEFAULT_BENCHMARK and benchmark not in prices.columns and is_simulated(prices.symbols):
        benchmark = SIMULATED_BENCHMARK
    if benchmark not in prices.columns:
        hint = nearest(benchmark, prices.symbols) or f"; its symbols begin {', '.join(map(show, prices.symbols[:5]))}"
        raise DataError(
            f"{show(prices.source.name, 200)}: must have prices of the benchmark, got none of {show(benchmark)}{hint}; "
            "name another with --benchmark"
        )
    return benchmark


def _trading_days_only(prices: PriceTable, benchmark: str) -> PriceTable:
    """Drop the days on which the benchmark has no price, and count the prices lost with them."""
    trading = ~np.isnan(prices.values[:, prices.columns[benchmark]])
    if trading.all():
        return prices
    if not trading.any():
        raise DataError(
            f"{show(prices.source.name, 200)}: must have prices of the benchmark, got only empty cells for "
            f"{show(benchmark)}; name another with --benchmark"
        )
    lost = ~np.isnan(prices.values[~trading])
    days = prices.days[~trading][lost.any(axis=1)]
    losses = prices.losses
    if len(days):
        reason = f"prices on {len(days)} days on which {benchmark} has none"
        losses += (Loss("off_calendar_price", None, None, int(lost.sum()), str(days[0]), str(days[-1]), reason),)
    return PriceTable(prices.days[trading], prices.symbols, prices.values[trading], prices.source, losses)


def _check_overlap(table: SentimentTable, prices: PriceTable) -> None:
    # The longest rebalance period is a quarter: with the last one's end in the prices there is something to trade.
    month = table.days[-1].astype("datetime64[M]").astype(np.int64)
    quarter_after = np.datetime64(int(month // 3 + 1) * 3, "M").astype("datetime64[D]")
    if prices.days[-1] < table.days[0] or prices.days[0] >= quarter_after:
        raise DataError(
            f"{show(prices.source.name, 200)}: must have prices in the time of the sentiment table, got days from "
            f"{prices.days[0]} to {prices.days[-1]}; its dates run from {table.days[0]} to {table.days[-1]}; "
            "give prices or bounds that overlap"
        )
