"""From the symbols and days that are wanted to a store that has them: who asks for what, once.

Enters: symbols, a range of days, and the function that asks the source. Leaves: the store with what arrived, and one
`Ensured` per symbol. The function is passed in, so that it may run in threads, in Ray or in a test. Of several
processes that want the same symbol one asks, and the others wait for its lock and find it done.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pandas as pd
from filelock import FileLock

from workbench.errors import ConfigError, DataError
from workbench.market.bars import bars_of
from workbench.market.coverage import Coverage, DayRange, Request, missing_range
from workbench.market.files import show
from workbench.market.merge import Notes, Origin, record_missing, update
from workbench.market.shelf import Shelf, acquire

BATCH = 50
"""Symbols that are locked, and asked for, at a time: each held lock is an open file."""

WAIT_SECONDS = 1800.0


class Fetched(Protocol):
    """A source's answer for one symbol, whichever class it is; `source_symbol` or `yahoo_symbol` may say what was asked for."""

    @property
    def symbol(self) -> str:
        """Whose answer it is."""

    @property
    def status(self) -> str:
        """One of "ok", "missing", "limited" and "error"."""

    @property
    def reason(self) -> str:
        """Why it is not "ok"."""

    @property
    def bars(self) -> pd.DataFrame | None:
        """The frame of `bars_of`, or None."""

    @property
    def currency(self) -> str | None:
        """As the source names it."""

    @property
    def exchange(self) -> str | None:
        """As the source names it."""

    @property
    def timezone(self) -> str | None:
        """The exchange's, such as "America/New_York"."""


Fetch = Callable[[Sequence[Request], Callable[[Fetched], None]], object]
"""Asks the source: calls its second argument with the answer to each request, in any order, as the answers arrive and
in the thread that it was called in. An answer that is repeated (after Ctrl-C, to be sure) counts once."""


@dataclass(frozen=True)
class Ensured:
    """What became of one symbol.

    status : "ok": the store covers the days. Else "missing", "limited" or "error", and `reason` says why.
    action : "covered" (nothing was asked), "stored", "appended", "unchanged", "refetched" or "failed".
    requests : how many requests were sent for it.
    coverage : its record now; it may have bars of earlier fetches although this one failed.
    dropped : bars that arrived and were left out, as their day was not asked for or not over.
    """

    symbol: str
    status: str
    reason: str
    action: str
    requests: int
    coverage: Coverage | None
    dropped: int = 0

    @property
    def priced(self) -> bool:
        """Whether the store has bars of it."""
        return self.coverage is not None and self.coverage.has_bars


def ensure(
    shelf: Shelf,
    symbols: Iterable[str],
    wanted: DayRange,
    fetch: Fetch,
    *,
    source: str = "yfinance",
    clock: Callable[[], dt.datetime] | None = None,
    progress: Callable[[Ensured], None] | None = None,
    refresh: bool = False,
    batch: int = BATCH,
    wait_seconds: float = WAIT_SECONDS,
) -> list[Ensured]:
    """Make the store cover the days of all symbols, as far as the source has them.

    Nothing is asked for a symbol that is covered; else one request is sent, or two where the answer shows that the
    history has changed. Each symbol is stored when its answer arrives, so that whoever interrupts keeps what is done.
    That the source does not have a symbol is remembered only if another one of the call is there: where everything
    fails the store stays as it is.

    Parameters
    ----------
    shelf
        The store.
    symbols
        Repeats count once.
    wanted
        Both ends included; days that are not over yet are left out.
    fetch
        Asks the source: `fetch(requests, store)` calls `store` with each answer.
    source
        Its name, for the records.
    clock
        Returns the time, with a time zone.
    progress
        Called with each symbol that is done.
    refresh
        Ask for the whole history of every symbol, whatever is covered: a source that corrects a day long past without
        moving the last one does not show it otherwise.
    batch
        How many symbols `fetch` is given at a time.
    wait_seconds
        How long to wait for another process that is fetching a symbol, before that symbol counts as failed.

    Returns
    -------
    list of Ensured
        In the order of `symbols`.

    Raises
    ------
    ConfigError
        The range begins after its end.
    UnavailableError
        The store cannot be written; and whatever `fetch` raises. What had arrived by then is stored.
    """
    if wanted.last < wanted.first:
        raise ConfigError(f"start must not be after end, got {wanted}; swap them")
    names = list(dict.fromkeys(symbols))
    clock = clock or (lambda: dt.datetime.now(dt.UTC))
    run = _Run(shelf, wanted, fetch, source, clock, progress, refresh, wait_seconds)
    waiting = [symbol for symbol in names if run.needed(symbol)]
    while waiting:
        with run.claimed(waiting, batch) as requests:
            run.serve(requests)
        waiting = [symbol for symbol in waiting if symbol not in run.done]
    return [run.done[symbol] for symbol in names]


