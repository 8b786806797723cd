"""From yfinance's frame to daily bars of finished sessions.

Enters: a frame as `Yahoo.history` returns it, the answer's metadata, the days that were asked for, the time. Leaves: one row
per calendar day of the exchange, and a note of every row left out. Values stay as Yahoo gives them, whatever they are.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

COLUMNS = ("open", "high", "low", "close", "adj_close", "volume", "dividends", "splits")

SETTLE_SECONDS = 15 * 60
"""A session counts as over this long after its regular close: Yahoo's prices lag by up to so much."""

_NAMES = {"Adj Close": "adj_close", "Stock Splits": "splits"}


@dataclass(frozen=True, slots=True)
class Note:
    """Rows of an answer that are no bars.

    kind : "no_close", a day without a closing price; "event_without_bar", such a day with a dividend or a split;
        "unfinished_session", the bar of a session that is not over.
    count, first, last : the number of rows, and the first and last of their days (ISO).
    reason : one sentence for people.
    """

    kind: str
    count: int
    first: str
    last: str
    reason: str


def no_bars() -> pd.DataFrame:
    """Return a table of bars without a row."""
    return pd.DataFrame({"date": np.empty(0, "datetime64[us]"), **dict.fromkeys(COLUMNS, np.empty(0))})


def tidy(
    frame: pd.DataFrame, metadata: Mapping[str, Any], first: dt.date, last: dt.date, now: float
) -> tuple[pd.DataFrame, tuple[Note, ...]]:
    """Return the bars of the finished sessions from `first` to `last`, both included.

    Parameters
    ----------
    frame
        Indexed by midnight in the exchange's time zone; yfinance's columns.
    metadata
        `exchangeTimezoneName` and `currentTradingPeriod`; without the latter a day is over when the next one begins.
    first, last
        Calendar days of the exchange.
    now
        Seconds since 1970, UTC.

    Returns
    -------
    tuple of DataFrame and tuple of Note
        Columns `date` (datetime64, midnight, without a time zone) and `COLUMNS` (float64), sorted, no day twice. `splits`
        is the ratio of new to old shares, 0 on other days. Yahoo's null is NaN, save for the volume, of which yfinance
        makes 0.
    """
    bars = frame.rename(columns=lambda name: _NAMES.get(name, str(name).lower()))[list(COLUMNS)].astype("float64")
    bars.insert(0, "date", pd.DatetimeIndex(frame.index).tz_localize(None).normalize().as_unit("us"))
    bars = bars.sort_values("date", ignore_index=True).drop_duplicates("date", keep="last", ignore_index=True)
    bars = bars[(bars["date"] >= pd.Timestamp(first)) & (bars["date"] <= pd.Timestamp(last))]
    running = (bars["date"] >= pd.Timestamp(first_unfinished_day(metadata, now))).to_numpy()
    empty = bars["close"].isna().to_numpy() & ~running
    event = empty & ((bars["dividends"] != 0) | (bars["splits"] != 0)).to_numpy()
    notes = (
        _note("no_close", bars, empty & ~event, "Yahoo has no closing price"),
        _note("event_without_bar", bars, event, "Yahoo has a dividend or a split and no closing price"),
        _note("unfinished_session", bars, running, "the session is not over"),
    )
    return bars[~empty & ~running].reset_index(drop=True), tuple(note for note in notes if note is not None)


def first_unfinished_day(metadata: Mapping[str, Any], now: float) -> dt.date:
    """Return the first calendar day of the exchange whose regular session is not over."""
    zone = ZoneInfo(str(metadata["exchangeTimezoneName"]))
    today = dt.datetime.fromtimestamp(now, zone).date()
    session = _current_session(metadata, zone)
    if session is None:
        return today
    start, end = session
    if now < end.timestamp() + SETTLE_SECONDS:
        return start.date()
    # Over. Of a later session nothing is known, so that its day counts as unfinished while it lasts.
    return today if start.date() < today else today + dt.timedelta(days=1)


def _current_session(metadata: Mapping[str, Any], zone: ZoneInfo) -> tuple[dt.datetime, dt.datetime] | None:
    """Return start and end of the regular session that the answer names, if it does."""
    try:
        regular = metadata["currentTradingPeriod"]["regular"]
        start, end = (_moment(regular[name], zone) for name in ("start", "end"))
    except (LookupError, TypeError, ValueError, OverflowError, OSError):
        return None
    return (start, end) if start < end else None


def _moment(value: Any, zone: ZoneInfo) -> dt.datetime:
    seconds = value.timestamp() if isinstance(value, dt.datetime) else float(value)
    return dt.datetime.fromtimestamp(seconds, zone)


def _note(kind: str, bars: pd.DataFrame, rows: npt.NDArray[np.bool_], reason: str) -> Note | None:
    days = bars["date"][rows]
    if days.empty:
        return None
    return Note(kind, len(days), f"{days.iloc[0]:%Y-%m-%d}", f"{days.iloc[-1]:%Y-%m-%d}", reason)
