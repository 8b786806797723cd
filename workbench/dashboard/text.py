"""Numbers and lines as the dashboard writes them.

Enters: METHOD's numbers as the API gives them, lines that anybody may have written. Leaves: text with a real minus sign, "–" for what is
undefined and why it is; lines in which nothing is read as Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from workbench.report.table import Table
from workbench.result import format_number

UNDEFINED = "–"
_MARKS = re.compile(r"([!-/:-@\[-`{-~])")
_MINUS = re.compile(r"(?<![\w\d])-(?=\d)")


def plain(text: str) -> str:
    """Return a line so that Markdown shows it as it is: a name in it must not become a link or a picture."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def number(name: str, value: Any) -> str:
    """Write one of METHOD's numbers; "–" where it is undefined."""
    return UNDEFINED if value is None else minus(format_number(name, value))


def minus(text: str) -> str:
    """Return a number's text with a minus sign in the place of a hyphen; days keep theirs."""
    return _MINUS.sub("−", text)


def for_people(table: Table) -> Table:
    """Return a table with its numbers as this module writes them; columns of text stay as they are."""
    frame = table.frame.copy()
    for column in frame.columns[1:]:
        if column not in table.text_columns:
            frame[column] = [
                UNDEFINED if value == "undefined" else minus(value) if isinstance(value, str) else value
                for value in frame[column]
            ]
    return Table(frame, table.caption, table.text_columns, table.strong, table.empty, table.folded)


def why_undefined(name: str, summary: Mapping[str, Any]) -> str:
    """Return why a number of a summary is undefined: METHOD's rule for it."""
    days = summary.get("n_days")
    if days == 0:
        return "no rebalance was executed, so that there are no returns"
    if days == 1:
        return "there is one daily return, and this needs two"
    return "what it is divided by is zero"


def undefined_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return a line for each reason that makes numbers of a summary undefined, with their names."""
    reasons: dict[str, list[str]] = {}
    for name, value in summary.items():
        bare = name.removeprefix("benchmark_").removeprefix("gross_")
        said = bare != name and summary.get(bare, 0) is None  # the reason for one is that for all three
        if value is None and not said and not name.endswith("_date"):
            reasons.setdefault(why_undefined(name, summary), []).append(name)
    return [f"{UNDEFINED} undefined, because {reason}: {', '.join(names)}" for reason, names in reasons.items()]
