"""A few rows as people read them: HTML without ids or styles, text without addresses.

Enters: texts. Leaves: what results show of themselves in Lab and in a terminal, the same on every machine, so that nbval can compare it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def html_rows(caption: str, rows: Rows, head: Sequence[str] = ()) -> str:
    """Return a table; the first cell of a row names it."""
    top = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>{"".join(f"<td>{html.escape(text)}</td>" for text in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f"<table><caption>{html.escape(caption)}</caption>"
        + (f"<thead><tr>{top}</tr></thead>" if top else "")
        + f"<tbody>{body}</tbody></table>"
    )


def text_rows(caption: str, rows: Rows, head: Sequence[str] = ()) -> str:
    """Return the same as lines, columns aligned."""
    listed = [list(row) for row in ([head, *rows] if head else rows)]
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in listed)
    return "\n".join([caption, *(f"  {line}" for line in lines)])
