"""What is wrong with bars as they arrived: listed, never repaired.

Enters: the bars of a symbol, the exchange they come from, the days that were asked for. Leaves: `Loss` records, one per
kind, each with the number of days, the first and last of them, and a sentence. Whether a day without a bar is a gap is
decided by the exchange's calendar, so that a holiday is none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from workbench.losses import Loss
from workbench.market.bars import Bars
from workbench.market.coverage import DayRange
from workbench.market.tables import Days

LARGE_MOVE = 0.4
STALE_RUN = 5
UNADJUSTED = 0.1
"""How near to a split's ratio a move must be to be that of the split itself."""
DEFAULT_CALENDAR = "XNYS"

# Yahoo's codes of exchanges and the calendars of exchange_calendars; all US exchanges share one.
_CALENDARS = {
    **dict.fromkeys(
        ("NMS", "NGM", "NCM", "NAS", "NYQ", "NYS", "PCX", "ASE", "BTS", "CBO", "PNK", "OQB", "OQX"), "XNYS"
    ),
    **{"SNP": "XNYS", "DJI": "XNYS", "NIM": "XNYS", "WCB": "XNYS", "NYSE": "XNYS", "NASDAQ": "XNYS"},
    **{"LSE": "XLON", "IOB": "XLON", "FGI": "XLON", "GER": "XETR", "FRA": "XFRA", "PAR": "XPAR", "AMS": "XAMS"},
    **{"BRU": "XBRU", "LIS": "XLIS", "MIL": "XMIL", "MCE": "XMAD", "EBS": "XSWX", "VIE": "XWBO", "STO": "XSTO"},
    **{"CPH": "XCSE", "HEL": "XHEL", "OSL": "XOSL", "TOR": "XTSE", "VAN": "XTSE", "JPX": "XTKS", "HKG": "XHKG"},
    **{"ASX": "XASX", "NSI": "XBOM", "BSE": "XBOM", "KSC": "XKRX", "KOE": "XKRX", "TAI": "XTAI", "SES": "XSES"},
    **{"SAO": "BVMF", "MEX": "XMEX", "SHH": "XSHG", "SHZ": "XSHG", "TLV": "XTAE", "JNB": "XJSE", "CCC": "24/7"},
}

_ROUNDING = 1e-6  # sources round prices to 32-bit floats, each for itself


def check_bars(symbol: str, bars: Bars, exchange: str = "", asked: DayRange | None = None) -> list[Loss]:
    """Return everything that is wrong with the bars of a symbol.

    Parameters
    ----------
    symbol, bars
        Whose they are.
    exchange
        The source's code of its exchange, for the calendar; see `calendar_of`.
    asked
        The days that the bars should cover; by default the first to the last bar.

    Returns
    -------
    list of Loss
        Kinds `no_calendar`, `missing_trading_day` (up to three: before the first bar, between, after the last), `bad_price`,
        `inconsistent_bar`, `flat_bar`, `stale_price` and `large_move`; empty if all is well.
    """
    found = list(missing_days(symbol, bars, exchange, asked))
    if calendar_of(exchange) is None:
        reason = f"no calendar is known for the exchange {exchange}: missing days cannot be told from holidays"
        found.append(Loss("no_calendar", None, symbol, len(bars), None, None, reason))
    for check in (_bad, _inconsistent, _flat, _stale, _moved):
        found += check(symbol, bars)
    return found


def calendar_of(exchange: str) -> str | None:
    """Return the name of an exchange's calendar: XNYS where the code is empty, None where it is not known."""
    return _CALENDARS.get(exchange.upper()) if exchange else DEFAULT_CALENDAR


def sessions(calendar: str, days: DayRange) -> Days:
    """Return the trading days of a calendar within a range, as datetime64[D]."""
    found = _sessions(calendar, days.first.year, days.last.year)
    first, last = np.datetime64(days.first, "D"), np.datetime64(days.last, "D")
    return found[(found >= first) & (found <= last)]


@functools.lru_cache(maxsize=32)
def _sessions(calendar: str, first_year: int, last_year: int) -> Days:
    # Costs a second of import, and a tenth of a second for each calendar, whatever its length.
    import exchange_calendars  # type: ignore[import-untyped]

    # Both bounds are given: the default calendar ends a year after today, and so would depend on the clock.
    built = exchange_calendars.get_calendar(calendar, start=f"{first_year}-01-01", end=f"{last_year}-12-31")
    found: Days = built.sessions.to_numpy().astype("datetime64[D]")
    return found


