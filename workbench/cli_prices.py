"""`workbench prices`: fetch into the store, show what it has, check it.

Enters: arguments. Leaves: tables on stdout, progress on stderr. Ctrl-C keeps what is done.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.errors import CheckError, ConfigError

if TYPE_CHECKING:
    from workbench.market.ensure import Fetch


def fetch(
    symbols: Annotated[str | None, typer.Option("--symbols", metavar="A,B,...", help="what to fetch")] = None,
    from_sentiment: Annotated[
        str | None, typer.Option("--from-sentiment", metavar="FILE", help="fetch the symbols of a sentiment table")
    ] = None,
    benchmark: Annotated[str, typer.Option("--benchmark", help="fetched with a sentiment table")] = "QQQ",
    start: Annotated[str | None, typer.Option("--start", metavar="DAY", help="first day")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="DAY", help="last day; today if not given")] = None,
    columns: Annotated[str | None, typer.Option("--columns", help="column names of the sentiment table")] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="local|ray", help="threads here, or Ray's workers")
    ] = "local",
    refresh: Annotated[bool, typer.Option("--refresh", help="ask for the whole history again")] = False,
) -> None:
    """Fetch daily prices from Yahoo into the store; only what is missing is asked for."""
    from workbench.market.load import DEFAULT_DAYS
    from workbench.market.remote import check_priced
    from workbench.progress import progress

    wanted, first = _wanted(symbols, from_sentiment, benchmark, columns)
    last = _day("end", end) or dt.date.max
    today = dt.datetime.now(dt.UTC).date()
    last = min(last, today)
    first = _day("start", start) or first or last - dt.timedelta(days=DEFAULT_DAYS)
    if first > last:
        raise ConfigError(f"start must not be after end, got {first} and {last}; swap them")
    from workbench.market.store import PriceStore

    asker, store = _fetcher(engine), PriceStore.default()
    with progress(len(wanted), "prices", "symbols") as tick:
        done = store.ensure(wanted, first, last, asker, progress=lambda _: tick(1), refresh=refresh)
    check_priced(done)
    failed = [one for one in done if one.status != "ok"]
    fetched = sum(one.action not in ("covered", "failed") for one in done)
    typer.echo(
        f"{len(done) - len(failed)} of {len(done)} symbols are stored from {first} to {last}; {fetched} were fetched now"
    )
    for one in done:
        if one.status == "ok" and one.reason:
            typer.echo(f"  {one.symbol:12s} note     {one.reason}")
    for one in failed:
        kept = f"; its bars of earlier end on {one.coverage.last}" if one.priced and one.coverage else ""
        typer.echo(f"  {one.symbol:12s} {one.status:8s} {one.reason}{kept}")


def status() -> None:
    """Show what the store has of each symbol."""
    from workbench.market.store import PriceStore

    frame = PriceStore.default().status()
    if not len(frame):
        typer.echo("the price store is empty; fill it: workbench prices fetch --symbols A,B")
        return
    names = "symbol status source_symbol first last rows covered_first covered_last currency fetched_at reason".split()
    shown = frame[names]
    typer.echo(shown.astype(object).where(shown.notna(), "").to_string(index=False))


def verify() -> None:
    """Check every file of the store, and look for missing trading days."""
    from workbench.market.store import PriceStore

    store = PriceStore.default()
    findings = store.verify()
    for finding in findings:
        name = f" {finding.symbol}" if finding.symbol else ""
        typer.echo(f"{finding.kind}{name}: {finding.file}: {finding.detail}")
    damaged = [finding for finding in findings if finding.kind == "damaged"]
    if damaged:
        raise CheckError(
            f"{len(damaged)} files of the price store are damaged, named above; "
            "fetch these symbols again; a snapshot's file cannot be fetched: delete its .json in prices/snapshots to give it up"
        )
    typer.echo(f"the price store is sound: {len(store.status())} symbols")


def application() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(help="Daily prices from Yahoo, in a store of your own.", rich_markup_mode=None)
    for function in (fetch, status, verify):
        app.command(function.__name__)(function)
    return app


def _wanted(
    symbols: str | None, table: str | None, benchmark: str, columns: str | None
) -> tuple[list[str], dt.date | None]:
    """Return the symbols to fetch, and from which day on, if that is known."""
    if (symbols is None) == (table is None):
        raise ConfigError(
            "prices fetch must have --symbols or --from-sentiment, got " + ("none" if symbols is None else "both")
        )
    if symbols is not None:
        names = [name.strip() for name in symbols.split(",") if name.strip()]
        if not names:
            raise ConfigError(f"symbols must name at least one, got {symbols!r}")
        return names, None
    from workbench.market.load import HISTORY_DAYS
    from workbench.market.sentiment import parse_columns, read_sentiment

    read = read_sentiment(table or "", parse_columns(columns) if columns else None)
    return [*read.symbols, benchmark], read.days[0].item() - dt.timedelta(days=HISTORY_DAYS)


def _day(name: str, text: str | None) -> dt.date | None:
    from workbench.market.sentiment import parse_bound

    return parse_bound(name, text)


def _fetcher(engine: str) -> Fetch:
    if engine == "ray":
        from workbench.cluster import session

        session.check()
        from workbench.cluster.tasks import fetch_on_ray

        return fetch_on_ray
    if engine not in ("local", "auto"):
        raise ConfigError(f"engine must be one of auto, local, ray, got {engine!r}")
    from workbench.market.remote import fetch_in_threads

    return fetch_in_threads
