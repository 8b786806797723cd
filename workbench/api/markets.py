"""Markets in memory: loaded once, kept while they are used.

Enters: what a request is about. Leaves: a `Market`, or prices on trading days. Tables carry the names that clients know, never paths.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from workbench.api.datasets import Data, Table
from workbench.errors import UnavailableError, WorkbenchError
from workbench.market.files import show
from workbench.market.load import load_market, load_prices
from workbench.market.prices import price_source
from workbench.market.tables import InputFile, Market, PriceTable, Wanted

Kept = TypeVar("Kept")


@dataclass(frozen=True, eq=False)
class _Loaded:
    """Prices that were read before."""

    table: PriceTable

    def load(self, wanted: Wanted | None = None) -> PriceTable:
        return self.table


class Markets:
    """The markets that were used last; one that several requests want at once is loaded once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._loading: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def market(self, data: Data) -> Market:
        """Return a market.

        Raises
        ------
        ConfigError, DataError
            Bounds or tables are wrong; see `load_market`.
        UnavailableError
            A file changed while it was read, or a snapshot is damaged.
        """
        return self._keep(("market", data.key), lambda: self._load_market(data))

    def prices(self, data: Data) -> PriceTable:
        """Return the prices of a request on trading days, not cut to its bounds; raises as `market` does."""
        if data.prices is None:
            return self.market(replace(data, start=None, end=None)).prices
        table = data.prices
        return self._keep(
            ("trading days", table.name, table.sha256, data.benchmark),
            lambda: load_prices(_Loaded(self._table(table)), data.benchmark)[0],
        )

    def _load_market(self, data: Data) -> Market:
        assert data.sentiment.path is not None
        prices = None if data.prices is None else _Loaded(self._table(data.prices))
        with named(data.sentiment):
            market = load_market(
                data.sentiment.path,
                prices,
                data.benchmark,
                data.start,
                data.end,
                dict(data.columns) or None,
                data.allow_mixed_data,
            )
        source = _renamed(market.sentiment.source, data.sentiment)
        return replace(market, sentiment=replace(market.sentiment, source=source))

    def _table(self, table: Table) -> PriceTable:
        def load() -> PriceTable:
            with named(table):
                read = price_source(table.path or table.source).load()
            return replace(read, source=_renamed(read.source, table)) if table.path else read

        return self._keep(("prices", table.name, table.sha256), load)

    def _keep(self, key: Hashable, load: Callable[[], Kept]) -> Kept:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            with self._lock:
                if key in self._kept:  # another thread loaded it in the meantime
                    return self._kept[key]
            try:
                value = load()
            except BaseException:
                with self._lock:
                    self._loading.pop(key, None)
                raise
            with self._lock:
                self._loading.pop(key, None)
                self._kept[key] = value
                while len(self._kept) > self._size * 3:  # a market, its prices, and these on trading days
                    self._kept.popitem(last=False)
        return value


def _renamed(source: InputFile, table: Table) -> InputFile:
    if source.sha256 != table.sha256:
        raise UnavailableError(f"the table {table.name} changed while it was read; try again")
    return replace(source, name=table.name)


@contextlib.contextmanager
def named(*tables: Table) -> Iterator[None]:
    """Let errors name tables as the client knows them."""
    try:
        yield
    except WorkbenchError as error:
        text = str(error)
        for table in tables:
            text = without_path(text, table.path, table.name)
        raise type(error)(text) from None


def without_path(text: str, path: Path | None, name: str) -> str:
    """Return a text in which a path, whole or as messages cut it, has given way to a name."""
    if path is None:
        return text
    for shown in (str(path), show(path, 200), show(path)):
        text = text.replace(shown, name)
    return text
