"""New bars and stored ones: append, replace, or ask for the whole history.

Enters: what is stored, what has arrived, and the days that were asked for. Leaves: the store with the bars in it, or
the range to ask for instead. A source that adjusts prices rewrites the past with every dividend and split, so what has
arrived is only appended where it agrees with what is stored on the days that both have; nothing is ever spliced.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from dataclasses import dataclass, replace

import numpy as np

from workbench.market.bars import PRICES, Bars, decode, encode
from workbench.market.coverage import Coverage, DayRange, last_finished_day
from workbench.market.durable import sha256, write_document
from workbench.market.shelf import Shelf

TOLERANCE = 1e-6
"""How far, relative, a stored price may be from the same one fetched again."""

EVENT_ROWS = 10
"""How long after a dividend or split the days before it are compared: a source may adjust them some days late."""

# A dividend that the source learns of late, on the very day that is compared, moves earlier days only: this shows it.
_EVENTS = ("dividends", "splits")


Notes = tuple[tuple[str, int, str, str, str], ...]


@dataclass(frozen=True)
class Origin:
    """Who delivered bars, under which name, and what the source says of the symbol."""

    source: str = ""
    source_symbol: str = ""
    currency: str = ""
    exchange: str = ""
    timezone: str = ""


@dataclass(frozen=True)
class Merged:
    """What is to become of bars that have arrived.

    action : "stored" (the first ones), "appended", "unchanged" (no new day), "refetched" (the whole history replaced),
        "refetch_whole" (nothing is stored; ask for `request`), "kept" (nothing is stored, as days would be lost) or
        "missing" (there were none).
    bars : what to store, or None.
    """

    action: str
    bars: Bars | None = None
    request: DayRange | None = None
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of bars that arrived.

    action : as in `Merged`.
    reason : why the whole history is needed, or what is notable; may be empty.
    request : the days to ask for, where the action is "refetch_whole".
    coverage : the symbol's record now.
    dropped : bars left out: on days not asked for, or not over when they were fetched.
    """

    action: str
    reason: str
    request: DayRange | None
    coverage: Coverage | None
    dropped: int


def within(bars: Bars, days: DayRange) -> Bars:
    """Return the bars on the days of a range."""
    first, last = np.datetime64(days.first, "D"), np.datetime64(days.last, "D")
    return bars[(bars.days >= first) & (bars.days <= last)]


def merge(
    known: Coverage | None, stored: Bars | None, arrived: Bars, asked: DayRange, origin: Origin, may_lose: bool = False
) -> Merged:
    """Decide what becomes of bars that have arrived.

    Parameters
    ----------
    known, stored
        The record and the bars of the symbol; None where there are none.
    arrived
        Bars on days of `asked` only.
    asked
        The days that were asked for.
    origin
        What the source says of the symbol.
    may_lose
        Let the arrived history replace the stored one although it lacks days of it.
    """
    if known is None or stored is None or known.covered is None:
        return Merged("stored", arrived) if len(arrived) else Merged("missing", reason="the source has no bars of it")
    whole = asked.joined(known.covered)
    if asked == whole:
        if not len(arrived):
            return Merged("missing", reason="the source has no bars of it any more; those stored are kept")
        gone = int(np.isin(stored.days, arrived.days, invert=True).sum())
        if gone and not may_lose:
            reason = f"its history lacks {gone} days that are stored; those are kept, and --refresh replaces them"
            return Merged("kept", reason=reason)
        return Merged("refetched", arrived, reason=f"stored days that are not in it any more: {gone}" if gone else "")
    reason = _moved(known, stored, arrived, asked, origin)
    if reason:
        return Merged("refetch_whole", request=whole, reason=reason)
    before = stored[stored.days < np.datetime64(asked.first, "D")]
    both = Bars(np.concatenate([before.days, arrived.days]), np.concatenate([before.values, arrived.values]))
    return Merged("appended" if len(both) > len(stored) else "unchanged", both)


def _moved(known: Coverage, stored: Bars, arrived: Bars, asked: DayRange, origin: Origin) -> str:
    """Return why the arrived bars do not continue the stored ones; empty if they do."""
    if origin.currency and known.currency and origin.currency != known.currency:
        return f"the currency was {known.currency} and is {origin.currency}"
    if known.overlap is None or not asked.first <= known.overlap or asked.last < stored.days[-1]:
        return "the days asked for do not overlap the last stored price"
    old = stored[stored.days >= np.datetime64(asked.first, "D")]
    new = arrived[: len(old)]
    if not np.array_equal(old.days, new.days):
        return f"the source's days from {asked.first} on are not the stored ones any more"
    for name in (*PRICES, *_EVENTS):
        before, now = old.column(name), new.column(name)
        scale = np.fmax(np.abs(before), np.abs(now))
        with np.errstate(invalid="ignore"):
            same = (before == now) | (np.abs(before - now) <= TOLERANCE * scale) & np.isfinite(scale)
        same |= np.isnan(before) & np.isnan(now)
        if not same.all():
            row = int(np.argmin(same))
            return f"{name} of {old.days[row]} was {before[row]:.10g} and is {now[row]:.10g}"
    return ""


