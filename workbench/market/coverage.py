"""What the store has of a symbol, and what it must ask for: the record, the ranges, the rule.

Enters: a record, a range of days, the time. Leaves: the range to request, or none. Days are calendar days of the
exchange and ranges include both ends. Only days that are over are ever covered: the bar of a day that is not over is a
price that will change, so it is neither asked for nor stored.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import dataclass, fields
from typing import Any

RECHECK_DAYS = 7
"""For how long a source's answer that it does not have a symbol is believed."""

_EARLIEST, _LATEST = dt.timezone(dt.timedelta(hours=14)), dt.timezone(dt.timedelta(hours=-12))


@dataclass(frozen=True, order=True)
class DayRange:
    """The days from `first` to `last`, both included."""

    first: dt.date
    last: dt.date

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"

    def includes(self, other: DayRange) -> bool:
        """Tell whether the other range lies in this one."""
        return self.first <= other.first and other.last <= self.last

    def joined(self, other: DayRange | None) -> DayRange:
        """Return the shortest range that includes both."""
        return self if other is None else DayRange(min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True)
class Request:
    """One question to a source: the bars of a symbol on the days of a range, both ends included."""

    symbol: str
    days: DayRange


@dataclass(frozen=True)
class Coverage:
    """What the store has of one symbol: its manifest.

    status : "ok"; "missing", the source does not have it (any more); "damaged", its file was, and was set aside.
    reason : why, in one sentence; empty where the status is "ok".
    source, source_symbol : who delivered it, and under which name ("yfinance", "BRK-B").
    fetched_at : time of the last answer (UTC). whole_at : of the last one that was the whole history, which is the
        day as of which the prices are adjusted.
    covered : days that were asked for and were over then; the bars may be fewer (holidays, listed later, delisted).
    first, last, rows : days of the first and last bar, and the number of bars.
    overlap : the last day with a price, or an earlier one where there was an event: from it the next request starts.
    adjustment_factor : adj_close / close on the first day with a price: the adjustment basis.
    currency, exchange, timezone : as the source names them.
    sha256, size : of the Parquet file; empty and 0 where there is none.
    notes : rows of the answers that are no bars, (kind, count, first day, last day, reason) each.
    """

    symbol: str
    status: str
    reason: str = ""
    source: str = ""
    source_symbol: str = ""
    fetched_at: dt.datetime | None = None
    whole_at: dt.datetime | None = None
    covered: DayRange | None = None
    first: dt.date | None = None
    last: dt.date | None = None
    rows: int = 0
    overlap: dt.date | None = None
    adjustment_factor: float | None = None
    currency: str = ""
    exchange: str = ""
    timezone: str = ""
    sha256: str = ""
    size: int = 0
    notes: tuple[tuple[str, int, str, str, str], ...] = ()

    @property
    def has_bars(self) -> bool:
        """Whether there is a file with bars."""
        return bool(self.sha256)

    def reaches(self, day: dt.date) -> bool:
        """Tell whether the bars go on to a day, so that what the source says of later ones does not matter."""
        return self.last is not None and day <= self.last

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict, ready for JSON."""
        plain: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, DayRange):
                value = [value.first.isoformat(), value.last.isoformat()]
            plain[field.name] = value.isoformat() if isinstance(value, dt.date) else value
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Coverage:
        """Return the record that `to_dict` wrote."""
        read = dict(plain)
        for name in ("fetched_at", "whole_at"):
            read[name] = read[name] and dt.datetime.fromisoformat(read[name])
        for name in ("first", "last", "overlap"):
            read[name] = read[name] and dt.date.fromisoformat(read[name])
        read["notes"] = tuple(map(tuple, read.get("notes", ())))
        read["covered"] = read["covered"] and DayRange(*map(dt.date.fromisoformat, read["covered"]))
        return cls(**read)


def last_finished_day(now: dt.datetime, timezone: str, unknown: dt.tzinfo = _LATEST) -> dt.date:
    """Return the last calendar day that is over at an exchange.

    Parameters
    ----------
    now
        A time with a time zone.
    timezone
        The exchange's, such as "America/New_York".
    unknown
        What to take where that is no time zone: by default the place on earth where a day ends last.
    """
    try:
        zone: dt.tzinfo = zoneinfo.ZoneInfo(timezone) if timezone else unknown
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zone = unknown
    return now.astimezone(zone).date() - dt.timedelta(days=1)


def missing_range(coverage: Coverage | None, wanted: DayRange, now: dt.datetime) -> DayRange | None:
    """Return the days to request so that the store covers `wanted`, or None if it does.

    - Only days that are over are requested.
    - Later days are requested from the last stored day with a price on, or an earlier one (`Coverage.overlap`), so
      that its values show whether the history has been adjusted since.
    - Earlier days, and anything where no bars are stored (any more), mean the whole range that is wanted or was covered.
    - A symbol that the source does not have is asked for again after `RECHECK_DAYS`, or for days not asked for yet.
    """
    # Where the exchange is not known yet, ask for what may be over somewhere; what was not is left out on arrival.
    zone = coverage.timezone if coverage else ""
    last = min(wanted.last, last_finished_day(now, zone, _EARLIEST))
    if last < wanted.first:
        return None
    wanted = DayRange(wanted.first, last)
    if coverage is None or coverage.covered is None:
        return wanted
    if coverage.status == "damaged":
        return wanted.joined(coverage.covered)
    known = coverage.covered
    stale = coverage.status == "missing" and not coverage.reaches(wanted.last)
    if coverage.fetched_at is not None:
        stale &= now - coverage.fetched_at > dt.timedelta(days=RECHECK_DAYS)
    if known.includes(wanted) and not stale:
        return None
    whole = wanted.joined(known)
    if coverage.overlap is None or wanted.first < known.first:
        return whole
    return DayRange(coverage.overlap, whole.last)
