"""Which column of a file of posts is what.

Enters: the header, and the user's own column names. Leaves: a `PostLayout`, or a DataError naming what is missing. A post has a `date`
(an ISO day) or a `timestamp`, a `symbol`, a `text`, and counts of `likes`, `comments` and `impressions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.config import nearest
from workbench.errors import ConfigError, DataError
from workbench.market.columns import check_header, split_columns
from workbench.market.files import show

COUNTS = ("comments", "likes", "impressions")
NAMES = ("date", "timestamp", "symbol", "text", "likes", "comments", "impressions")


@dataclass(frozen=True)
class PostLayout:
    """Where a post's values stand.

    columns : the file's names of day, symbol, text, comments, likes and impressions, in this order; None for a count without a column.
    positions : their positions in the header.
    width : fields of a row.
    timed : the day comes from a time stamp.
    """

    columns: tuple[str | None, ...]
    positions: tuple[int | None, ...]
    width: int
    timed: bool


def parse_post_columns(text: str) -> dict[str, str]:
    """Read a mapping as the command line has it: `likes=favourites,symbol=ticker`.

    Raises
    ------
    ConfigError
        A part is not `name=column`, or a name is unknown or given twice.
    """
    columns = split_columns(text)
    check_post_columns(columns)
    return columns


def check_post_columns(columns: Mapping[str, str]) -> None:
    """Raise ConfigError unless a mapping of column names is one of posts."""
    for name in columns:
        if name not in NAMES:
            raise ConfigError(f"columns must map {', '.join(NAMES)}, got {show(name)!r}{nearest(str(name), NAMES)}")
    owns = list(columns.values())
    for own in owns:
        if owns.count(own) > 1:
            raise ConfigError(f"columns must map each column of the file once, got {show(own)!r} twice")
    if "date" in columns and "timestamp" in columns:
        raise ConfigError("columns must map date or timestamp, got both; a post has one of them")


def post_layout(where: str, header: Sequence[str], names: Mapping[str, str]) -> PostLayout:
    """Return which column is what.

    Parameters
    ----------
    where
        Where the header stands, for messages.
    header
        The file's column names.
    names
        Our names to the file's own, checked. Without it all columns are needed; with it, a count may be absent.

    Raises
    ------
    DataError
        A column is missing or occurs twice, or there are both a date and a timestamp.
    """
    check_header(where, header)
    day = _day_name(where, header, names)
    wanted = (day, "symbol", "text", *COUNTS)
    columns = tuple(_own(where, header, names, name) for name in wanted)
    positions = tuple(None if column is None else header.index(column) for column in columns)
    return PostLayout(columns, positions, len(header), day == "timestamp")


def _day_name(where: str, header: Sequence[str], names: Mapping[str, str]) -> str:
    for name in ("timestamp", "date"):
        if name in names:
            return name
    taken = set(names.values())
    there = [name for name in ("timestamp", "date") if name in header and name not in taken]
    if len(there) == 2:
        raise DataError(
            f"{where}: must have a column date or timestamp, got both; choose with --columns timestamp=timestamp or date=date"
        )
    if not there:
        way = "give your own name for it, as in --columns timestamp=created_at"
        raise DataError(f"{where}: must have a column date or timestamp, got {show(', '.join(header), 120)}; {way}")
    return there[0]


def _own(where: str, header: Sequence[str], names: Mapping[str, str], name: str) -> str | None:
    own = names.get(name, name)
    if own in header and (name in names or own not in set(names.values())):
        return own
    if name in COUNTS and names and name not in names:
        return None
    plain = {"".join(column.split()).lower(): column for column in reversed(header)}
    near = next((plain[key] for key in (own.lower(), name, name.rstrip("s")) if key in plain), None)
    hint = f"; did you mean {show(near)!r}?" if near else nearest(own, [show(column) for column in header])
    way = f"; give your own name for it, as in --columns {name}={show(near or 'NAME')}"
    raise DataError(f"{where}: must have a column {show(own)}, got {show(', '.join(header), 120)}{hint}{way}")
