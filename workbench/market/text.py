"""Text to sentiment: from single posts to METHOD's daily table.

Enters: a file of posts, one row each: `date` or `timestamp`, `symbol`, `text`, `likes`, `comments`, `impressions`. Leaves: a file with
one row per (day, symbol) in METHOD's columns, which `load_market` reads as it is, and a `ScoreResult` that says what became of
each row. What the numbers are:

- `twitterPosts`: the posts of that day and symbol, those without text included. `twitterComments`, `twitterLikes`, `twitterImpressions`:
  sums over them; an empty count adds nothing, and is counted in the losses.
- `twitterSentiment`: (1 + m) / 2, in [0, 1] as in the real table, where m is the mean over the posts with text of the scorer's score in
  [-1, 1]; 0.5 is neutral. Empty where no post has text.
- The day: see `text_rows`. With time stamps, day d holds what was posted after the cutoff of d-1 up to the cutoff of d, so that its row
  is known at the cutoff (by default the close) of day d.
- A row with a wrong cell (a day, symbol or count that is none, bytes that are not UTF-8, too few or too many fields) is left out and
  counted by reason. Only a file that cannot be read at all, or without one good row, is an error.

A file is read in chunks that a pool of workers turns into sums of whole numbers (scores in millionths), so neither memory nor a single
bit of the result depends on the number of posts, on the chunks, on the engine, or on which worker is done first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError, WorkbenchError
from workbench.losses import Loss
from workbench.market.scorer import ScorerSpec
from workbench.market.scorers import check_scorer
from workbench.market.text_layout import COUNTS, check_post_columns, parse_post_columns
from workbench.market.text_rows import Clock, clock_of
from workbench.market.text_source import PostSource, open_posts
from workbench.market.text_table import check_table_file, table_rows, write_table
from workbench.market.text_tally import Chunk, PostWorker, Tally

if TYPE_CHECKING:
    from workbench.execution import Engine

CHUNK_BYTES = {"vader": 1 << 19, "transformers": 1 << 15}
"""Bytes of posts in a chunk, by scorer: between a fraction of a second and some seconds of work, so that sending it costs little, and
little is lost with a worker."""

SECONDS_PER_BYTE = {"vader": 5e-7, "transformers": 2e-4}
"""Of one processor, by scorer; a post has some 150 bytes."""

Progress = Callable[[int | None, str, str], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class BadRows:
    """Rows left out for one reason: how many, the line (in Parquet the row) of the first one, and the value got there."""

    reason: str
    count: int
    first_line: int
    got: str


@dataclass(frozen=True)
class ScoreResult:
    """What became of a file of posts.

    out : the table that was written.
    scorer : what gave the scores, with versions.
    rows : rows read; each is one of `posts` or of `bad`.
    posts : rows that are in the table's counts; `scored` and `empty` (without text) add up to them.
    days, symbols, table_rows : of the table.
    bad : rows left out by reason, in the order of their first lines.
    losses : all of what was left out or is incomplete; a Parquet table carries them.
    account : which engine did the work, as `Engine.account` has it; not part of comparisons.
    """

    out: Path
    scorer: str
    rows: int
    posts: int
    scored: int
    empty: int
    days: int
    symbols: int
    table_rows: int
    bad: tuple[BadRows, ...]
    losses: tuple[Loss, ...]
    account: Mapping[str, Any] = field(compare=False, default_factory=dict)


@dataclass(frozen=True)
class ScorePlan:
    """What is to be scored, how and where to; all of it checked.

    scorer : what gives the scores, with versions.
    """

    source: PostSource
    out: Path
    clock: Clock
    spec: ScorerSpec
    scorer: str

    @property
    def seconds(self) -> float:
        """A rough guess at the work of one processor."""
        return self.source.size * SECONDS_PER_BYTE[self.spec.name]


def plan_scores(
    path: str | Path,
    out: str | Path,
    *,
    scorer: str = "vader",
    model: str | Path | None = None,
    timezone: str | None = None,
    cutoff: str | None = None,
    columns: Mapping[str, str] | str | None = None,
) -> ScorePlan:
    """Check what `score_posts` is given, before an engine is started for it; parameters and errors are the same."""
    names = parse_post_columns(columns) if isinstance(columns, str) else dict(columns or {})
    check_post_columns(names)
    spec = ScorerSpec(scorer, None if model is None else str(Path(model).expanduser().absolute()))
    name = check_scorer(spec)
    source = open_posts(path, names)
    check_table_file(Path(out), source.path)
    return ScorePlan(source, Path(out), clock_of(timezone, cutoff, source.layout), spec, name)


def score_posts(
    path: str | Path,
    out: str | Path,
    *,
    engine: Engine,
    scorer: str = "vader",
    model: str | Path | None = None,
    timezone: str | None = None,
    cutoff: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Score a file of posts and write the daily sentiment table.

    Parameters
    ----------
    path
        A CSV, CSV.gz or Parquet file of posts.
    out
        Where the table goes, .csv or .parquet; a file that is there is replaced when the new one is whole.
    engine
        Runs the pool of workers.
    scorer
        `vader`, or `transformers` with the folder of a model in `model`.
    timezone, cutoff
        For time stamps: whose clock tells the day (America/New_York), and the time (16:00) after which a post counts for the next day;
        24:00 is never.
    columns
        Our column names to the file's own, as a mapping or as `likes=favourites,symbol=ticker`. With it a count may be absent, and
        is then 0 throughout, with an entry in the losses.
    progress
        As `workbench.progress.progress`: told of the bytes of the file that are done with.

    Raises
    ------
    DataError
        The file cannot be read, its columns are not those of posts, none of its rows is good, or the model cannot be used.
    ConfigError
        An argument is wrong.
    UnavailableError
        The table cannot be written, a package is missing, or the engine lost its workers.
    """
    plan = plan_scores(path, out, scorer=scorer, model=model, timezone=timezone, cutoff=cutoff, columns=columns)
    return run_scores(plan, engine, progress)


