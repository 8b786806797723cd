"""One door to all forms of a table: CSV, CSV.gz, Parquet, a DataFrame.

Enters: what the user named, and a layout. Leaves: where it came from, and its checked columns. The form is told by
what the bytes begin with, not by the name.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from workbench.errors import DataError
from workbench.market.columns import Columns, Layout
from workbench.market.delimited import read_text
from workbench.market.files import gunzip, read_input, show
from workbench.market.tables import InputFile
from workbench.market.typed import PARQUET_MAGIC, read_frame, read_parquet

_PARQUET_NAMES = (".parquet", ".pq")


def read_columns(
    source: str | Path | pd.DataFrame, layout: Layout, *, also: Iterable[str] = ()
) -> tuple[InputFile, Columns]:
    """Read a table in any form.

    Parameters
    ----------
    source
        A file name, an `http(s)://` address or a DataFrame.
    layout
        Says of what kind each column is, from the table's name and its header.
    also
        Keywords that the caller takes instead of a file (for "did you mean").

    Raises
    ------
    DataError
        The table breaks a rule.
    UnavailableError
        An address does not deliver.
    """
    if isinstance(source, pd.DataFrame):
        columns = read_frame("DataFrame", source, layout)
        return InputFile("DataFrame", "memory", columns.digest()), columns
    file, data = read_input(source, also=also)
    name = show(file.name, 200)
    data = gunzip(name, data, file.path)
    if data.startswith(PARQUET_MAGIC):
        return file, read_parquet(name, data, layout)
    if file.path.lower().removesuffix(".gz").endswith(_PARQUET_NAMES):
        raise DataError(f"{name}: is named like Parquet but is not; write it again or rename it")
    return file, read_text(name, data, layout)
