"""Prices: adjusted closes by trading day and symbol, from wherever they come.

Enters: a file name, an address, a DataFrame or a keyword. Leaves: a `PriceTable`. Every origin is a `PriceSource`,
which does nothing until `load` is called; a new origin is one class and one entry in `KEYWORDS`. METHOD.md, "Inputs",
has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from workbench.config import nearest
from workbench.errors import DataError
from workbench.market.cells import Kind, symbol_fault
from workbench.market.columns import Columns
from workbench.market.files import PACKAGE_DATA, show
from workbench.market.reader import read_columns
from workbench.market.tables import Days, Floats, PriceTable, Wanted
from workbench.market.typed import stored_losses
from workbench.registry import load_plugins

ADJUSTED = "adj_close"

_ALIKE = {"symbol": ("symbol", "ticker"), ADJUSTED: ("adj_close", "adj close", "adjclose")}
# A frame's date index is called Date by yfinance, and nothing at all by a to_csv of an index without a name.
_WIDE_DATES = ("date", "Date", "")


class PriceSource(Protocol):
    """Where prices come from."""

    def load(self, wanted: Wanted | None = None) -> PriceTable:
        """Return the prices; a symbol without a price has NaN. A file gives all that it has, whatever is wanted."""
        ...


@dataclass(frozen=True, eq=False)
class FileSource:
    """Prices in a file, at an address or in a DataFrame.

    Long: columns `date`, `symbol` and `adj_close`; others are not looked at. Wide: a `date` column, or a date index,
    and one column of adjusted closes per symbol. A table is long when it has a column `symbol`.
    """

    origin: str | Path | pd.DataFrame

    def load(self, wanted: Wanted | None = None) -> PriceTable:
        """Read, check and pivot the table; its losses are those that a Parquet file of the workbench names.

        Raises
        ------
        DataError
            A missing column, a price that is zero, negative, infinite or no number, a day given twice for a symbol.
        UnavailableError
            The address does not deliver.
        """
        file, read = read_columns(self.origin, price_layout, also=KEYWORDS)
        if read.symbols:
            days, symbols, values = _pivoted(read)
        else:
            order = np.argsort(read.days)
            symbols = tuple(sorted(read.numbers))
            days, values = read.days[order], np.column_stack([read.numbers[symbol] for symbol in symbols])[order]
        if np.isnan(values).all():
            raise DataError(f"{show(file.name, 200)}: must have a price, got only empty cells; fill in adjusted closes")
        return PriceTable(days, symbols, values, file, stored_losses(read))


@dataclass(frozen=True)
class SimulatedSource:
    """The simulated prices that ship with the package. They belong to the simulated sentiment table and to no other."""

    def load(self, wanted: Wanted | None = None) -> PriceTable:
        """Read the packaged table; DataError if the installation lacks it."""
        table = FileSource(PACKAGE_DATA / "simulated_prices.parquet").load()
        return replace(table, source=replace(table.source, name="simulated"))


def _yfinance(text: str) -> PriceSource:
    from workbench.market.remote import YFinanceSource  # with the store, which other sources do not need

    if text != "yfinance":
        raise DataError(f"prices must be yfinance, got {show(text)}; a file of that name is ./{show(text)}")
    return YFinanceSource()


def _snapshot(text: str) -> PriceSource:
    from workbench.market.remote import SnapshotSource

    return SnapshotSource(text)


KEYWORDS: dict[str, Callable[[str], PriceSource]] = {
    "simulated": lambda _: SimulatedSource(),
    "yfinance": _yfinance,
    "snapshot": _snapshot,
}
"""Words that stand for a source, up to a colon: `snapshot:ID` would be the entry `snapshot`, called with all of the
text."""


def price_source(origin: str | Path | pd.DataFrame | PriceSource) -> PriceSource:
    """Return the source that `origin` stands for: a keyword, else a file; a source is returned as it is.

    A file that is called like a keyword is reached as `./simulated`. Keywords of the user's own are those that the modules of
    WORKBENCH_PLUGINS add to `KEYWORDS`; ConfigError if one of these cannot be imported.
    """
    if isinstance(origin, str):
        load_plugins()
        make = KEYWORDS.get(origin.partition(":")[0])
        return make(origin) if make else FileSource(origin)
    return FileSource(origin) if isinstance(origin, Path | pd.DataFrame) else origin


def price_layout(where: str, header: Sequence[str]) -> dict[str, Kind]:
    """Return the kind of each column of a price table, long or wide; DataError if it is neither."""
    if "symbol" in header:
        for column in ("date", ADJUSTED):
            if column not in header:
                raise DataError(_missing(where, column, header))
        kinds: dict[str, Kind] = {"date": "date", "symbol": "symbol", ADJUSTED: "price"}
        return {column: kinds.get(column, "ignored") for column in header}
    if any(column.strip().lower() in alike for column in header for alike in _ALIKE.values()):
        raise DataError(_missing(where, "symbol", header))
    date = next((name for name in _WIDE_DATES if name in header), None)
    if date is None:
        raise DataError(_missing(where, "date", header))
    for column in header:
        fault = None if column == date else symbol_fault(column)
        if fault:
            raise DataError(f"{where}, column {show(column)!r}: must {fault.rule}; rename or delete the column")
    if len(header) == 1:
        raise DataError(f"{where}: must have a column of adjusted closes per symbol, got only {show(date)!r}")
    return {column: "date" if column == date else "price" for column in header}


def _missing(where: str, column: str, header: Sequence[str]) -> str:
    near = next((own for own in header if own.strip().lower() in _ALIKE.get(column, (column,))), None)
    hint = f"; did you mean {show(near)!r}?" if near else nearest(column, [show(own) for own in header])
    way = "; a long table has date, symbol and adj_close, a wide one date and a column per symbol"
    return f"{where}: must have a column {column}, got {show(', '.join(header), 120)}{hint}{way}"


def _pivoted(read: Columns) -> tuple[Days, tuple[str, ...], Floats]:
    """Return days (T), symbols (N) and values (T, N) of a long table."""
    offsets = (read.days - read.days.min()).astype(np.int64)
    present = np.bincount(offsets) > 0
    rows = (np.cumsum(present) - 1)[offsets]
    values = np.full((int(present.sum()), len(read.symbols)), np.nan)
    values[rows, read.codes] = read.numbers[ADJUSTED]
    return read.days.min() + np.flatnonzero(present), read.symbols, values
