"""`workbench sweep`: many configurations on one market.

Enters: arguments. Leaves: a table for people, a list of objects with --json, or a Parquet file; progress on stderr.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.market.tables import Market
    from workbench.sweep.grid import Grid

JSON_ROWS = 10_000


def sweep(
    options: dict[str, Any],
    grid: Annotated[
        str, typer.Option("--grid", metavar="GRID", help="as top_n=1..20;cost_bps=0,10;exclude=A+B,C; all combinations")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print a list of objects and nothing else")] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.parquet", help="write the rows to a file")
    ] = None,
    returns: Annotated[
        Path | None, typer.Option("--returns", metavar="FILE.parquet", help="write daily net returns too")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", metavar="auto|local|ray", help="where it runs")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="go on from the parts of a sweep that was stopped")] = False,
) -> None:
    """Run every combination of some parameters.

    The other study options hold for all of them. With -o, parts that are finished lie beside the file until it is done.
    """
    from workbench.calls import run_sweep
    from workbench.report.parameters import DATA, market_of
    from workbench.report.text import sweep_text
    from workbench.sweep.grid import parse_grid, product_grid

    axes = parse_grid(grid)
    study = {name: value for name, value in options.items() if name not in DATA}
    for name in study:
        if name in axes:
            raise ConfigError(f"{name} must be an option or in the grid, got both")
    rows = product_grid(axes, _base(study))
    _check_rows(rows, as_json)
    market = market_of(options)
    result = run_sweep(rows, market, engine, out=out, returns=returns, resume=resume)
    for symbol in _unknown(rows, market):
        typer.echo(f"workbench: warning: exclude names {symbol}, which the table does not contain", err=True)
    if result.failures:
        first = min(result.failures)
        typer.echo(
            f"workbench: warning: {len(result.failures):,} of {len(result):,} configurations failed; row {first}: "
            f"{result.failures[first]}",
            err=True,
        )
    if as_json:
        typer.echo(json.dumps(list(result.to_records()), allow_nan=False))
    else:
        typer.echo(sweep_text(result))


def _unknown(grid: Grid, market: Market) -> list[str]:
    """Return the symbols that a grid excludes and the table does not have."""
    named = {symbol for symbols in grid.values["exclude"] for symbol in symbols}
    return sorted(named - set(market.sentiment.symbols))


def _base(study: dict[str, Any]) -> Any:
    from workbench.config import StudyConfig

    return StudyConfig(**study)


def _check_rows(grid: Grid, as_json: bool) -> None:
    if as_json and len(grid) > JSON_ROWS:
        raise ConfigError(
            f"--json must be of at most {JSON_ROWS:,} configurations, got {len(grid):,}; write them to a file with -o"
        )
