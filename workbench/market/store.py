"""The price store: the bars of all symbols in one folder, never lost, never wrong in silence.

Enters: what a source delivers. Leaves: bars, matrices, snapshots. This is the door; `shelf.py` says how the files lie, `merge.py`
what becomes of new bars, `ensure.py` who asks for what, `snapshots.py`, `matrix.py` and `audit.py` the rest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from workbench.market import audit, ensure, matrix, merge, snapshots
from workbench.market.audit import Finding
from workbench.market.bars import Bars, bars_of
from workbench.market.coverage import Coverage, DayRange, Request, missing_range
from workbench.market.ensure import Ensured, Fetch, Fetched
from workbench.market.home import home
from workbench.market.merge import Origin, Outcome
from workbench.market.shelf import Shelf
from workbench.market.snapshots import Snapshot
from workbench.market.tables import PriceTable

__all__ = [
    "Bars",
    "Coverage",
    "DayRange",
    "Ensured",
    "Fetch",
    "Fetched",
    "Finding",
    "Origin",
    "Outcome",
    "PriceStore",
    "Request",
    "Snapshot",
]


class PriceStore(Shelf):
    """The stored bars of all symbols, in one folder; a `Shelf` with everything that can be done with it."""

    @classmethod
    def default(cls) -> PriceStore:
        """Return the store in the workbench's own folder, `prices` under WORKBENCH_HOME."""
        return cls(home() / "prices")

    def missing_range(
        self, symbol: str, start: dt.date, end: dt.date, now: dt.datetime | None = None
    ) -> DayRange | None:
        """Return the days to request so that a symbol covers start..end, or None if it does."""
        return missing_range(self.coverage(symbol), DayRange(start, end), now or dt.datetime.now(dt.UTC))

    def update(
        self,
        symbol: str,
        bars: pd.DataFrame | Bars,
        asked: DayRange,
        origin: Origin,
        fetched_at: dt.datetime | None = None,
    ) -> Outcome:
        """Store bars that have arrived, unless they show that the history has changed; see `merge.update`."""
        read = bars if isinstance(bars, Bars) else bars_of(symbol, bars)
        return merge.update(self, symbol, read, asked, origin, fetched_at or dt.datetime.now(dt.UTC))

    def ensure(
        self,
        symbols: Iterable[str],
        start: dt.date,
        end: dt.date,
        fetch: Fetch,
        *,
        source: str = "yfinance",
        clock: Callable[[], dt.datetime] | None = None,
        progress: Callable[[Ensured], None] | None = None,
        refresh: bool = False,
    ) -> list[Ensured]:
        """Make the store cover start..end of all symbols as far as the source has them; see `ensure.ensure`."""
        wanted = DayRange(start, end)
        done = ensure.ensure(
            self, symbols, wanted, fetch, source=source, clock=clock, progress=progress, refresh=refresh
        )
        if any(one.action in ("appended", "refetched") for one in done):
            audit.prune(self)
        return done

    def matrix(self, symbols: Iterable[str], start: dt.date | None = None, end: dt.date | None = None) -> PriceTable:
        """Return the adjusted closes of stored symbols; see `matrix.stored_matrix`."""
        return matrix.stored_matrix(self, symbols, start, end)

    def snapshot(
        self,
        symbols: Iterable[str],
        start: dt.date | None = None,
        end: dt.date | None = None,
        reasons: Mapping[str, str] | None = None,
    ) -> str:
        """Freeze the stored bars of some symbols, and return the snapshot's id; see `snapshots.take_snapshot`."""
        return snapshots.take_snapshot(self, symbols, start, end, reasons)

    def snapshots(self) -> list[str]:
        """Return the ids of all snapshots."""
        return snapshots.snapshot_ids(self)

    def read_snapshot(self, name: str, verify: bool = True) -> Snapshot:
        """Return a snapshot, all files that it names checked; see `snapshots.read_snapshot`."""
        return snapshots.read_snapshot(self, name, verify)

    def snapshot_matrix(self, name: str, symbols: Iterable[str] | None = None) -> PriceTable:
        """Return the adjusted closes of a snapshot; see `matrix.snapshot_matrix`."""
        return matrix.snapshot_matrix(self, name, symbols)

    def prune(self, grace: dt.timedelta = audit.GRACE) -> list[str]:
        """Delete files that nothing refers to any more; see `audit.prune`."""
        return audit.prune(self, grace)

    def verify(self, gaps: bool = True) -> list[Finding]:
        """Check every file; see `audit.verify`."""
        return audit.verify(self, gaps)

    def status(self) -> pd.DataFrame:
        """Return one row per symbol; see `audit.status`."""
        return audit.status(self)
