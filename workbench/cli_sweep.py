"""`workbench sweep`: many configurations on one market.

Enters: arguments. Leaves: a table for people, a list of objects with --json, or a Parquet file; progress on stderr.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench import cli_remote
from workbench.cli_remote import DatasetOption, ExportOption, UrlOption
from workbench.cli_tables import refuse
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.market.tables import Market
    from workbench.sweep.grid import Grid
    from workbench.sweep.result import SweepResult

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
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="auto|local|ray", help="where it runs [default: auto]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the parts of a sweep that was stopped")] = False,
    export: ExportOption = None,
    url: UrlOption = None,
    dataset: DatasetOption = None,
) -> None:
    """Run every combination of some parameters.

    The other study options hold for all of them. With -o, parts that are finished lie beside the file until it is done.
    """
    from workbench.report.export import EXPORTS, check_file, export_sweep
    from workbench.report.text import sweep_text

    if export is not None:
        check_file("export", export, EXPORTS)
    address = cli_remote.address(url, dataset)
    rows = _rows(grid, options)
    _check_rows(rows, "--json" if as_json else "--export .json" if export and export.suffix == ".json" else None)
    if address is None:
        result, warned = _sweep_here(rows, options, out, returns, engine or "auto", resume)
    else:
        refuse(
            {
                "--returns": (returns, "an API gives no returns by day"),
                "--resume": (resume, "an API begins each sweep anew"),
                "--engine": (engine, "the server decides"),
            }
        )
        result, warned = cli_remote.sweep(address, options, dataset, grid, rows, out)
    for line in warned:
        typer.echo(f"workbench: warning: {line}", err=True)
    if export is not None:
        export_sweep(export, result)
    if as_json:
        typer.echo(json.dumps(list(result.to_records()), allow_nan=False))
    else:
        typer.echo(sweep_text(result))


def _sweep_here(
    rows: Grid, options: dict[str, Any], out: Path | None, returns: Path | None, engine: str, resume: bool
) -> tuple[SweepResult, list[str]]:
    """Run a sweep; return it, and what the user is to be warned of."""
    from workbench.calls import run_sweep
    from workbench.report.parameters import market_of

    market = market_of(options)
    result = run_sweep(rows, market, engine, out=out, returns=returns, resume=resume)
    warned = [f"exclude names {symbol}, which the table does not contain" for symbol in _unknown(rows, market)]
    if result.failures:
        first = min(result.failures)
        count = f"{len(result.failures):,} of {len(result):,} configurations failed"
        warned.append(f"{count}; row {first}: {result.failures[first]}")
    return result, warned


def _rows(text: str, options: dict[str, Any]) -> Grid:
    """Return the configurations of a grid, the study options being the same for all of them."""
    from workbench.config import StudyConfig
    from workbench.report.parameters import DATA
    from workbench.sweep.grid import parse_grid, product_grid

    axes = parse_grid(text)
    study = {name: value for name, value in options.items() if name not in DATA}
    for name in study:
        if name in axes:
            raise ConfigError(f"{name} must be an option or in the grid, got both")
    return product_grid(axes, StudyConfig(**study))


def _unknown(grid: Grid, market: Market) -> list[str]:
    """Return the symbols that a grid excludes and the table does not have."""
    named = {symbol for symbols in grid.values["exclude"] for symbol in symbols}
    return sorted(named - set(market.sentiment.symbols))


def _check_rows(grid: Grid, form: str | None) -> None:
    if form is not None and len(grid) > JSON_ROWS:
        raise ConfigError(
            f"{form} must be of at most {JSON_ROWS:,} configurations, got {len(grid):,}; write them to a file with -o"
        )
