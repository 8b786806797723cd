"""Table: a frame as people read it, the same in Lab, in the rendered report and as plain text.

Enters: a frame of texts and numbers. Leaves: HTML without ids or styles of its own, and text without addresses or truncation, so that
nbval can compare both.
"""

from __future__ import annotations

import html
from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd

_SHORT = 16


@dataclass(frozen=True, eq=False)
class Table:
    """A frame with a caption.

    `text_columns` are set flush left, all others but the first flush right; `strong` names rows to stress; `empty` says what no row means;
    a `folded` table shows its caption only, until it is opened.
    """

    frame: pd.DataFrame
    caption: str = ""
    text_columns: Collection[str] = ()
    strong: Collection[str] = ()
    empty: str = "none"
    folded: bool = False

    def __repr__(self) -> str:
        lines = [self.caption] if self.caption else []
        body = self.frame.to_string(index=False, na_rep="", max_colwidth=80) if len(self.frame) else self.empty
        return "\n".join([*lines, *(line.rstrip() for line in body.split("\n"))])

    def _repr_html_(self) -> str:
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption and not self.folded else ""
        if not len(self.frame):
            lead = f"{html.escape(self.caption)}: " if self.caption else ""
            return f'<p class="wb-empty">{lead}{html.escape(self.empty)}</p>'
        flush = [self._flush(position) for position in range(self.frame.shape[1])]
        head = "".join(
            f'<th scope="col" class="{kind}">{html.escape(str(name))}</th>'
            for name, kind in zip(self.frame.columns, flush, strict=True)
        )
        label = html.escape(self.caption or str(self.frame.columns[0]) or "table")
        rows = "".join(self._row(row, flush) for row in self.frame.itertuples(index=False, name=None))
        table = (
            f'<div class="wb-scroll" tabindex="0" role="region" aria-label="{label}">'
            f'<table class="wb">{caption}<thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
        if not self.folded:
            return table
        return f'<details class="wb-fold"><summary>{html.escape(self.caption)}</summary>{table}</details>'

    def _flush(self, position: int) -> str:
        """Return a column's classes: short texts, such as days, are not broken over lines."""
        if position and self.frame.columns[position] not in self.text_columns:
            return "number"
        short = self.frame.iloc[:, position].astype(str).str.len().max() <= _SHORT
        return "text short" if short else "text"

    def _row(self, row: tuple[object, ...], flush: list[str]) -> str:
        texts = ["" if value is None or value != value else html.escape(str(value)) for value in row]
        first = f'<th scope="row" class="{flush[0]}">{texts[0]}</th>'
        cells = "".join(f'<td class="{kind}">{text}</td>' for text, kind in zip(texts[1:], flush[1:], strict=True))
        mark = ' class="strong"' if str(row[0]) in self.strong else ""
        return f"<tr{mark}>{first}{cells}</tr>"
