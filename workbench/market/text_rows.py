"""What the cells of a post mean: its day, its symbol, its counts.

Enters: the cells of a row, text or typed. Leaves: a `Post`, or a `Bad` that says which rule the first wrong cell breaks.

The day of a `date` is that day. The day of a `timestamp` is the one on which the clock of `timezone` shows it, or the one after it
where the clock is past `cutoff`: so all posts of day d were known at the cutoff of d. A time stamp with an offset is converted; one
without is the time on that clock already, so that the hour which a change of the clocks repeats or leaves out needs no rule. Times
count to the microsecond; `T24:00` is midnight at the end of the day.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from workbench.config import nearest
from workbench.errors import ConfigError
from workbench.market.cells import Fault, parse_day, parse_number, symbol_fault, year_fault
from workbench.market.files import show
from workbench.market.text_layout import PostLayout

TIMEZONE, CUTOFF = "America/New_York", "16:00"
MOST = 10**12
"""The largest count of one post. What is beyond it is a slip."""

Cells = Sequence[Any]
"""Day, symbol, text, comments, likes, impressions: text as in a file of text; else a date, a datetime or the `Fault` of a day that is
none, and numbers; None for an empty cell."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d)(:\d\d(?::\d\d(?:[.,]\d+)?)?) ?(Z|UTC|[+-]\d\d(?::?\d\d)?)?", re.ASCII)
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?|24:00(?::00)?", re.ASCII)
_ONE_DAY = dt.timedelta(days=1)
_OFFSETS = {None: "", "UTC": "Z"}
_SHORT = len(str(MOST)) - 1
_NO_STAMP = Fault("be a time stamp such as 2023-01-31T15:59:00-05:00", "")
_NO_TIME = Fault("be a time that there is", "")
_NO_COUNT = Fault(f"be a whole number from 0 to {MOST:,}", "")


class Bad(NamedTuple):
    """Why a row is left out: the rule, beginning with the column, and the value got."""

    reason: str
    got: str


def not_utf8(byte: int) -> Bad:
    """Return what is wrong with a row that holds a byte which is not UTF-8."""
    return Bad("a row must be UTF-8 text", f"the byte 0x{byte:02x}")


class Post(NamedTuple):
    """One post: the ordinal of its day, its symbol and text, the counts in the order of `COUNTS` (None where the cell is empty)."""

    day: int
    symbol: str
    text: str
    counts: tuple[int | None, ...]


@dataclass(frozen=True)
class Clock:
    """Whose clock tells the day of a time stamp, and after which time it counts for the next; None for never."""

    timezone: str
    cutoff: dt.time | None


def clock_of(timezone: str | None, cutoff: str | None, layout: PostLayout) -> Clock:
    """Return the clock that the user chose, by default New York's and the close of its exchanges.

    Raises
    ------
    ConfigError
        There is no such zone, the cutoff is no time of day, or one of them is given for posts that have a date and no time.
    """
    for field, value in (("timezone", timezone), ("cutoff", cutoff)):
        if value is not None and not layout.timed:
            raise ConfigError(
                f"{field} must only be given for posts with a timestamp, got {show(value)!r}; these have a date, which is taken as it is"
            )
    timezone, cutoff = timezone or TIMEZONE, cutoff or CUTOFF
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError, LookupError):
        hint = nearest(timezone, sorted(available_timezones()))
        raise ConfigError(f"timezone must be a name such as {TIMEZONE}, got {show(timezone)!r}{hint}") from None
    match = _CLOCK.fullmatch(cutoff)
    if match is None:
        raise ConfigError(f"cutoff must be a time of day from 00:00 to 24:00, got {show(cutoff)!r}; write it as HH:MM")
    return Clock(timezone, dt.time.fromisoformat(cutoff) if match[1] else None)


class RowReader:
    """Reads the rows of one file.

    Parameters
    ----------
    layout
        Its columns.
    clock
        How time stamps become days.
    """

    def __init__(self, layout: PostLayout, clock: Clock) -> None:
        self._names = tuple(show(name) for name in layout.columns)
        self._timed, self._cutoff, self._zone = layout.timed, clock.cutoff, ZoneInfo(clock.timezone)

    def read(self, cells: Cells) -> Post | Bad:
        """Return what a row says, or what is wrong with it."""
        when, symbol, text = cells[:3]
        day = self._clock_day(when) if self._timed else _plain_day(when)
        if isinstance(day, Fault):
            return self._bad(0, day, when)
        fault = _symbol_fault(symbol or "")
        if fault is not None:
            return self._bad(1, fault, symbol)
        counts = []
        for place, cell in enumerate(cells[3:], 3):
            count = _count(cell)
            if isinstance(count, Fault):
                return self._bad(place, count, cell)
            counts.append(count)
        return Post(day, symbol, text or "", tuple(counts))

    def _bad(self, place: int, fault: Fault, got: object) -> Bad:
        shown = "" if got is None or isinstance(got, Fault) else show(got, 60)
        return Bad(f"{self._names[place]} must {fault.rule}", shown)

    def _clock_day(self, when: object) -> int | Fault:
        """Return the ordinal of the day on which a time stamp counts."""
        stamp = _parse_stamp(when) if isinstance(when, str) else when
        if not isinstance(stamp, dt.datetime):
            return stamp if isinstance(stamp, Fault) else _NO_STAMP
        # Years at the ends of the calendar cannot be converted, so the check comes before that, and again after it.
        if fault := year_fault(stamp.year):
            return fault
        if stamp.tzinfo is not None:
            stamp = stamp.astimezone(self._zone)
        if self._cutoff is not None and stamp.time() > self._cutoff:
            stamp += _ONE_DAY
        return year_fault(stamp.year) or stamp.toordinal()


def _parse_stamp(text: str) -> dt.datetime | Fault:
    match = _STAMP.fullmatch(text.strip(" \t"))
    if match is None:
        return _NO_STAMP
    day, hour, rest, zone = match.groups()
    try:
        if hour != "24":
            return dt.datetime.fromisoformat(f"{day}T{hour}{rest}{_OFFSETS.get(zone, zone)}")
        midnight = dt.datetime.fromisoformat(f"{day}T00{rest}{_OFFSETS.get(zone, zone)}")
        return _NO_TIME if midnight.time() != dt.time() else midnight + _ONE_DAY
    except (ValueError, OverflowError):
        return _NO_TIME


@functools.lru_cache(maxsize=4096)
def _plain_day(when: object) -> int | Fault:
    """Return the ordinal of a day that is given as one."""
    if isinstance(when, dt.datetime) and when.time() != dt.time():
        return Fault("be a day without a time", "")
    if isinstance(when, dt.date):
        return year_fault(when.year) or when.toordinal()
    day = when if isinstance(when, Fault) else parse_day(when if isinstance(when, str) else "")
    return day if isinstance(day, Fault) else day.toordinal()


_symbol_fault = functools.lru_cache(maxsize=4096)(symbol_fault)


def _count(cell: Any) -> int | Fault | None:
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        if cell.isascii() and cell.isdecimal() and len(cell) <= _SHORT:
            return int(cell)
        cell = parse_number(cell, "count")
        if isinstance(cell, Fault):
            return cell
    elif math.isnan(cell):
        return None
    return int(cell) if 0 <= cell <= MOST and cell == int(cell) else _NO_COUNT
