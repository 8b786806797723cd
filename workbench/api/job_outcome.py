"""What became of a job, told from what its process left.

Enters: the folder of a job whose process is gone. Leaves: `done`, `failed` or `lost`, with the reason; and what clients can fetch of
it. All evidence lies in files: the answer is that of any server process, whichever started the job.
"""

from __future__ import annotations

import html
import json
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.api.job_files import JSON_ROWS, ROWS, STDOUT, JobFolder
from workbench.api.markets import without_path
from workbench.api.problems import Refusal

_WARNING = "workbench: warning: "
_SIGNALS = {number.value: number.name for number in signal.Signals}
_SEE = re.compile(r"; see \S+$")  # a file of the server's, at the end of a line
JSON, PARQUET, IPYNB = "application/json", "application/vnd.apache.parquet", "application/x-ipynb+json"


def outcome(job: JobFolder, status: Mapping[str, Any], was_watched: bool) -> tuple[str, str | None]:
    """Return the final state and, where it is not `done`, why.

    Parameters
    ----------
    job, status
        Of a process that is gone.
    was_watched
        Whether a server was there when it ended: where none was, a process that left no word may have ended with the machine.
    """
    left = job.exit_code()
    if left == 0 and _is_complete(job, status):
        return "done", None
    if left is not None and left < 0:
        return "failed", _killed(f"by {_SIGNALS.get(-left, f'signal {-left}')}", -left == signal.SIGKILL)
    if left is not None:
        complaint = job.complaint() or f"its process ended with exit code {left} and left no result"
        return "failed", hide_inputs(_SEE.sub("", complaint), job, status)
    if was_watched:  # the server that started it ended with it, or would know
        return "failed", _killed("and nobody was told how", True)
    return "lost", "its process is gone and left no result; the machine or the server may have been restarted"


def _killed(how: str, may_be_memory: bool) -> str:
    return f"its process was killed {how}" + ("; memory may have run out" if may_be_memory else "")


def _is_complete(job: JobFolder, status: Mapping[str, Any]) -> bool:
    if status["kind"] == "sweep":
        # The file appears when it is whole; the rows as JSON are printed after that.
        return (job.path / ROWS).is_file() and (not has_json(status) or job.tail(STDOUT).endswith("]\n"))
    page = job.page()
    return page is not None and _report_status(page) == "done"


def _report_status(page: Path) -> str | None:
    try:
        status = json.loads(page.with_suffix(".json").read_bytes())["report"]["status"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(status)


def has_json(status: Mapping[str, Any]) -> bool:
    """Return whether a sweep printed its rows as JSON."""
    return int(status["total"]) <= JSON_ROWS


def hide_inputs(text: str, job: JobFolder, status: Mapping[str, Any]) -> str:
    """Return a text with the names that clients know in the place of paths."""
    for label, target in status["inputs"].items():
        for path in (job.path / label, Path(target), Path(target).resolve()):
            text = without_path(text, path, label)
            text = text.replace(html.escape(str(path)), label).replace(json.dumps(str(path))[1:-1], label)
    return text.replace(f"{job.path}/", "")


def warnings_of(job: JobFolder, status: Mapping[str, Any]) -> list[str]:
    """Return what the command warned of, a line each: names that the table lacks, configurations that failed."""
    lines = [line for line in job.tail().splitlines() if line.startswith(_WARNING)]
    return [hide_inputs(line.removeprefix(_WARNING), job, status) for line in lines]


def result_file(job: JobFolder, status: Mapping[str, Any], form: str) -> tuple[Path, str]:
    """Return the file that holds the result, and its type.

    Raises
    ------
    Refusal
        409: the job has no result (yet); a report that failed has its notebook, as far as it came. 422: it has none of this form.
    """
    if status["status"] != "done" and (form != "ipynb" or not has_failed_cell(job, status)):
        raise not_done(job, status, "have a result")
    if status["kind"] == "report":
        page = job.page()
        if form not in ("json", "ipynb") or page is None:
            raise Refusal(422, "the result of a report is json or ipynb; its page is at /jobs/{id}/html")
        return page.with_suffix(f".{form}"), IPYNB if form == "ipynb" else JSON
    if form == "ipynb":
        raise Refusal(422, "the result of a sweep is json or parquet; only a report has a notebook")
    if form == "parquet":
        return job.path / ROWS, PARQUET
    if not has_json(status):
        raise Refusal(
            422, f"format must be parquet for more than {JSON_ROWS:,} rows, got json; ask for ?format=parquet"
        )
    return job.path / STDOUT, JSON


def has_failed_cell(job: JobFolder, status: Mapping[str, Any]) -> bool:
    """Return whether a job is a report that failed and left its notebook with the cell that stopped it."""
    if status["kind"] != "report" or status["status"] != "failed":
        return False
    page = job.page()
    return page is not None and page.with_suffix(".ipynb").is_file()


def not_done(job: JobFolder, status: Mapping[str, Any], what: str) -> Refusal:
    """Return the refusal of what only a job that is done has; its error is at /jobs/{id}, its notebook is named here."""
    way = f"; its notebook up to there: /jobs/{job.id}/result?format=ipynb" if has_failed_cell(job, status) else ""
    return Refusal(409, f"a job must be done to {what}, got one that is {status['status']}{way}")


def without_tracebacks(text: str) -> str:
    """Return a notebook whose failed cell says what went wrong, but not where in the files of this machine."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                output["traceback"] = [f"{output['ename']}: {output['evalue']}"]
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
