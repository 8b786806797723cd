"""`--url`: the work of a command, done by an API.

Enters: a command's options. Leaves: what the command would have computed itself, in the same form, so that it is printed by the same
lines; errors name tables as they are called here.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from workbench.address import URL
from workbench.cli_tables import SHIPPED, SUFFIX, refuse, send, understood
from workbench.client import Client
from workbench.errors import ConfigError, WorkbenchError
from workbench.progress import note, progress

if TYPE_CHECKING:
    from workbench.market.tables import InputFile
    from workbench.sweep.grid import Grid
    from workbench.sweep.result import SweepResult

UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help=f'let the API there do the work; "" for here [default: ${URL}]'),
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", metavar="NAME", help="with --url: a table registered there, in place of --sentiment"),
]
ExportOption = Annotated[
    Path | None, typer.Option("--export", metavar="FILE", help="write the result to a .json, .csv or .parquet file")
]

_REPORT_NAME = re.compile(r"[\w.+-]+\.ipynb")
_UNSAFE = set("\"'\\<>&")  # written differently in a notebook, in its code and in a page


def address(url: str | None, dataset: str | None) -> str | None:
    """Return where the work is done: what --url says, else WORKBENCH_URL; None for here."""
    chosen = (os.environ.get(URL, "") if url is None else url).strip() or None
    if chosen is None and dataset is not None:
        raise ConfigError(
            f"--dataset must come with --url or {URL}: it names a table of an API; here, name --sentiment"
        )
    return chosen


def backtest(url: str, options: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Return the API's answer for one study: `study` and `performance_data`."""
    from workbench.report.export import daily_frame
    from workbench.report.text import study_text

    fields = _study(options)
    with Client.from_environment(url) as api:
        sent = send(api, options, dataset)
        with sent.naming():
            answer = api.analyze(fields | sent.fields)
    with understood(url):
        answer["study"]["provenance"] |= {role: file.name for role, file in sent.roles.items()}
        _ = study_text(answer["study"]), daily_frame(answer["performance_data"])  # what cannot be shown is no answer
    return answer


def stocks(url: str, options: Mapping[str, Any], symbols: list[str], dataset: str | None) -> dict[str, Any]:
    """Return `stocks`, `losses` and `provenance` of single stocks, as they are computed here."""
    from workbench.report.text import stocks_text

    with Client.from_environment(url) as api:
        sent = send(api, options, dataset, prices_only=options.get("prices") is not None)
        with sent.naming():
            answer = api.stocks({"symbols": symbols} | sent.fields)
    with understood(url):
        if "prices" in sent.roles:
            answer["provenance"]["prices"] = sent.roles["prices"].path
        _ = stocks_text(answer)  # what cannot be shown is no answer
        return {name: answer[name] for name in ("stocks", "losses", "provenance")}


def sweep(
    url: str, options: Mapping[str, Any], dataset: str | None, text: str, grid: Grid, out: Path | None
) -> tuple[SweepResult, list[str]]:
    """Run a sweep there.

    Parameters
    ----------
    url, options, dataset
        As above.
    text, grid
        The grid as given, and its rows.
    out
        A Parquet file for the rows, if wanted.

    Returns
    -------
    tuple of SweepResult and list of str
        As `run_sweep` returns it, but that returns by day cannot be asked for; and what the user is warned of.
    """
    from workbench.market.durable import write_file
    from workbench.sweep.checkpoint import writable

    if out is not None:
        if out.suffix != ".parquet" or out.is_dir():
            raise ConfigError(f"-o must name a .parquet file, got {str(out)!r}")
        with writable(out, "-o"):
            out = out.absolute()
    with Client.from_environment(url) as api:
        sent = send(api, options, dataset)
        with sent.naming():
            fields = _study(options) | sent.fields | {"grid": text}
            job = _finished(api, lambda: api.start_sweep(fields), len(grid))
            content = api.result(job["id"], "parquet")
    with understood(url):
        result = _sweep_result(content, grid)
        warned = [sent.restored(line) for line in job["warnings"]]
    if out is not None:
        from workbench.sweep.result import StoredColumns

        write_file(out, content, durable=False, advice="")
        result = replace(result, columns=StoredColumns(out))
    return result, warned


