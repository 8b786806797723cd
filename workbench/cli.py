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
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import workbench
from workbench import cli_prices, cli_ray, cli_score, cli_serve, cli_sweep
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
) -> None:
    """Run a notebook and write its report.

    A page (.html), the executed notebook (.ipynb) and a .json file side by side. Prints the path of the page; with --matrix that of
    the page that compares the studies of the file, for which the other options are defaults.
    """
    given = dict(options)
    for text in parameter or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"-p must be like top_n=10, got {text!r}")
        if name in given:
            raise ConfigError(f"{name} must be given once, got it twice")
        given[name] = value
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
) -> None:
    """Run one study and print its numbers."""
    from workbench.config import StudyConfig
    from workbench.report.parameters import market_of, study_config
    from workbench.report.text import check_trades_file, study_text, warnings, write_trades
    from workbench.study import run_study

    config = study_config(options) or StudyConfig()
    if trades is not None:
        check_trades_file(trades)
    result = run_study(config, market_of(options))
    for line in warnings(result):
        typer.echo(f"workbench: warning: {line}", err=True)
    if trades is not None:
        write_trades(result, trades)
    if as_json:
        _print_json(result.to_dict())
    else:
        typer.echo(study_text(result))


def stocks(
    options: dict[str, Any],
    symbol: Annotated[list[str], typer.Argument(metavar="SYMBOL...", help="as written in the price table")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Print the numbers of single stocks.

    Total return, annualized volatility and Sharpe ratio over the price days within --start and --end.
    """
    from workbench.market.load import is_simulated, load_prices, wanted_prices
    from workbench.report.parameters import DATA, market_of
    from workbench.report.text import stocks_text
    from workbench.stocks import analyze_stocks

    if options.get("prices") is None:
        prices = market_of({name: value for name, value in options.items() if name not in ("start", "end")}).prices
    else:
        benchmark = options.get("benchmark", DATA["benchmark"].default)
        prices, _ = load_prices(options["prices"], benchmark, wanted_prices(symbol, benchmark, options))
    result = analyze_stocks(prices, symbol, options.get("start"), options.get("end"))
    kind = "simulated" if is_simulated(prices.symbols) else "real"
    if as_json:
        source = {"prices": prices.source.path, "prices_sha256": prices.source.sha256, "data_kind": kind}
        _print_json(result.to_dict() | {"provenance": source})
    else:
        typer.echo(stocks_text(result, kind))


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
    "doctor": cli_ray.doctor,
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
    return app


def _parameters(command: str) -> dict[str, Parameter]:
    from workbench.report.parameters import DATA, study_parameters

    return DATA | (study_parameters() if command in WITH_STUDY else {})


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"workbench {workbench.__version__}")
        raise typer.Exit


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, allow_nan=False))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code; errors become one line on stderr."""
    try:
        chosen = next((argument for argument in arguments if argument in COMMANDS), "")
        command = typer.main.get_command(build((chosen,)))
        with command.make_context("workbench", list(arguments) or ["--help"]) as context:
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
        wrong, known = message.split("'")[1], list(COMMANDS)
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
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    main()
