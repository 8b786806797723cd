"""Daily bars from Yahoo, symbol by symbol, each with a typed result.

Enters: symbols, days, a request budget. Leaves: one `Fetched` per symbol, whatever happened to the others. Asking waits
for the budget that all processes of the machine share, and a 429 holds all of them back. `download_prices` is a plain
function of picklable arguments, so that it can run in threads here or as a task elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence

from workbench.errors import ConfigError
from workbench.market.budget import Cancelled, RequestBudget, RequestCancelled, default_budget
from workbench.market.files import show
from workbench.market.sentiment import parse_bound
from workbench.market.yahoo_answers import Call, Fetched, Patience, Status, default_patience, yahoo_symbol
from workbench.market.yahoo_bars import Note
from workbench.market.yahoo_question import Outage, Question

__all__ = [
    "Fetched",
    "Note",
    "Outage",
    "Patience",
    "RequestBudget",
    "Status",
    "download_prices",
    "download_symbol",
    "iter_prices",
    "yahoo_symbol",
]

Day = str | dt.date

WORKERS = 4  # at two requests a second more would only wait

_WRITABLE = re.compile(r"[A-Z0-9^][A-Z0-9.^=&_-]{0,31}")


def download_prices(
    symbols: Sequence[str],
    start: Day,
    end: Day,
    *,
    budget: RequestBudget | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_result: Callable[[Fetched], None] | None = None,
    workers: int = WORKERS,
    patience: Patience | None = None,
    clock: Callable[[], float] = time.time,
) -> list[Fetched]:
    """Download the daily bars of some symbols, several at a time.

    Parameters
    ----------
    symbols
        As the user writes them; one that is repeated is asked for once.
    start, end
        The first and last day, both included, in the calendar of each symbol's exchange.
    budget
        The requests allowed a second; the machine's (`default_budget`) if None.
    progress
        Called with the number of symbols done and of all, after each one.
    on_result
        Called with each result as it arrives, before `progress`; after Ctrl-C also with those that had arrived by then.
        Both are called in the caller's thread, and an exception of theirs ends the download.
    workers
        How many symbols are asked for at a time.
    patience
        Time-out, tries and back-off; `default_patience` if None.
    clock
        Returns the time, in seconds since 1970, by which a session is over.

    Returns
    -------
    list of Fetched
        In the order of `symbols`. A symbol that fails is a result like any other.

    Raises
    ------
    ConfigError
        `start`, `end`, or an environment variable is wrong.
    UnavailableError
        The budget cannot be kept (the disk is full).
    """
    wanted = list(dict.fromkeys(symbols))
    requests = [(symbol, start, end) for symbol in wanted]
    done: dict[str, Fetched] = {}
    with contextlib.closing(
        iter_prices(requests, budget=budget, workers=workers, patience=patience, clock=clock)
    ) as results:
        for result in results:
            done[result.symbol] = result
            if on_result is not None:
                on_result(result)
            if progress is not None:
                progress(len(done), len(wanted))
    return [done[symbol] for symbol in symbols]


def iter_prices(
    requests: Iterable[tuple[str, Day, Day]],
    *,
    budget: RequestBudget | None = None,
    workers: int = WORKERS,
    patience: Patience | None = None,
    clock: Callable[[], float] = time.time,
) -> Generator[Fetched, None, None]:
    """Download the daily bars of some symbols, each on days of its own; yield results in the order of their arrival.

    Parameters
    ----------
    requests
        Symbol, first and last day, both included.
    budget, workers, patience, clock
        As in `download_prices`.

    Yields
    ------
    Fetched
        One for each request. After Ctrl-C those that had arrived by then, and then KeyboardInterrupt is raised.

    Raises
    ------
    ConfigError, UnavailableError
        As in `download_prices`; ConfigError before anything is sent.
    """
    asked = [(symbol, *_days(start, end)) for symbol, start, end in requests]
    budget, patience, outage = budget or default_budget(), patience or default_patience(), Outage()

    def download(request: tuple[str, dt.date, dt.date], cancelled: Cancelled) -> Fetched:
        return download_symbol(
            *request, budget=budget, patience=patience, outage=outage, clock=clock, cancelled=cancelled
        )

    return _in_threads(download, asked, workers)


def download_symbol(
    symbol: str,
    start: Day,
    end: Day,
    *,
    budget: RequestBudget | None = None,
    patience: Patience | None = None,
    outage: Outage | None = None,
    clock: Callable[[], float] = time.time,
    cancelled: Cancelled | None = None,
) -> Fetched:
    """Download the daily bars of one symbol, in the calling thread.

    Parameters
    ----------
    symbol, start, end, budget, patience, clock
        As in `download_prices`.
    outage
        Shared by the symbols of one download, so that it can end early where nobody answers.
    cancelled
        Asked while waiting for the budget and between two tries whether to give up.

    Raises
    ------
    RequestCancelled
        `cancelled` returned True.
    ConfigError, UnavailableError
        As in `download_prices`.
    """
    first, last = _days(start, end)
    name = yahoo_symbol(symbol)
    if not _WRITABLE.fullmatch(name):
        reason = f"no symbol of Yahoo's is written {show(name, 40)!r}"
        return Fetched(symbol, "missing", reason, source_symbol=show(name, 40))
    verdict = outage.verdict() if outage is not None else None
    if outage is not None and verdict is not None:
        return outage.not_asked(verdict, symbol, name)
    patience = patience or default_patience()
    call = Call(budget or default_budget(), patience.timeout_seconds, cancelled)
    result, answered = Question(symbol, name, first, last, patience, call, clock).answer()
    if outage is not None:
        outage.note(result, answered)
    return result


def _in_threads(
    download: Callable[[tuple[str, dt.date, dt.date], Cancelled], Fetched],
    requests: list[tuple[str, dt.date, dt.date]],
    workers: int,
) -> Generator[Fetched, None, None]:
    """Yield results as they arrive.

    The threads are daemons, as a request that is under way cannot be ended, and Ctrl-C should not wait for it.
    """
    waiting: queue.SimpleQueue[tuple[str, dt.date, dt.date]] = queue.SimpleQueue()
    results: queue.SimpleQueue[Fetched | BaseException] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                results.put(download(waiting.get_nowait(), stop.is_set))
        except (queue.Empty, RequestCancelled):
            pass
        except BaseException as error:
            results.put(error)

    for request in requests:
        waiting.put(request)
    try:
        for number in range(min(max(workers, 1), len(requests))):
            threading.Thread(target=work, name=f"yahoo-{number}", daemon=True).start()
        for _ in requests:
            yield _next(results)
    except KeyboardInterrupt:
        stop.set()
        while not results.empty():
            yield _next(results)
        raise
    finally:
        stop.set()


def _next(results: queue.SimpleQueue[Fetched | BaseException]) -> Fetched:
    while True:
        try:
            item = results.get(timeout=0.2)  # not for ever: not on every system does Ctrl-C end that
        except queue.Empty:
            continue
        if isinstance(item, BaseException):
            raise item
        return item


def _days(start: Day, end: Day) -> tuple[dt.date, dt.date]:
    first, last = parse_bound("start", start), parse_bound("end", end)
    if first is None or last is None or first > last:
        raise ConfigError(f"start must be a day on or before end, got {show(start)} and {show(end)}; correct them")
    return first, last
