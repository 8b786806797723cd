"""A report from a notebook: check, compute, execute, render, store.

Enters: a notebook's name, parameters, a target folder. Leaves: a page, the executed notebook and a JSON file side by side. The study runs
in this process first: whatever is wrong with the input is known before a kernel starts, and the JSON file comes from the one call.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.config import StudyConfig
from workbench.errors import CheckError
from workbench.market.tables import Market
from workbench.report.failure import CellFailure
from workbench.report.inputs import ROLES, Role, StoredInput, fetch_addresses, keep_inputs, naming
from workbench.report.jupyter import plugins
from workbench.report.parameters import (
    check_parameters,
    find_notebook,
    market_of,
    notebook_parameters,
    study_config,
)
from workbench.report.store import file_hashes, output_folder, publish, report_name, scratch_folder
from workbench.result import StudyResult, engine_text, versions
from workbench.shown import html_rows, text_rows
from workbench.study import run_study

if TYPE_CHECKING:
    from workbench.report.kernel import Executed

DEFAULT_NOTEBOOK = "portfolio_report"
CELL_TIMEOUT_SECONDS = 1800.0
_WEALTH_POINTS = 120


@dataclass(frozen=True)
class ReportRun:
    """One report.

    html, ipynb, json : the files.
    status : "done", or "failed" when a cell failed; the files' names then end in `-failed`.
    failure : the cell and its error, None if it is done.
    duration_seconds : from the check of the parameters to the end of the notebook.
    """

    html: Path
    ipynb: Path
    json: Path
    status: str
    failure: CellFailure | None
    duration_seconds: float

    def _shown(self) -> tuple[str, list[tuple[str, str]]]:
        head = f"The report is {self.status}" if self.failure is None else failure_line(self)
        return head, [("page", str(self.html)), ("notebook", str(self.ipynb)), ("numbers", str(self.json))]

    def __repr__(self) -> str:
        return text_rows(*self._shown())

    def _repr_html_(self) -> str:
        return html_rows(*self._shown())


@dataclass(frozen=True)
class Provided:
    """What many reports share, made ready by the one who asks for them.

    fetched : downloaded tables by address, on the file system of the target folder.
    scratch : existing folder in which each report makes its hidden one; None for the target folder.
    kernels : existing folder in which each kernel makes its private one; None for the system's.
    load : returns the market that data parameters name.
    """

    fetched: Mapping[str, Path] = field(default_factory=dict)
    scratch: Path | None = None
    kernels: Path | None = None
    load: Callable[[Mapping[str, Any]], Market] = market_of


@dataclass
class _Job:
    """What is known of a report before its notebook runs."""

    notebook: Path
    values: dict[str, Any]
    folder: Path
    provided: Provided = field(default_factory=Provided)
    market: Market | None = None
    copies: dict[Role, Path] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    created_at: str = field(default_factory=lambda: dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))


def run_report(
    notebook: str | Path = DEFAULT_NOTEBOOK,
    parameters: Mapping[str, Any] | None = None,
    out: str | Path = "reports",
    *,
    cell_timeout: float = CELL_TIMEOUT_SECONDS,
    provided: Provided | None = None,
) -> ReportRun:
    """Make a report.

    Parameters
    ----------
    notebook
        One of the workbench's notebooks by name, or a file with a cell tagged `parameters`.
    parameters
        By name; what is left out has the notebook's default.
    out
        Folder for the files, made if it is not there.
    cell_timeout
        Seconds that one cell may take.
    provided
        What one of many reports need not do by itself.

    Raises
    ------
    ConfigError, DataError
        Something is wrong with the parameters or the tables. No kernel was started and no file written.
    UnavailableError
        An address, a kernel or the file system failed.
    """
    path = find_notebook(notebook)
    given = check_parameters(path, parameters or {})
    defaults = {name: parameter.default for name, parameter in notebook_parameters(path).items()}
    provided = provided or Provided()
    job = _Job(path, defaults | given, output_folder(out), provided)
    with scratch_folder(provided.scratch or job.folder) as scratch:
        if "sentiment" in job.values:
            tables = fetched_tables(job.values, provided.fetched)
            job.copies = _own_copies(tables, scratch) if tables else fetch_addresses(job.values, scratch)
            job.market = load_named(job.values, tables or job.copies, provided.load)
        return _make(job, defaults, scratch, cell_timeout)


def fetched_tables(values: Mapping[str, Any], fetched: Mapping[str, Path]) -> dict[Role, Path]:
    """Return those of a report's inputs that were downloaded before."""
    return {role: fetched[values[role]] for role in ROLES if values.get(role) in fetched}


def load_named(
    values: Mapping[str, Any], tables: Mapping[Role, Path], load: Callable[[Mapping[str, Any]], Market] = market_of
) -> Market:
    """Load the market of data parameters, downloaded tables in the place of their addresses; errors name the addresses."""
    with naming(tables, values):
        return load({**values, **{role: str(path) for role, path in tables.items()}})


def _own_copies(tables: Mapping[Role, Path], scratch: Path) -> dict[Role, Path]:
    """Return names in `scratch` for tables that other reports use too; they share the bytes where the file system can."""
    copies = {}
    for role, table in tables.items():
        copies[role] = scratch / role / table.name
        copies[role].parent.mkdir()
        try:
            os.link(table, copies[role])
        except OSError:  # a file system without hard links
            shutil.copyfile(table, copies[role])
    return copies


