"""Checked columns: what a reader makes of a table before anybody gives the columns a meaning.

Both readers, of text (`delimited`) and of typed columns (`typed`), return `Columns`; every value in it has passed the
rules of `cells`. A `Layout` tells them of what kind each column of a file is, or raises the DataError of a missing
one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.errors import ConfigError, DataError
from workbench.market.cells import Kind
from workbench.market.files import show
from workbench.market.tables import Days, Floats, Ints

Layout = Callable[[str, Sequence[str]], dict[str, Kind]]
"""Takes where the header is (file and line, for messages) and the header; returns the kind of each column."""


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a table in the order of its rows.

    days : (rows,) datetime64[D].
    symbols : the distinct symbols in code-point order; empty for a table without a symbol column.
    codes : (rows,) int32, position of each row's symbol in `symbols`; zeros without a symbol column.
    numbers : by column, (rows,) float64 with NaN for an empty cell.
    extras : by column, (rows,) float64 or a pandas array, as read.
    """

    days: Days
    symbols: tuple[str, ...]
    codes: Ints
    numbers: dict[str, Floats]
    extras: dict[str, Any]

    @property
    def keys(self) -> npt.NDArray[np.int64]:
        """(rows,) one number per (day, symbol), ordered like them."""
        return row_keys(self.days, self.codes, len(self.symbols))

    def digest(self) -> str:
        """Return a sha256 of names and values: what stands for a file's hash where there is no file."""
        total = hashlib.sha256(repr((self.symbols, list(self.numbers), list(self.extras))).encode())
        total.update(self.days.astype(np.int64).tobytes())
        total.update(self.codes.tobytes())
        for values in self.numbers.values():
            total.update(np.where(np.isnan(values), np.nan, values).tobytes())
        for extra in self.extras.values():
            total.update("\0".join(map(str, pd.Series(extra).tolist())).encode("utf-8", "surrogatepass"))
        return total.hexdigest()


def row_keys(days: Days, codes: Ints, symbols: int) -> npt.NDArray[np.int64]:
    """Return one int64 per row that orders rows by day, then by symbol code."""
    return days.astype(np.int64) * max(symbols, 1) + codes


def has_duplicates(keys: npt.NDArray[np.int64]) -> bool:
    """Tell whether two rows have the same key."""
    steps = np.diff(keys)
    return not bool((steps > 0).all()) and not bool(np.diff(np.sort(keys)).all())


def first_duplicate(keys: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return the first row that repeats an earlier one, as (earlier, repeat); there must be one."""
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(np.diff(keys[order]) == 0)
    pair = same[np.argmin(order[same + 1])]
    return int(order[pair]), int(order[pair + 1])


def code_symbols(names: Sequence[str], codes: npt.NDArray[Any]) -> tuple[tuple[str, ...], Ints]:
    """Return the distinct `names` in code-point order, and `codes`, positions in `names`, as positions in these."""
    order = sorted(range(len(names)), key=names.__getitem__)
    position = np.empty(len(names), dtype=np.int32)
    position[order] = np.arange(len(names), dtype=np.int32)
    return tuple(names[i] for i in order), position[codes]


def check_header(where: str, header: Sequence[str]) -> None:
    """Raise DataError if a column's name occurs twice."""
    repeated, times = Counter(header).most_common(1)[0]
    if times > 1:
        at = [str(i + 1) for i, column in enumerate(header) if column == repeated]
        raise DataError(
            f"{where}, column {show(repeated) or '(without a name)'}: must occur once, "
            f"got it as columns {', '.join(at[:5])}; rename or delete all but one"
        )


def duplicate_error(name: str, places: str, day: object, symbol: str | None) -> DataError:
    """Return the error of two rows for one day, or for one day and symbol."""
    what, got = ("date", f"{day}") if symbol is None else ("(date, symbol)", f"({day}, {show(symbol)})")
    return DataError(f"{name}: {places}: {what} must occur once, got {got} twice; delete one of the rows")


def split_columns(text: str) -> dict[str, str]:
    """Read a mapping of column names as the command line has it: `likes=favourites,symbol=ticker`.

    Raises
    ------
    ConfigError
        A part is not `name=column`, or a name is given twice.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        name, equals, own = (piece.strip() for piece in part.partition("="))
        if not (name and equals and own):
            raise ConfigError(f"columns must be like likes=favourites,symbol=ticker, got {show(part)!r}")
        if name in columns:
            raise ConfigError(f"columns must name {show(name)} once, got it twice")
        columns[name] = own
    return columns
