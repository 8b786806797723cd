"""From chunks of posts to sums by day and symbol: what a worker does, and how its answers are added up.

Enters: a chunk of rows. Leaves: a `Tally`. All of a tally's sums are of whole numbers, a score counting in millionths, so that
adding tallies up gives the same in any order and however a file was cut into chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from workbench.errors import DataError, WorkbenchError
from workbench.market.scorer import Scorer, ScorerSpec
from workbench.market.scorers import make_scorer
from workbench.market.text_layout import COUNTS, PostLayout
from workbench.market.text_rows import Bad, Cells, Clock, Post, RowReader

GROUP = 32
"""Rows whose texts a scorer gets at once. The last bits of a network's answer may depend on what else is in its batch, so groups
are counted from the first row of the file, and every chunk but the last is a multiple of them."""

SCALE = 10**6
"""Units of a score of 1. VADER's scores have four decimals."""

Sums = list[int]
"""Posts, comments, likes, impressions, posts scored, their scores in 1/`SCALE`."""


class Chunk(Protocol):
    """Some rows of a file."""

    def rows(self, layout: PostLayout) -> Iterator[tuple[int, Cells | Bad]]:
        """Yield (line or row number, cells or what is wrong with the row)."""


@dataclass
class Tally:
    """What some chunks of posts add up to.

    rows : rows read.
    days : (ordinal of the day, symbol) to its sums.
    noted : what happened to posts that were kept, such as "empty_text": how many, the ordinals of their first and last day.
    bad : reason to how many rows were left out for it, the first line, the value got there.
    """

    rows: int = 0
    days: dict[tuple[int, str], Sums] = field(default_factory=dict)
    noted: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    bad: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def note(self, what: str, day: int) -> None:
        """Count a post of which something is to be said."""
        count, first, last = self.noted.get(what, (0, day, day))
        self.noted[what] = (count + 1, min(first, day), max(last, day))

    def leave_out(self, line: int, bad: Bad) -> None:
        """Count a row that is left out; lines come in increasing order."""
        count, first, got = self.bad.get(bad.reason, (0, line, bad.got))
        self.bad[bad.reason] = (count + 1, first, got)

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.rows += other.rows
        for key, sums in other.days.items():
            mine = self.days.setdefault(key, [0] * len(sums))
            for place, value in enumerate(sums):
                mine[place] += value
        for what, (count, first, last) in other.noted.items():
            own, mine_first, mine_last = self.noted.get(what, (0, first, last))
            self.noted[what] = (own + count, min(mine_first, first), max(mine_last, last))
        for reason, (count, line, got) in other.bad.items():
            own, mine_line, mine_got = self.bad.get(reason, (0, line, got))
            where = min((mine_line, mine_got), (line, got))
            self.bad[reason] = (own + count, *where)


class PostWorker:
    """Scores chunks; holds the scorer, which is made when the first chunk comes.

    Parameters
    ----------
    layout, clock
        How rows are read.
    spec
        Which scorer to make.
    """

    def __init__(self, layout: PostLayout, clock: Clock, spec: ScorerSpec) -> None:
        self._layout, self._reader, self._spec = layout, RowReader(layout, clock), spec
        self._scorer: Scorer | None = None

    def tally(self, chunk: Chunk) -> Tally | WorkbenchError:
        """Return the sums of a chunk, or the error of a scorer that cannot score."""
        try:
            if self._scorer is None:
                self._scorer = make_scorer(self._spec)
            return self._tally(chunk, self._scorer)
        except WorkbenchError as error:
            return error

    def _tally(self, chunk: Chunk, scorer: Scorer) -> Tally:
        tally, rows = Tally(), chunk.rows(self._layout)
        while group := list(islice(rows, GROUP)):
            posts = self._posts(tally, group)
            if posts:
                self._score(tally, posts, scorer)
        return tally

    def _posts(self, tally: Tally, group: list[tuple[int, Cells | Bad]]) -> list[tuple[Post, Sums]]:
        """Count the rows of a group; return its posts that have a text, with the sums that each belongs to."""
        with_text = []
        tally.rows += len(group)
        for line, cells in group:
            post = cells if isinstance(cells, Bad) else self._reader.read(cells)
            if isinstance(post, Bad):
                tally.leave_out(line, post)
                continue
            sums = tally.days.setdefault((post.day, post.symbol), [0] * (2 + len(COUNTS) + 1))
            sums[0] += 1
            for place, count in enumerate(post.counts, 1):
                if count is None:
                    tally.note(f"no {COUNTS[place - 1]}", post.day)
                else:
                    sums[place] += count
            if post.text.strip():
                with_text.append((post, sums))
            else:
                tally.note("empty_text", post.day)
        return with_text

    def _score(self, tally: Tally, posts: list[tuple[Post, Sums]], scorer: Scorer) -> None:
        scores = scorer.score([post.text for post, _ in posts])
        for (post, sums), (score, cut) in zip(posts, scores, strict=True):
            if not math.isfinite(score):
                raise DataError(f"{scorer.name} must give every text a finite score, got {score}; name another model")
            sums[-2] += 1
            sums[-1] += round(score * SCALE)
            if cut:
                tally.note("long_text", post.day)
