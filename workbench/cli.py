"""The command line: parse, call, print.

Enters: arguments. Leaves: the answer on stdout, everything else on stderr, an exit code: 0 done, 1 a check failed, 2 the user's input is
wrong, 3 something outside failed. Each command imports what it needs when it runs, so that `--help` and a mistake are answered at once.
The options of a study are made from the fields of `StudyConfig`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import workbench
from workbench import (
    cli_dashboard,
    cli_lab,
    cli_prices,
    cli_ray,
    cli_remote,
    cli_score,
    cli_serve,
    cli_sweep,
    cli_system,
)
from workbench.cli_remote import DatasetOption, ExportOption, UrlOption
from workbench.cli_tables import refuse
from workbench.errors import CheckError, ConfigError, WorkbenchError
from workbench.options import Command, with_options

if TYPE_CHECKING:
    from workbench.report.parameters import Parameter

WITH_STUDY = ("report", "backtest", "sweep")
WITH_DATA = (*WITH_STUDY, "stocks")


def report(
    options: dict[str, Any],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="any parameter of the notebook")
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="where the files go")] = Path("reports"),
    notebook: Annotated[
        str | None, typer.Option("--notebook", metavar="NAME|FILE", help="which notebook [default: portfolio_report]")
    ] = None,
    matrix: Annotated[
        Path | None,
        typer.Option("--matrix", metavar="FILE", help="many reports and a page that compares them: studies in YAML"),
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="with --matrix: make reports anew that are there")] = False,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="auto|local|ray", help="what runs the work [default: auto]")
    ] = None,
    url: UrlOption = None,
    dataset: DatasetOption = None,
) -> None:
    """Run a notebook and write its report.

    A page (.html), the executed notebook (.ipynb) and a .json file side by side. Prints the path of the page; with --matrix that of
    the page that compares the studies of the file, for which the other options are defaults.
    """
    given = _given(options, parameter or [])
    address = cli_remote.address(url, dataset)
    if address is not None:
        _report_there(
            address, given, dataset, out, {"notebook": notebook, "matrix": matrix, "refresh": refresh, "engine": engine}
        )
        return
    if matrix is not None:
        _report_matrix(matrix, given, notebook, out, refresh, engine)
        return
    if refresh:
        raise ConfigError("--refresh must come with --matrix; a single report is always made anew")
    from workbench.calls import run_report
    from workbench.report.run import DEFAULT_NOTEBOOK, failure_line

    run = run_report(notebook or DEFAULT_NOTEBOOK, given, out, engine or "auto")
    typer.echo(run.html)
    if run.failure is not None:
        raise CheckError(failure_line(run))


def _given(options: dict[str, Any], parameters: list[str]) -> dict[str, Any]:
    """Return the options and, as text, what -p names besides."""
    given = dict(options)
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"-p must be like top_n=10, got {text!r}")
        if name in given:
            raise ConfigError(f"{name} must be given once, got it twice")
        given[name] = value
    return given


def _report_there(address: str, given: dict[str, Any], dataset: str | None, out: Path, local: dict[str, Any]) -> None:
    """Let an API make the report; `local` are the options that only work here."""
    from workbench.report.run import DEFAULT_NOTEBOOK

    own_notebook = local["notebook"] if local["notebook"] != DEFAULT_NOTEBOOK else None
    refuse(
        {
            "--matrix": (local["matrix"], "an API makes one report at a time"),
            "--refresh": (local["refresh"], "it is for --matrix"),
            "--notebook": (own_notebook, f"an API makes {DEFAULT_NOTEBOOK}"),
            "--engine": (local["engine"], "the server decides"),
        }
    )
    page, warned = cli_remote.report(address, given, dataset, out)
    _warn(warned)
    typer.echo(page)


def _report_matrix(
    file: Path, given: dict[str, Any], notebook: str | None, out: Path, refresh: bool, engine: str | None
) -> None:
    """Make the reports of a matrix and print where they are compared."""
    from workbench.report.matrix import read_matrix

    matrix = read_matrix(file, given, notebook)
    from workbench.cluster import session
    from workbench.engines import choose
    from workbench.execution import LocalEngine
    from workbench.report.batch import run_matrix

    wanted: str | LocalEngine = engine or "auto"
    if wanted == "auto" and session.in_use() is None:
        # However much work it is: kernels are processes of this machine either way, and a Ray takes 20 s to start.
        wanted = LocalEngine(why="no Ray is in use, and one started here would have the same processors")
    with choose(wanted) as chosen:
        batch = run_matrix(matrix, out, chosen, refresh=refresh)
    typer.echo(batch.index)
    if batch.failed:
        first = batch.failed[0]
        raise CheckError(
            f"{len(batch.failed)} of {len(batch.entries)} studies failed, the first is {first.name}: {first.reason}; "
            f"see {batch.index}"
        )


def backtest(
    options: dict[str, Any],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
    trades: Annotated[
        Path | None, typer.Option("--trades", metavar="FILE", help="write the trades to a .csv or .parquet file")
    ] = None,
    export: ExportOption = None,
    url: UrlOption = None,
    dataset: DatasetOption = None,
) -> None:
    """Run one study and print its numbers."""
    from workbench.report.export import EXPORTS, TABLES, check_file, export_study
    from workbench.report.text import study_text, warnings

    for name, path, suffixes in (("trades", trades, TABLES), ("export", export, EXPORTS)):
        if path is not None:
            check_file(name, path, suffixes)
    address = cli_remote.address(url, dataset)
    if address is None:
        answer = _study_here(options, trades)
    else:
        refuse({"--trades": (trades, "an API gives no trades")})
        answer = cli_remote.backtest(address, options, dataset)
    study = answer["study"]
    _warn(warnings(study))
    if export is not None:
        export_study(export, study, answer["performance_data"])
    if as_json:
        _print_json(study)
    else:
        typer.echo(study_text(study))


def _study_here(options: dict[str, Any], trades: Path | None) -> dict[str, Any]:
    """Run a study and return it as an API does."""
    from workbench.api.answers import performance
    from workbench.config import StudyConfig
    from workbench.report.export import write_table
    from workbench.report.parameters import market_of, study_config
    from workbench.study import run_study

    config = study_config(options) or StudyConfig()
    result = run_study(config, market_of(options))
    if trades is not None:
        write_table(result.trades, trades)
    return {"study": result.to_dict(), "performance_data": performance(result.returns)}


def stocks(
    options: dict[str, Any],
    symbol: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="as written in the price table")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
    export: ExportOption = None,
    url: UrlOption = None,
    dataset: DatasetOption = None,
) -> None:
    """Print the numbers of single stocks.

    Total return, annualized volatility and Sharpe ratio over the price days within --start and --end.
    """
    from workbench.report.export import EXPORTS, check_file, export_stocks
    from workbench.report.text import stocks_text

    if export is not None:
        check_file("export", export, EXPORTS)
    address = cli_remote.address(url, dataset)
    answer = _stocks_here(options, symbol) if address is None else cli_remote.stocks(address, options, symbol, dataset)
    if export is not None:
        export_stocks(export, answer)
    if as_json:
        _print_json(answer)
    else:
        typer.echo(stocks_text(answer))


def _stocks_here(options: dict[str, Any], symbols: list[str]) -> dict[str, Any]:
    """Measure single stocks and return them as they are printed."""
    from workbench.market.load import is_simulated, load_prices, wanted_prices
    from workbench.report.parameters import DATA, market_of
    from workbench.stocks import analyze_stocks

    if options.get("prices") is None:
        prices = market_of({name: value for name, value in options.items() if name not in ("start", "end")}).prices
    else:
        benchmark = options.get("benchmark", DATA["benchmark"].default)
        prices, _ = load_prices(options["prices"], benchmark, wanted_prices(symbols, benchmark, options))
    result = analyze_stocks(prices, symbols, options.get("start"), options.get("end"))
    kind = "simulated" if is_simulated(prices.symbols) else "real"
    source = {"prices": prices.source.path, "prices_sha256": prices.source.sha256, "data_kind": kind}
    return result.to_dict() | {"provenance": source}


def verify(
    path: Annotated[Path, typer.Argument(metavar="REPORT.ipynb", help="the executed notebook of a report")],
) -> None:
    """Check that a report still holds.

    First the hashes of its inputs, then every cell, executed again and compared by nbval.
    """
    from workbench.report.verify import verify_report

    verification = verify_report(path)
    for line in (*verification.problems, *(f"note: {note}" for note in verification.notes)):
        typer.echo(line)
    if not verification.ok:
        raise CheckError(f"{path.name} does not hold: {len(verification.problems)} things differ, named above")
    typer.echo(f"{path.name} holds: {verification.n_cells} cells give what is stored")


COMMANDS: dict[str, Command] = {
    "report": report,
    "backtest": backtest,
    "sweep": cli_sweep.sweep,
    "stocks": stocks,
    "score": cli_score.score,
    "verify": verify,
    "serve": cli_serve.serve,
    "dashboard": cli_dashboard.dashboard,
    "lab": cli_lab.lab,
    "doctor": cli_ray.doctor,
    "status": cli_system.status,
    "health": cli_system.health,
}


def build(full: Sequence[str] = WITH_DATA) -> typer.Typer:
    """Return the application; the commands named in `full` get all of their options, which costs an import of pydantic."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.callback()
    def _version(
        version: Annotated[
            bool, typer.Option("--version", help="print the version", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        """Portfolio studies from a table of social-media engagement: honest numbers, self-contained reports."""

    for name, function in COMMANDS.items():
        app.command(name)(
            with_options(function, _parameters(name) if name in full else {}) if name in WITH_DATA else function
        )
    app.add_typer(cli_prices.application(), name="prices")
    app.add_typer(cli_system.cache_application(), name="cache")
    return app


def _parameters(command: str) -> dict[str, Parameter]:
    from workbench.report.parameters import DATA, study_parameters

    return DATA | (study_parameters() if command in WITH_STUDY else {})


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"workbench {workbench.__version__}")
        raise typer.Exit


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(f"workbench: warning: {line}", err=True)


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, allow_nan=False))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code; errors become one line on stderr."""
    try:
        chosen = next((argument for argument in arguments if argument in COMMANDS), "")
        command = typer.main.get_command(build((chosen,)))
        with command.make_context("workbench", list(arguments) or ["--help"]) as context:
            _check_surroundings()
            command.invoke(context)
        sys.stdout.flush()
    except WorkbenchError as error:
        return _complain(str(error), error.exit_code)
    except typer.Exit as end:
        return end.exit_code
    except typer.TyperException as error:
        return _complain(_usage_message(error), 2)
    except BrokenPipeError:
        _close_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _close_stdout()
        return _complain(str(error), 3)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        if os.environ.get("WORKBENCH_DEBUG"):
            traceback.print_exc()
        way = "this is a bug; run with WORKBENCH_DEBUG=1 for the traceback"
        return _complain(f"{type(error).__name__}: {error}; {way}", 3)
    return 0


def _check_surroundings() -> None:
    """Refuse a current folder that is gone, and give a user without a home what Docker gives one: `/`, for tools that insist on one."""
    if not os.path.isabs(os.path.expanduser("~")):
        os.environ["HOME"] = "/"
    try:
        os.getcwd()
    except FileNotFoundError:
        text = "the current folder must exist, got one that was removed; change to another with cd"
        raise ConfigError(text) from None


def _close_stdout() -> None:
    """Let the interpreter not try to flush once more into a pipe that is gone or a disk that is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, code: int) -> int:
    print(f"workbench: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _usage_message(error: typer.TyperException) -> str:
    """Return what is wrong with the command line, with the nearest option or command there is."""
    import difflib

    context = getattr(error, "ctx", None)
    wrong = getattr(error, "option_name", None)
    message = error.format_message().split("\n")[0].rstrip(".")
    if wrong is not None and context is not None and hasattr(error, "possibilities"):
        known = [name for item in context.command.get_params(context) for name in (*item.opts, *item.secondary_opts)]
        message = f"no such option {wrong}"
    elif message.startswith("No such command"):
        wrong = message.split("'")[1]
        known = context.command.list_commands(context) if context is not None else list(COMMANDS)
        message = f"no such command {wrong}"
    else:
        return message[:1].lower() + message[1:]
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return message + (f"; did you mean {near[0]}?" if near else "; see --help")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run as a program: `workbench ...`."""
    # A terminal that cannot show a symbol must still get the rest.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # A kernel must not outlive a report that is terminated: leave through the `finally` clauses.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if (code := run(sys.argv[1:] if arguments is None else arguments)) == 128 + signal.SIGPIPE:
        os._exit(code)  # all is closed; libraries' threads, cut off on the way out, could still abort: seen once
    sys.exit(code)


if __name__ == "__main__":
    main()
