"""What became of a job, told from what its process left.

Enters: the folder of a job whose process is gone. Leaves: `done`, `failed` or `lost`, with the reason; and what clients can fetch of
it. The same evidence is there for the server that started the job and for one that only found it.
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
_SEE = re.compile(r"; see \S+$")  # a file of the server's, at the end of a line
JSON, PARQUET, IPYNB = "application/json", "application/vnd.apache.parquet", "application/x-ipynb+json"


def outcome(job: JobFolder, status: Mapping[str, Any], code: int | None) -> tuple[str, str | None]:
    """Return the final state and, where it is not `done`, why.

    Parameters
    ----------
    job, status
        Of a process that is gone.
    code
        What its parent knows of its end, negative for a signal; None where this server is not its parent.
    """
    left = job.exit_code()
    if left == 0 and _is_complete(job, status):
        return "done", None
    if left is not None:
        complaint = job.complaint() or f"its process ended with exit code {left} and left no result"
        return "failed", hide_inputs(_SEE.sub("", complaint), job, status)
    if code is None:
        return "lost", "its process is gone and left no result; the machine or the server may have been restarted"
    hint = "; memory may have run out" if code == -signal.SIGKILL else ""
    how = f"was killed by {signal.Signals(-code).name}{hint}" if code < 0 else f"ended with exit code {code}"
    return "failed", f"its process {how}"


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
        409: the job has no result (yet). 422: it has none of this form.
    """
    if status["status"] != "done":
        raise Refusal(409, f"a job must be done to have a result, got one that is {status['status']}")
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
