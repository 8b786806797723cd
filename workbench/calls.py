"""The public calls that take an engine's name: Python, notebooks and the command line reach the engines through these.

Enters: what the function of the same name in the layers above takes, and "auto", "local", "ray" or an engine. Leaves: what it returns.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.config import StudyConfig
from workbench.engines import choose, exported, price_fetcher
from workbench.execution import Engine
from workbench.market.tables import Market
from workbench.progress import progress as show_progress
from workbench.report import run as report
from workbench.report.parameters import check_parameters, find_notebook, market_of, notebook_parameters
from workbench.sweep import run as sweep
from workbench.sweep.grid import Grid, as_grid
from workbench.sweep.result import SweepResult


def run_report(
    notebook: str | Path = report.DEFAULT_NOTEBOOK,
    parameters: Mapping[str, Any] | None = None,
    out: str | Path = "reports",
    engine: str = "auto",
) -> report.ReportRun:
    """Make a report; see `workbench.report.run.run_report`.

    With Ray, prices from Yahoo are fetched by its download tasks, and the notebook's kernel joins the same Ray.

    Parameters
    ----------
    notebook, parameters, out
        As there.
    engine
        "auto", "local" or "ray"; it becomes the notebook's parameter of that name, if it has one.

    Raises
    ------
    ConfigError, DataError
        Something is wrong with the parameters or the tables. No kernel was started and no file written.
    UnavailableError
        An address, a kernel, Ray or the file system failed.
    """
    path = find_notebook(notebook)
    given = dict(parameters or {})
    if "engine" in notebook_parameters(path):
        given.setdefault("engine", engine)
    check_parameters(path, given)  # before a Ray is started for it
    with choose(given.get("engine", engine)) as chosen, exported(chosen):
        load = functools.partial(market_of, fetch=price_fetcher(chosen))
        return report.run_report(path, given, out, provided=report.Provided(load=load))


def run_sweep(
    grid: Grid | str | Mapping[str, Any] | Iterable[StudyConfig | Mapping[str, Any]],
    market: Market,
    engine: str | Engine = "auto",
    recorder: sweep.SweepRecorder | None = None,
    *,
    out: str | Path | None = None,
    returns: str | Path | None = None,
    resume: bool = False,
) -> SweepResult:
    """Run every configuration of a grid; progress is shown as it suits Lab, a terminal or a log.

    Parameters
    ----------
    grid
        "top_n=1..20;cost_bps=0,10", a mapping of fields to values, or configurations.
    market
        What `load_market` returned.
    engine
        "local", "ray", "auto" (the Ray that is there, else local unless more than a minute of work is to be done), or an engine.
    recorder
        Told of the result, if given.
    out, returns
        Parquet files for the rows and for their daily net returns.
    resume
        Go on from the parts of a sweep that was stopped.

    Returns
    -------
    SweepResult
        One row per configuration, in the order of the grid; each equals `run_study` of it.

    Raises
    ------
    ConfigError
        The grid or the engine's name is wrong, or the grid too large for memory without `out`.
    UnavailableError
        The engine or the file system failed; finished parts are kept.
    """
    rows = as_grid(grid)
    with choose(engine, sweep.estimate_seconds(rows, market)) as chosen:
        return sweep.run_sweep(
            rows, market, chosen, recorder, out=out, returns=returns, resume=resume, progress=show_progress
        )