def run_scores(
    plan: ScorePlan, engine: Engine, progress: Progress | None = None, chunk_bytes: int | None = None
) -> ScoreResult:
    """Carry out a plan; see `score_posts`. The result does not depend on `chunk_bytes`, the bytes of posts in a chunk."""
    with nullcontext(_nothing) if progress is None else progress(plan.source.size, "score", "bytes") as tick:
        tally = _tally(plan, engine, chunk_bytes or CHUNK_BYTES[plan.spec.name], tick)
    bad = sorted((BadRows(reason, *numbers) for reason, numbers in tally.bad.items()), key=_place)
    if not tally.days:
        raise _no_posts(plan.source.name, bad)
    losses = tuple(_losses(tally, bad, plan))
    rows = table_rows(tally.days)
    write_table(plan.out, rows, losses)
    posts, scored = (sum(sums[place] for sums in tally.days.values()) for place in (0, -2))
    return ScoreResult(
        out=plan.out,
        scorer=plan.scorer,
        rows=tally.rows,
        posts=posts,
        scored=scored,
        empty=posts - scored,
        days=len({day for day, _ in tally.days}),
        symbols=len({symbol for _, symbol in tally.days}),
        table_rows=len(rows),
        bad=tuple(bad),
        losses=losses,
        account=engine.account(),
    )


def _nothing(_: int) -> None:
    """Show no progress."""


def _tally(plan: ScorePlan, engine: Engine, chunk_bytes: int, tick: Callable[[int], None]) -> Tally:
    """Return the sums of a file's posts, scored by a pool of workers."""
    total, read = Tally(), []

    def chunks() -> Generator[Chunk]:
        for size, chunk in plan.source.chunks(chunk_bytes):
            read.append(size)
            yield chunk

    with engine.pool(PostWorker, plan.source.layout, plan.clock, plan.spec) as pool, closing(chunks()) as waiting:
        for position, answer in pool.map("tally", waiting):
            if isinstance(answer, WorkbenchError):
                raise answer
            total.add(answer)
            tick(read[position])
    return total


def _place(rows: BadRows) -> tuple[int, str]:
    return rows.first_line, rows.reason


def _no_posts(name: str, bad: list[BadRows]) -> DataError:
    if not bad:
        return DataError(f"{name}: has a header but no rows; name a file with posts")
    first, count = bad[0], sum(rows.count for rows in bad)
    got = f", got {first.got!r}" if first.got else ""
    return DataError(
        f"{name}: must have a row that can be read, got {count:,} that cannot; line {first.first_line}: {first.reason}{got}"
    )


def _losses(tally: Tally, bad: list[BadRows], plan: ScorePlan) -> Iterator[Loss]:
    for rows in bad:
        yield Loss(
            "bad_post", None, None, rows.count, None, None, f"{rows.reason}; the first on line {rows.first_line}"
        )
    reasons = {
        "empty_text": "the post has no text: it is counted, and has no score",
        "long_text": f"only the beginning of the text was scored: {plan.spec.limit}",
    }
    for name, column in zip(COUNTS, plan.source.layout.columns[3:], strict=True):
        why = "is empty: 0 was added" if column else "has no column: it is 0 throughout"
        reasons[f"no {name}"] = f"{name} {why}"
    for what, reason in reasons.items():
        if what in tally.noted:
            count, first, last = tally.noted[what]
            kind = "empty_post_count" if what.startswith("no ") else what
            start, end = (dt.date.fromordinal(day).isoformat() for day in (first, last))
            yield Loss(kind, None, None, count, start, end, reason)
