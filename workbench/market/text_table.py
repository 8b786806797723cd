"""The daily sentiment table, written from the sums of posts.

Enters: sums by (day, symbol). Leaves: a CSV or Parquet file in METHOD's columns, sorted by day and symbol, whole or not there. A Parquet
file carries the losses, so that a study of it shows them.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Mapping
from pathlib import Path

from workbench.errors import ConfigError
from workbench.losses import Loss
from workbench.market.durable import why_not_writable, write_file
from workbench.market.files import show
from workbench.market.sentiment import COLUMNS
from workbench.market.text_tally import SCALE, Sums
from workbench.market.typed import losses_metadata

SUFFIXES = (".csv", ".parquet")

Row = tuple[str, str, int, int, int, int, float | None]
"""A row of the table, in the order of METHOD's columns."""


def table_rows(days: Mapping[tuple[int, str], Sums]) -> list[Row]:
    """Return the rows of the table in order."""
    rows: list[Row] = []
    for day, symbol in sorted(days):
        posts, comments, likes, impressions, scored, total = days[day, symbol]
        # A quotient of whole numbers: Python rounds it once, correctly.
        sentiment = (total + scored * SCALE) / (2 * scored * SCALE) if scored else None
        date = dt.date.fromordinal(day).isoformat()
        rows.append((date, symbol, posts, comments, likes, impressions, sentiment))
    return rows


def check_table_file(out: Path, posts: Path) -> None:
    """Raise ConfigError if the table cannot be written there, before anything is scored."""
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"out must be a file named {' or '.join(SUFFIXES)}, got {show(out, 200)!r}")
    why = "it is a folder" if out.is_dir() else why_not_writable(out.parent)
    if why is not None:
        raise ConfigError(
            f"out must be a file in a folder that can be written, got {show(out, 200)!r} ({why}); name another"
        )
    if out.exists() and out.samefile(posts):
        raise ConfigError(f"out must not be the file of posts itself, got {show(out, 200)!r}; name another")


def write_table(out: Path, rows: list[Row], losses: tuple[Loss, ...]) -> None:
    """Write the table, by the name's ending as CSV or Parquet, whole or not at all.

    Raises
    ------
    UnavailableError
        The disk is full, or the folder cannot be written; what was there is as it was.
    """
    data = _csv(rows) if out.suffix.lower() == ".csv" else _parquet(rows, losses)
    write_file(out, data, advice="")


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: list[Row], losses: tuple[Loss, ...]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(zip(*rows, strict=True))
    days = pa.array([dt.date.fromisoformat(day) for day in columns[0]], pa.date32())
    numbers = [pa.array([None if cell is None else float(cell) for cell in column]) for column in columns[2:]]
    table = pa.table([days, pa.array(columns[1], pa.string()), *numbers], names=list(COLUMNS))
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(losses_metadata(losses)), sink)
    return sink.getvalue()
