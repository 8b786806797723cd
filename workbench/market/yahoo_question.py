"""One symbol, asked for until there is an answer or the patience is at its end.

Enters: a symbol, days, a budget, patience. Leaves: a `Fetched`, whatever happened. A 429 postpones the budget, which holds
everybody back; any other failure is waited out by the symbol alone.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from workbench.market.budget import RequestCancelled
from workbench.market.files import show
from workbench.market.yahoo_answers import Call, Fetched, NoAnswer, NoBars, Patience, Refused, Status, Unreadable
from workbench.market.yahoo_bars import tidy

GIVE_UP_AFTER = 8  # symbols in a row without an answer

# Calendar days begin at UTC+14 and end at UTC-12: with this much around them a range holds them in any time zone.
_BEFORE, _AFTER = dt.timedelta(hours=14), dt.timedelta(hours=36)
_ABSENT = (400, 404, 410, 422)  # with Yahoo's own words these say that it has no such symbol or days


class Outage:
    """Notices that nobody answers: after `GIVE_UP_AFTER` symbols in a row the others need not be asked for."""

    def __init__(self, give_up_after: int = GIVE_UP_AFTER) -> None:
        self._give_up_after = give_up_after
        self._lock = threading.Lock()
        self._silent: list[Fetched] = []

    def note(self, result: Fetched, answered: bool) -> None:
        """Take note of a symbol's result, and of whether Yahoo had answered anything but 429."""
        with self._lock:
            self._silent = [] if answered else [*self._silent, result]

    def verdict(self) -> Fetched | None:
        """Return the last of those that got no answer once they are too many, else None."""
        with self._lock:
            return self._silent[-1] if len(self._silent) >= self._give_up_after else None

    def not_asked(self, verdict: Fetched, symbol: str, name: str) -> Fetched:
        """Return the result of a symbol that was not asked for."""
        reason = f"not asked, as {self._give_up_after} symbols in a row got no answer: {verdict.reason}"
        return Fetched(symbol, verdict.status, reason, source_symbol=name)


@dataclass
class Question:
    """One symbol (`name` as Yahoo writes it) on the days from `first` to `last`, both included."""

    symbol: str
    name: str
    first: dt.date
    last: dt.date
    patience: Patience
    call: Call
    clock: Callable[[], float]
    failed: int = 0
    limited: int = 0

    def answer(self) -> tuple[Fetched, bool]:
        """Return the result, and whether Yahoo has answered anything but 429, be it an error."""
        while True:
            answered = True
            try:
                return self._ask(), answered
            except NoBars as error:
                return self._without("missing", f"Yahoo: {error}" if str(error) else self._nothing()), answered
            except Refused as error:
                final, answered = self._refused(error), error.status != 429
            except Unreadable as error:
                final = self._tried(f"the answer cannot be read: {error}")
            except NoAnswer as error:
                final, answered = self._tried(str(error)), False
            if final is not None:
                return final, answered

    def _ask(self) -> Fetched:
        from workbench.market.yahoo_history import connection  # yfinance is imported here, on first use

        self.call.refusals = 0
        start = dt.datetime.combine(self.first, dt.time(), dt.UTC) - _BEFORE
        end = dt.datetime.combine(self.last, dt.time(), dt.UTC) + _AFTER
        frame, metadata = connection().history(self.name, start, end, self.call)
        known = str(metadata.get("symbol") or self.name)
        if known.upper() != self.name:
            reason = f"Yahoo answers with {show(known, 40)} for {self.name}; if it was renamed, ask for that"
            return self._without("missing", reason)
        try:
            bars, notes = tidy(frame, metadata, self.first, self.last, self.clock())
        except (LookupError, TypeError, ValueError, OverflowError, OSError) as error:
            raise Unreadable(show(f"{type(error).__name__}: {error}", 200)) from None
        why = "; ".join(f"{note.reason} on {note.count} of the days to {note.last}" for note in notes)
        return Fetched(
            self.symbol,
            "missing" if bars.empty else "ok",
            self._nothing() + (f" ({why})" if why else "") if bars.empty else "",
            bars,
            currency=_text(metadata.get("currency")),
            exchange=_text(metadata.get("exchangeName")),
            timezone=_text(metadata.get("exchangeTimezoneName")),
            source_symbol=self.name,
            notes=notes,
        )

    def _refused(self, error: Refused) -> Fetched | None:
        if error.status == 429:
            self.limited += 1
            if self.limited >= self.patience.limited_tries:
                reason = f"Yahoo limits requests (429), {self.limited} tries; fetch again later"
                return self._without("limited", reason)
            self.call.budget.postpone(self.patience.wait_seconds(self.limited, error.retry_after_seconds))
            return None
        if error.status in _ABSENT and error.explained:
            return self._without("missing", f"Yahoo: {error.words}")
        if error.status in (401, 403):
            return self._without("error", str(error))
        return self._tried(str(error))

    def _tried(self, words: str) -> Fetched | None:
        """Wait before the next try, or return the result if that was the last."""
        self.failed += 1
        if self.failed >= self.patience.tries:
            return self._without("error", f"{words}; {self.failed} tries")
        until = time.monotonic() + self.patience.wait_seconds(self.failed)
        while (left := until - time.monotonic()) > 0:
            if self.call.cancelled is not None and self.call.cancelled():
                raise RequestCancelled
            time.sleep(min(left, 0.1))
        return None

    def _without(self, status: Status, reason: str) -> Fetched:
        return Fetched(self.symbol, status, show(reason, 300), source_symbol=self.name)

    def _nothing(self) -> str:
        return f"Yahoo has no finished bar from {self.first} to {self.last}"


def _text(value: object) -> str | None:
    return show(value, 40) if value else None
