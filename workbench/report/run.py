"""A report from a notebook: check, compute, execute, render, store.

Enters: a notebook's name, parameters, a target folder. Leaves: a page, the executed notebook and a JSON file side by side. The study runs
in this process first: whatever is wrong with the input is known before a kernel starts, and the JSON file comes from the one call.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import StudyConfig
from workbench.errors import CheckError
from workbench.market.tables import Market
from workbench.report.failure import CellFailure
from workbench.report.inputs import Role, StoredInput, fetch_addresses, keep_inputs, naming
from workbench.report.jupyter import plugins
from workbench.report.parameters import (
    check_parameters,
    find_notebook,
    market_of,
    notebook_parameters,
    study_config,
)
from workbench.report.store import output_folder, publish, report_name, scratch_folder
from workbench.result import StudyResult, versions
from workbench.study import run_study

if TYPE_CHECKING:
    from nbformat import NotebookNode

DEFAULT_NOTEBOOK = "portfolio_report"
CELL_TIMEOUT_SECONDS = 1800.0


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


@dataclass
class _Job:
    """What is known of a report before its notebook runs."""

    notebook: Path
    values: dict[str, Any]
    folder: Path
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
    job = _Job(path, defaults | given, output_folder(out))
    with scratch_folder(job.folder) as scratch:
        if "sentiment" in job.values:
            job.copies = fetch_addresses(job.values, scratch)
            with naming(job.copies, job.values):
                job.market = market_of(job.values | {role: str(copy) for role, copy in job.copies.items()})
        return _make(job, defaults, scratch, cell_timeout)


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
    job = _Job(path, defaults | given, output_folder(out), market)
    with scratch_folder(job.folder) as scratch:
        run = _make(job, defaults, scratch, CELL_TIMEOUT_SECONDS)
    if run.failure is not None:
        raise CheckError(failure_line(run))
    return run.html


def failure_line(run: ReportRun) -> str:
    """Return one line that says where a report's notebook stopped."""
    return f"{run.failure}; see {run.html}"


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
    notebook, failure = execute(job.notebook, injected, cell_timeout=cell_timeout)
    return _store(job, notebook, failure, result, inputs, name, scratch)


def _store(
    job: _Job,
    notebook: NotebookNode,
    failure: CellFailure | None,
    result: StudyResult | None,
    inputs: list[StoredInput],
    name: str,
    scratch: Path,
) -> ReportRun:
    """Render and write the three files."""
    import nbformat

    from workbench.report.html import render_html

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
        "versions": dict(versions()) | {name: version(name) for name in ("papermill", "ipykernel", "plotly")},
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
    content = ({} if result is None else result.to_dict()) | {"report": about}
    texts = {
        ".json": json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        ".ipynb": nbformat.writes(notebook) + "\n",
        ".html": page,
    }
    files = publish(scratch, job.folder, name, texts)
    return ReportRun(files[".html"], files[".ipynb"], files[".json"], status, failure, duration)


def _footer(about: Mapping[str, Any], result: StudyResult | None) -> dict[str, str]:
    """Return what the page says about its making."""
    footer = {
        "Made": f"{about['created_at']} in {about['duration_seconds']:.1f} s from the notebook {about['notebook']}",
        "Inputs": "; ".join(f"{item['name']} (sha256 {item['sha256'][:12]})" for item in about["inputs"]),
        "Versions": ", ".join(f"{name} {number}" for name, number in about["versions"].items()),
    }
    if result is not None:
        footer["Configuration"] = f"{result.config.config_id}, seed {result.config.seed}"
    return {label: text for label, text in footer.items() if text}