def missing_days(symbol: str, bars: Bars, exchange: str = "", asked: DayRange | None = None) -> Iterator[Loss]:
    """Yield the trading days without a bar: before the first, between, and after the last; see `check_bars`.

    Where the exchange has no known calendar nothing is yielded.
    """
    calendar = calendar_of(exchange)
    if calendar is None or (asked is None and not len(bars)):
        return
    days = asked or DayRange(bars.days[0].item(), bars.days[-1].item())
    trading = sessions(calendar, days)
    if not len(bars):
        yield from _losses("missing_trading_day", symbol, trading, f"it has no bars at all ({calendar})")
        return
    first, last = bars.days[0], bars.days[-1]
    inside = trading[(trading > first) & (trading < last)]
    gaps = inside[np.isin(inside, bars.days, invert=True)]
    early, late = trading[trading < first], trading[trading > last]
    yield from _losses("missing_trading_day", symbol, early, f"its bars begin on {first} ({calendar})")
    yield from _losses("missing_trading_day", symbol, gaps, f"trading days of {calendar} without a bar")
    yield from _losses("missing_trading_day", symbol, late, f"its bars end on {last} ({calendar})")


def _bad(symbol: str, bars: Bars) -> Iterator[Loss]:
    prices = bars.values[:, :5]
    bad = (~((prices > 0) & (prices < np.inf)) & ~np.isnan(prices)).any(axis=1)
    yield from _losses("bad_price", symbol, bars.days[bad], "a price is zero, negative or infinite")


def _inconsistent(symbol: str, bars: Bars) -> Iterator[Loss]:
    opened, high, low, close = bars.values[:, :4].T
    with np.errstate(invalid="ignore"):
        bad = (np.fmax(np.fmax(opened, close), low) > high + _ROUNDING * np.abs(high)) | (
            np.fmin(opened, close) < low - _ROUNDING * np.abs(low)
        )
    yield from _losses("inconsistent_bar", symbol, bars.days[bad], "high and low do not enclose the other prices")
    unadjusted = ~np.isnan(close) & np.isnan(bars.column("adj_close"))
    yield from _losses("inconsistent_bar", symbol, bars.days[unadjusted], "no adjusted close beside a close: no price")


def _flat(symbol: str, bars: Bars) -> Iterator[Loss]:
    prices = bars.values[:, :4]
    flat = (bars.column("volume") == 0) & (prices == prices[:, :1]).all(axis=1)
    yield from _losses("flat_bar", symbol, bars.days[flat], "no volume, and open, high, low and close are equal")


def _stale(symbol: str, bars: Bars) -> Iterator[Loss]:
    close = bars.column("close")
    if not len(close):
        return
    starts = np.flatnonzero(np.r_[True, close[1:] != close[:-1]])
    lengths = np.diff(np.r_[starts, len(close)])
    stale = np.repeat(lengths >= STALE_RUN, lengths)
    runs, longest = int((lengths >= STALE_RUN).sum()), int(lengths.max())
    reason = f"runs of {STALE_RUN} or more equal closes: {runs}, the longest of {longest}"
    yield from _losses("stale_price", symbol, bars.days[stale], reason)


def _moved(symbol: str, bars: Bars) -> Iterator[Loss]:
    """Returns are made of the adjusted close, so that is what is looked at: a missed split moves it, a dividend does not."""
    priced = bars[bars.priced]
    adjusted, splits = priced.column("adj_close"), priced.column("splits")
    split = (splits[1:] != 0) & (splits[1:] != 1) & ~np.isnan(splits[1:])
    with np.errstate(over="ignore", invalid="ignore"):  # garbage is reported, not warned of
        move = adjusted[1:] / adjusted[:-1] - 1
        # An adjusted close does not move with a split, unless the days before it have not been adjusted for it.
        unadjusted = split & (np.abs((1 + move) * splits[1:] - 1) < UNADJUSTED)
    large = np.abs(move) > LARGE_MOVE
    reason = "the move of a split: the days before it are not adjusted for it"
    yield from _losses("large_move", symbol, priced.days[1:][large & unadjusted], reason)
    found = large & ~split
    if found.any():
        place = int(np.argmax(np.where(found, np.abs(move), 0)))
        reason = f"moves of more than {LARGE_MOVE:.0%} without a split, the largest of {move[place]:+.1%} on {priced.days[1:][place]}"
        yield from _losses("large_move", symbol, priced.days[1:][found], reason)


def _losses(kind: str, symbol: str, days: npt.NDArray[np.datetime64], reason: str) -> Iterator[Loss]:
    if len(days):
        yield Loss(kind, None, symbol, len(days), str(days[0]), str(days[-1]), reason)