def by_range(requests: Iterable[Request]) -> Mapping[DayRange, list[str]]:
    """Return the symbols of requests by their days, for a source that asks for many symbols over the same days."""
    groups: dict[DayRange, list[str]] = {}
    for request in requests:
        groups.setdefault(request.days, []).append(request.symbol)
    return groups


@dataclass
class _Run:
    """One call of `ensure`."""

    shelf: Shelf
    wanted: DayRange
    fetch: Fetch
    source: str
    clock: Callable[[], dt.datetime]
    progress: Callable[[Ensured], None] | None
    refresh: bool
    wait_seconds: float
    done: dict[str, Ensured] = field(default_factory=dict)
    held: dict[str, FileLock] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    priced_one: bool = False  # of the symbols of this call

    def needed(self, symbol: str) -> Request | None:
        """Return what to ask for a symbol; None, and note it as done, if nothing need be."""
        known, _ = self.shelf.checked(symbol)
        days = missing_range(None if self.refresh else known, self.wanted, self.clock())
        if self.refresh and days is not None and known is not None:
            days = days.joined(known.covered)
        if days is not None:
            return Request(symbol, days)
        if known is None:
            self.finish(symbol, "missing", f"no day of {self.wanted} is over yet", "failed", None)
        else:
            # A symbol that is missing now, and was there for longer than is wanted, has been delisted since.
            ok = known.status == "ok" or known.reaches(self.wanted.last)
            self.priced_one |= ok
            status, reason = ("ok", "") if ok else (known.status, known.reason)
            self.finish(symbol, status, reason, "covered", known)
        return None

    def finish(
        self, symbol: str, status: str, reason: str, action: str, known: Coverage | None, dropped: int = 0
    ) -> None:
        """Note that a symbol is done, and let others have it."""
        self.done[symbol] = Ensured(symbol, status, reason, action, self.sent.get(symbol, 0), known, dropped)
        lock = self.held.pop(symbol, None)
        if lock is not None:
            lock.release()
        if self.progress is not None:
            self.progress(self.done[symbol])

    @contextlib.contextmanager
    def claimed(self, waiting: Sequence[str], batch: int) -> Iterator[list[Request]]:
        """Hold the locks of some symbols that still need a request, and yield these requests.

        It waits for a lock only while it holds none, so that no two processes wait for each other.
        """
        requests: list[Request] = []
        try:
            for symbol in waiting:
                if len(requests) < batch:
                    requests += self.claim(symbol, 0)
            if not requests:
                rest = [symbol for symbol in waiting if symbol not in self.done]
                for symbol in rest[:1]:
                    requests += self.claim(symbol, self.wait_seconds)
                    if not requests and symbol not in self.done:
                        reason = f"another process has been fetching it for more than {self.wait_seconds:g} s"
                        self.finish(symbol, "error", reason, "failed", self.shelf.coverage(symbol))
            yield requests
        finally:
            for lock in self.held.values():
                lock.release()
            self.held.clear()

    def claim(self, symbol: str, seconds: float) -> list[Request]:
        """Return the request of a symbol whose lock could be had, and keep the lock; else nothing."""
        lock = self.shelf.lock(symbol)
        if not acquire(lock, seconds):
            return []
        self.held[symbol] = lock
        request = self.needed(symbol)  # another process may have stored it
        return [] if request is None else [request]

    def serve(self, requests: Sequence[Request]) -> None:
        """Send the requests, store the answers, and ask for the whole history where it has changed."""
        missing: list[_Missing] = []
        again = self.send(requests, missing)
        self.send(again, missing)
        for request, reason, origin, asked_at in missing:
            if self.priced_one:
                record_missing(self.shelf, request.symbol, reason, request.days, origin, asked_at)
            known = self.shelf.coverage(request.symbol)
            self.finish(request.symbol, "missing", reason, "failed", known)

    def send(self, requests: Sequence[Request], missing: list[_Missing]) -> list[Request]:
        """Send requests once; return those that must follow, and add to `missing` what the source does not have."""
        asked = {request.symbol: request for request in requests}
        answered: set[str] = set()
        again: list[Request] = []
        asked_at = self.clock().replace(microsecond=0)
        for symbol in asked:
            self.sent[symbol] = self.sent.get(symbol, 0) + 1

        def store(answer: Fetched) -> None:
            if answer.symbol not in asked:
                raise ValueError(f"fetch must answer what it is asked, got an answer for {show(answer.symbol)}")
            if answer.symbol not in answered:
                again.extend(self.take(asked[answer.symbol], answer, asked_at, missing))
                answered.add(answer.symbol)

        if requests:
            self.fetch(requests, store)
        for symbol in [symbol for symbol in asked if symbol not in answered]:
            self.finish(symbol, "error", "the source gave no answer", "failed", self.shelf.coverage(symbol))
        return again

    def take(self, request: Request, answer: Fetched, asked_at: dt.datetime, missing: list[_Missing]) -> list[Request]:
        """Store one answer; return the request that must follow, if any."""
        symbol, origin = request.symbol, _origin(answer, self.source)
        if answer.status == "missing":
            missing.append(_Missing(request, answer.reason, origin, asked_at))
            return []
        try:
            if answer.status != "ok" or answer.bars is None:
                raise DataError(answer.reason or "the source gave no bars")
            outcome = update(
                self.shelf,
                symbol,
                bars_of(symbol, answer.bars),
                request.days,
                origin,
                asked_at,
                self.refresh,
                _notes(answer),
            )
        except DataError as error:
            status = answer.status if answer.status != "ok" else "error"
            self.finish(symbol, status, str(error), "failed", self.shelf.coverage(symbol))
            return []
        if outcome.request is not None:
            if self.sent[symbol] < 2:
                return [Request(symbol, outcome.request)]
            self.finish(symbol, "error", f"its history kept changing: {outcome.reason}", "failed", outcome.coverage)
        elif outcome.action == "kept":
            self.finish(symbol, "error", outcome.reason, "failed", outcome.coverage)
        elif outcome.action == "missing":
            missing.append(_Missing(request, outcome.reason, origin, asked_at))
        else:
            self.priced_one = True
            self.finish(symbol, "ok", outcome.reason, outcome.action, outcome.coverage, outcome.dropped)
        return []


class _Missing(NamedTuple):
    """A request that the source answered with: I do not have it."""

    request: Request
    reason: str
    origin: Origin
    asked_at: dt.datetime


def _notes(answer: Fetched) -> Notes:
    """Return the rows of an answer that are no bars; that a session is not over yet is no loss."""
    noted = [note for note in getattr(answer, "notes", ()) if note.kind != "unfinished_session"]
    return tuple((note.kind, note.count, note.first, note.last, note.reason) for note in noted)


def _origin(answer: Fetched, source: str) -> Origin:
    name = getattr(answer, "source_symbol", "") or getattr(answer, "yahoo_symbol", "") or answer.symbol
    return Origin(source, name, answer.currency or "", answer.exchange or "", answer.timezone or "")
