"""`workbench score`: from posts to the daily sentiment table.

Enters: arguments. Leaves: the table's path on stdout; on stderr progress, what became of the posts, and why rows were left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.market.text import ScoreResult


def score(
    posts: Annotated[str, typer.Argument(metavar="POSTS.csv", help="one row per post; .csv, .csv.gz or .parquet")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="TABLE.csv", help="the table; .csv or .parquet")],
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", metavar="NAME", help="whose clock tells a post's day [default: America/New_York]"),
    ] = None,
    cutoff: Annotated[
        str | None,
        typer.Option("--cutoff", metavar="HH:MM", help="later posts count for the next day [default: 16:00]"),
    ] = None,
    scorer: Annotated[
        str, typer.Option("--scorer", metavar="vader|transformers", help="what gives the scores")
    ] = "vader",
    model: Annotated[
        str | None, typer.Option("--model", metavar="FOLDER", help="the model of the scorer transformers")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="NAME=COLUMN,...", help="as text=body,likes=favourites")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", metavar="auto|local|ray", help="where it runs")] = "auto",
) -> None:
    """Score the text of posts and write the daily sentiment table.

    Columns: date or timestamp, symbol, text, likes, comments, impressions. Rows that cannot be read are left out and counted.
    """
    from workbench.market.text import plan_scores, run_scores

    plan = plan_scores(
        posts, out, scorer=scorer, model=model, timezone=timezone, cutoff=cutoff, columns=columns or None
    )
    from workbench.engines import choose
    from workbench.progress import progress

    with choose(engine, plan.seconds) as chosen:
        result = run_scores(plan, chosen, progress)
    for line in summary(posts, result):
        typer.echo(f"workbench: {line}", err=True)
    typer.echo(result.out)


def summary(posts: str, result: ScoreResult) -> Iterator[str]:
    """Yield what became of a file of posts, a line each."""
    from workbench.market.files import show

    left_out = result.rows - result.posts
    yield (
        f"{show(posts, 200)}: {result.rows:,} rows, {result.scored:,} scored, {result.empty:,} without text, "
        f"{left_out:,} left out ({result.scorer})"
    )
    for rows in result.bad:
        got = f", got {rows.got!r}" if rows.got else ""
        yield f"  left out {rows.count:,}: {rows.reason}; the first on line {rows.first_line:,}{got}"
    for loss in result.losses:
        if loss.kind != "bad_post":
            yield f"  kept {loss.count:,}: {loss.reason}"
    sizes = {"row": result.table_rows, "day": result.days, "symbol": result.symbols}
    counts = ", ".join(f"{size:,} {noun}{'' if size == 1 else 's'}" for noun, size in sizes.items())
    yield f"{show(result.out, 200)}: {counts} ({result.account['engine']} engine)"