def render_report(config: StudyConfig, market: Market, out: str | Path = "reports") -> Path:
    """Make the portfolio report of a study.

    Parameters
    ----------
    config
        The study's parameters.
    market
        What `load_market` returned. Tables that are not files on this machine are kept beside the report, as Parquet, with
        what was left out when they were read.
    out
        Folder for the files.

    Returns
    -------
    Path
        The page. The executed notebook and a JSON file lie beside it.

    Raises
    ------
    CheckError
        A cell failed; the message names it and the page that shows it.
    """
    path = find_notebook(DEFAULT_NOTEBOOK)
    columns = ",".join(f"{name}={own}" for name, own in (market.columns or {}).items()) or None
    given = check_parameters(
        path,
        config.to_dict()
        | {"benchmark": market.benchmark, "start": market.start, "end": market.end, "columns": columns}
        | {"allow_mixed_data": market.data_kind == "mixed"},
    )
    defaults = {name: parameter.default for name, parameter in notebook_parameters(path).items()}
    job = _Job(path, defaults | given, output_folder(out), market=market)
    with scratch_folder(job.folder) as scratch:
        run = _make(job, defaults, scratch, CELL_TIMEOUT_SECONDS)
    if run.failure is not None:
        raise CheckError(failure_line(run))
    return run.html


def failure_line(run: ReportRun) -> str:
    """Return one line that says where a report's notebook stopped."""
    return f"{run.failure}; see {run.html}"


def report_versions() -> dict[str, str]:
    """Return the versions that a report can depend on."""
    return dict(versions()) | {name: version(name) for name in ("papermill", "ipykernel", "plotly")}


def _make(job: _Job, defaults: Mapping[str, Any], scratch: Path, cell_timeout: float) -> ReportRun:
    config = study_config(job.values)
    result = run_study(config, job.market) if config is not None and job.market is not None else None
    name = report_name(job.notebook, job.values, config, job.market)
    inputs: list[StoredInput] = []
    if job.market is not None:
        kept, inputs, sources = keep_inputs(job.market, job.values, job.copies, job.folder / f"{name}-inputs")
        job.values |= {name: value for name, value in sources.items() if name in defaults}
        if kept is not job.market and config is not None:
            result = run_study(config, kept)  # once more, so that its provenance names the files that were kept
    # papermill, nbclient and nbformat cost half a second, which a mistake in the parameters should not.
    from workbench.report.kernel import execute

    injected = {name: value for name, value in job.values.items() if value != defaults[name]}
    executed = execute(job.notebook, injected, cell_timeout=cell_timeout, folder=job.provided.kernels)
    return _store(job, executed, result, inputs, name, scratch)


def _store(
    job: _Job,
    executed: Executed,
    result: StudyResult | None,
    inputs: list[StoredInput],
    name: str,
    scratch: Path,
) -> ReportRun:
    """Render and write the three files."""
    import nbformat

    from workbench.report.html import render_html

    notebook, failure, account = executed
    status, duration = "done" if failure is None else "failed", round(time.monotonic() - job.started, 2)
    name += "" if failure is None else "-failed"
    about = {
        "status": status,
        "created_at": job.created_at,
        "duration_seconds": duration,
        "notebook": job.notebook.stem,
        "parameters": job.values,
        "inputs": [item.to_dict() for item in inputs],
        "plugins": plugins(),
        "execution": account,
        "versions": report_versions(),
        "failure": None if failure is None else asdict(failure),
    }
    notebook.metadata["workbench"] = about
    notebook.metadata.get("papermill", {}).update(
        input_path=str(job.notebook), output_path=str(job.folder / f"{name}.ipynb")
    )
    title = job.notebook.stem if result is None else result.title
    if result is not None and job.notebook.stem != DEFAULT_NOTEBOOK:
        title += f" ({job.notebook.stem})"
    page = render_html(notebook, title=title, failure=failure, footer=_footer(about, result))
    texts = {".ipynb": nbformat.writes(notebook) + "\n", ".html": page}
    more = {"files": file_hashes(texts), "wealth": None if result is None else _wealth(result)}
    content = ({} if result is None else result.to_dict()) | {"report": about | more}
    texts[".json"] = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files = publish(scratch, job.folder, name, texts)
    return ReportRun(files[".html"], files[".ipynb"], files[".json"], status, failure, duration)


def _wealth(result: StudyResult) -> dict[str, list[Any]] | None:
    """Return the growth of 1 after costs and of the benchmark, from the first trade on; None without returns.

    It is for small charts: up to `_WEALTH_POINTS` of the days, the first and the last among them, rounded to six digits.
    """
    returns = result.returns[["net", "benchmark"]]
    if not len(returns):
        return None
    rows = np.unique(np.linspace(0, len(returns), _WEALTH_POINTS).round().astype(int))
    start = result.rebalances.loc[result.rebalances["status"] == "executed", "traded"].iloc[0]
    days = np.array([start, *pd.DatetimeIndex(returns.index).strftime("%Y-%m-%d")])[rows]
    grown = np.vstack([[1.0, 1.0], np.cumprod(1.0 + returns.to_numpy(), axis=0)])[rows]
    lines = [[float(f"{value:.6g}") for value in column] for column in grown.T]
    return {"date": days.tolist(), "net": lines[0], "benchmark": lines[1]}


def _footer(about: Mapping[str, Any], result: StudyResult | None) -> dict[str, str]:
    """Return what the page says about its making."""
    footer = {
        "Made": f"{about['created_at']} in {about['duration_seconds']:.1f} s from the notebook {about['notebook']}",
        "Inputs": "; ".join(f"{item['name']} (sha256 {item['sha256'][:12]})" for item in about["inputs"]),
        "Versions": ", ".join(f"{name} {number}" for name, number in about["versions"].items()),
    }
    if about["execution"] is not None:
        footer["Engine"] = engine_text(about["execution"])
    if result is not None:
        footer["Configuration"] = f"{result.config.config_id}, seed {result.config.seed}"
    return {label: text for label, text in footer.items() if text}
