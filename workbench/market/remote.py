"""Prices from Yahoo by way of the store, and prices as a report once used them.

Enters: which symbols and days a study wants. Leaves: a `PriceTable` that names its snapshot, so that the same study can be run again
when Yahoo has changed its history. What could not be priced is in its losses, with the source's own reason.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace

from workbench.errors import DataError, UnavailableError
from workbench.losses import Loss
from workbench.market.coverage import Coverage, DayRange, Request
from workbench.market.ensure import Ensured, Fetch, Fetched
from workbench.market.files import show
from workbench.market.quality import check_bars
from workbench.market.snapshots import Snapshot, object_bytes
from workbench.market.store import PriceStore
from workbench.market.tables import SNAPSHOT, InputFile, PriceTable, Wanted
from workbench.market.yahoo_answers import Fetched as Answer
from workbench.progress import progress


def download(requests: Sequence[Request]) -> Generator[Answer, None, None]:
    """Ask Yahoo for some symbols, each on its own days; yield the answers as they arrive."""
    from workbench.market.yahoo import iter_prices

    return iter_prices([(request.symbol, request.days.first, request.days.last) for request in requests])


def fetch_in_threads(requests: Sequence[Request], store: Callable[[Fetched], None]) -> None:
    """Ask Yahoo for some symbols in threads of this process; each answer is stored as it arrives."""
    with contextlib.closing(download(requests)) as answers:
        for answer in answers:
            store(answer)


@dataclass(frozen=True)
class YFinanceSource:
    """Yahoo's adjusted closes: what the store lacks is fetched, the rest is read.

    fetch : asks Yahoo; in threads by default.
    """

    fetch: Fetch = fetch_in_threads

    def load(self, wanted: Wanted | None = None) -> PriceTable:
        """Fetch what is missing, freeze it, and return it.

        Raises
        ------
        DataError
            It is not said which symbols and days are wanted.
        UnavailableError
            No symbol could be priced, or the benchmark could not.
        """
        if wanted is None:
            raise DataError("prices from yfinance need symbols and days: give a sentiment table, or name symbols")
        store = PriceStore.default()
        symbols = [*wanted.symbols, wanted.benchmark]
        with progress(len(set(symbols)), "prices", "symbols") as tick:
            done = store.ensure(symbols, wanted.first, wanted.last, self.fetch, progress=lambda _: tick(1))
        check_priced(done, wanted.benchmark)
        failed = {one.symbol: f"{one.status}: {one.reason}" for one in done if one.status != "ok"}
        name = store.snapshot(symbols, wanted.first, wanted.last, failed)
        return SnapshotSource(SNAPSHOT + name, store).load()


def check_priced(done: Iterable[Ensured], benchmark: str | None = None) -> None:
    """Raise UnavailableError where nothing was priced, or the benchmark was not."""
    answers = list(done)
    failed = [one for one in answers if one.status != "ok"]
    if len(failed) == len(answers):
        first = failed[0]
        raise UnavailableError(
            f"yfinance gave prices for none of {len(answers)} symbols; {show(first.symbol)}: {first.status}, {first.reason}; "
            "try again later, or give --prices FILE"
        )
    for one in failed:
        if one.symbol == benchmark:
            raise UnavailableError(
                f"the benchmark {show(one.symbol)} has no new prices at yfinance ({one.status}: {one.reason}); "
                "try again later, give --prices snapshot:ID, or name another with --benchmark"
            )


@dataclass(frozen=True)
class SnapshotSource:
    """The prices that a report used, by the name that it stores: `snapshot:ID`."""

    name: str
    store: PriceStore | None = None

    def load(self, wanted: Wanted | None = None) -> PriceTable:
        """Return the snapshot's prices, every file checked; its losses name what was not priced and what looks wrong.

        Raises
        ------
        DataError
            There is no such snapshot.
        UnavailableError
            A file that it needs is damaged.
        """
        store = self.store or PriceStore.default()
        ident = self.name.removeprefix(SNAPSHOT)
        table = store.snapshot_matrix(ident)
        source = InputFile(self.name, self.name, table.source.sha256)
        return replace(
            table, source=source, losses=(*table.losses, *_quality(store, store.read_snapshot(ident, False)))
        )


def _quality(store: PriceStore, snapshot: Snapshot) -> Iterable[Loss]:
    from workbench.market.bars import decode

    for symbol, entry in snapshot.entries.items():
        if entry.has_bars:
            if entry.reason or entry.status != "ok":
                first, last = str(entry.first), str(entry.last)
                reason = f"{entry.reason or entry.status}; its bars of earlier end on {last}"
                yield Loss("not_updated", None, symbol, 1, first, last, reason)
            for kind, count, first, last, reason in entry.notes:
                yield Loss(kind, None, symbol, count, first, last, reason)
            bars = decode(object_bytes(store, snapshot, entry))
            # A price that is no price is in the matrix' own losses already.
            yield from (
                loss
                for loss in check_bars(symbol, bars, entry.exchange, _asked(snapshot, entry))
                if loss.kind != "bad_price"
            )


def _asked(snapshot: Snapshot, entry: Coverage) -> DayRange | None:
    """Return the days on which a symbol should have bars: those that were asked for and over, within the snapshot's bounds."""
    if entry.covered is None:
        return None
    first = max(entry.covered.first, snapshot.start or dt.date.min)
    last = min(entry.covered.last, snapshot.end or dt.date.max)
    return DayRange(first, last) if first <= last else None