def report(url: str, given: Mapping[str, Any], dataset: str | None, out: Path) -> tuple[Path, list[str]]:
    """Make a portfolio report there and put its files into a folder here.

    Parameters
    ----------
    url, dataset
        As above.
    given
        The notebook's parameters by name, as values or as text.
    out
        The folder.

    Returns
    -------
    tuple of Path and list of str
        The page; what the user is warned of.

    Raises
    ------
    CheckError
        A cell failed there.
    """
    from workbench.report.parameters import DATA, check_parameters, find_notebook, study_parameters
    from workbench.report.run import DEFAULT_NOTEBOOK
    from workbench.report.store import SUFFIXES, output_folder, publish, scratch_folder

    values = check_parameters(find_notebook(DEFAULT_NOTEBOOK), given)
    known = DATA | study_parameters()
    refuse({f"-p {name}": (value, "it is no field of an API") for name, value in values.items() if name not in known})
    values = {name: value for name, value in values.items() if value is not None}
    folder = output_folder(out)
    with Client.from_environment(url) as api:
        sent = send(api, values, dataset)
        with sent.naming():
            fields = _study(values) | sent.fields
            job = _finished(api, lambda: api.start_report(fields), None)
            whole = (api.result(job["id"], "json"), api.result(job["id"], "ipynb"), api.page(job["id"]))
    with understood(url):
        texts = {suffix: content.decode() for suffix, content in zip(SUFFIXES, whole, strict=True)}
        name, texts = _own_report(texts, sent.files)
        warned = [sent.restored(line) for line in job["warnings"]]
    with scratch_folder(folder) as scratch:
        files = publish(scratch, folder, name, texts)
    return files[".html"], warned


def _study(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a study that were given, checked as they are here."""
    from workbench.config import StudyConfig

    given = {name: value for name, value in options.items() if name in StudyConfig.model_fields}
    checked = StudyConfig(**given).to_dict()
    return {name: checked[name] for name in given}


def _finished(api: Client, start: Callable[[], dict[str, Any]], total: int | None) -> dict[str, Any]:
    """Start a job of `total` configurations, or a report, and wait for it; who is stopped meanwhile stops the job too."""
    job: dict[str, Any] | None = None
    try:
        job = start()
        if total is None:
            note(f"the report is made by {api.url}, as job {job['id']}")
            return api.wait(job["id"])
        with progress(total, "sweep", "configurations") as tick:
            return api.wait(job["id"], tick, unit="configurations")
    except (KeyboardInterrupt, SystemExit):
        print(f"workbench: stopped; {_cancelled(api, job)}", file=sys.stderr, flush=True)
        raise


def _cancelled(api: Client, job: Mapping[str, Any] | None) -> str:
    """Cancel a job and say so, or why not."""
    if job is None:
        return f"{api.url} may have begun the work already"
    try:
        api.cancel(job["id"])
    except WorkbenchError as error:
        return f"the job {job['id']} could not be cancelled: {error}"
    return f"the job {job['id']} of {api.url} was cancelled"


def _sweep_result(content: bytes, grid: Grid) -> SweepResult:
    """Return the rows of a Parquet file as the sweep that they are; ValueError where they are another one's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from workbench.sweep.result import LOSS_COUNTS, SUMMARY, Columns, SweepResult
    from workbench.sweep.tables import errors_of

    names = [*SUMMARY, *LOSS_COUNTS]
    table = pq.read_table(pa.BufferReader(content), columns=[*names, "error"])
    about = json.loads(table.schema.metadata[b"workbench"])
    if (table.num_rows, about["grid"]) != (len(grid), grid.grid_id):
        raise ValueError("rows of another grid")
    columns = Columns({name: table.column(name).to_numpy() for name in names})
    return SweepResult(grid, columns, errors_of(table, 0), {"data_kind": about["data_kind"]}, _no_returns)


def _no_returns(rows: Any) -> NoReturn:
    raise ConfigError('daily returns of a sweep must be computed here; add --url ""')


def _own_report(texts: dict[str, str], files: Mapping[str, InputFile]) -> tuple[str, dict[str, str]]:
    """Return a report's name, and its files with the paths of here in the place of the server's names."""
    from workbench.report.store import file_hashes

    name = Path(json.loads(texts[".ipynb"])["metadata"]["papermill"]["output_path"]).name
    if not _REPORT_NAME.fullmatch(name):
        raise ValueError(name)
    for there, file in files.items():
        if there != SHIPPED and file.path.isprintable() and not _UNSAFE & set(file.path):
            pattern = re.compile(re.escape(there) + SUFFIX)
            texts = {suffix: pattern.sub(lambda _, own=file.path: own, text) for suffix, text in texts.items()}  # type: ignore[misc]
    content = json.loads(texts[".json"])
    content["report"]["files"] = file_hashes(texts)
    texts[".json"] = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return name.removesuffix(".ipynb"), texts