def described(new: Coverage, known: Coverage, bars: Bars, origin: Origin) -> Coverage:
    """Return a record with the fields that bars and their origin give; what the origin leaves out is as in `known`."""
    priced = np.flatnonzero(bars.priced)
    factor = None
    if len(priced):
        factor = float(bars.column("adj_close")[priced[0]] / bars.column("close")[priced[0]])
    return replace(
        new,
        source=origin.source or known.source,
        source_symbol=origin.source_symbol or known.source_symbol,
        currency=origin.currency or known.currency,
        exchange=origin.exchange or known.exchange,
        timezone=origin.timezone or known.timezone,
        first=bars.days[0].item(),
        last=bars.days[-1].item(),
        rows=len(bars),
        overlap=_overlap(bars),
        adjustment_factor=factor,
    )


def _overlap(bars: Bars) -> dt.date | None:
    """Return the last day with a price, or with recent events the last one before the first of these."""
    priced = np.flatnonzero(bars.priced)
    if not len(priced):
        return None
    events = np.flatnonzero((np.nan_to_num(bars.values[:, -2:]) != 0).any(axis=1))  # dividends, splits
    recent = events[events >= len(bars) - EVENT_ROWS]
    row = priced[-1]
    if len(recent):
        before = priced[priced < recent[0]]
        row = before[-1] if len(before) else priced[0]
    day: dt.date = bars.days[row].item()
    return day


def update(
    shelf: Shelf,
    symbol: str,
    bars: Bars,
    asked: DayRange,
    origin: Origin,
    fetched_at: dt.datetime,
    may_lose: bool = False,
    notes: Notes = (),
) -> Outcome:
    """Store bars that have arrived, unless they show that the stored history has changed.

    Parameters
    ----------
    shelf, symbol
        Where to, and whose bars they are.
    bars
        What the source has on the days of `asked`.
    asked
        A range that begins on the record's `overlap` day, or includes all that is covered.
    origin
        What the source says of the symbol.
    fetched_at
        When the request was sent: days that were not over then are left out, and are not covered.
    may_lose
        Let a whole history replace the stored one although stored days are not in it any more.
    notes
        Rows of the answer that are no bars; see `Coverage.notes`.

    Raises
    ------
    UnavailableError
        The file cannot be written (the disk is full): what was stored before is whole.
    """
    with shelf.holding(symbol):
        known, data = shelf.checked(symbol)
        finished = last_finished_day(fetched_at, origin.timezone or (known.timezone if known else ""))
        days = DayRange(asked.first, min(asked.last, finished))
        arrived = within(bars, days)
        merged = merge(known, decode(data) if data else None, arrived, asked, origin, may_lose)
        dropped = len(bars) - len(arrived)
        if merged.bars is None:
            return Outcome(merged.action, merged.reason, merged.request, known, dropped)
        new = Coverage(symbol, "ok", fetched_at=fetched_at, whole_at=fetched_at, covered=days)
        if merged.action in ("appended", "unchanged") and known is not None:
            new = replace(new, whole_at=known.whole_at, covered=days.joined(known.covered))
            notes = tuple(dict.fromkeys((*known.notes, *notes)))
        new = replace(described(new, known or new, merged.bars, origin), notes=notes)
        return Outcome(merged.action, merged.reason, None, _commit(shelf, known, new, encode(merged.bars)), dropped)


def record_missing(
    shelf: Shelf, symbol: str, reason: str, asked: DayRange, origin: Origin, asked_at: dt.datetime
) -> Coverage:
    """Remember that the source does not have a symbol, so that it is not asked again at once; stored bars stay."""
    with shelf.holding(symbol):
        known = shelf.coverage(symbol) or Coverage(symbol, "missing", **vars(origin))
        finished = last_finished_day(asked_at, known.timezone)
        covered = known.covered
        if asked.first <= finished:
            covered = DayRange(asked.first, min(asked.last, finished)).joined(covered)
        new = replace(known, status="missing", reason=reason, fetched_at=asked_at, covered=covered)
        write_document(shelf.manifest_path(symbol), new.to_dict())
        return new


def _commit(shelf: Shelf, known: Coverage | None, new: Coverage, data: bytes) -> Coverage:
    new = replace(new, sha256=sha256(data), size=len(data))
    if known is None or known.sha256 != new.sha256:
        shelf.write_object(new, data)
        if known is not None and known.has_bars:
            # A reader may have just read the old manifest: the day of grace of the old file starts now.
            with contextlib.suppress(OSError):
                os.utime(shelf.object_path(known.symbol, known.sha256))
    write_document(shelf.manifest_path(new.symbol), new.to_dict())
    return new
