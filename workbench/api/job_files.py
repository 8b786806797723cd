"""The files of a job: a folder with a status that is whole at every moment, a log, and what the job leaves.

Enters: the folder of all jobs. Leaves: statuses as dicts, and whether a job's process lives. The process holds a lock on the file `alive`
from before it starts to its end, whoever started it and whatever became of the one who did: no other evidence is asked.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.market.durable import write_file

SCHEMA = 1
STATES = ("queued", "running", "done", "failed", "cancelled", "lost")
ACTIVE = ("queued", "running")

STDOUT, LOG, EXIT, ROWS, OUT = "stdout", "log", "exit", "rows.parquet", "out"
JSON_ROWS = 10_000  # up to which the command line prints the rows of a sweep
_STATUS, _ALIVE, _SERVERS, _NEW = "status.json", "alive", "servers", ".new-"
_ID = re.compile(r"[0-9a-f]{16}")
_TAIL_BYTES = 8192
_PROGRESS = re.compile(r"^workbench: [\w ]+: ([\d,]+)(?: of ([\d,]+))? ?(.*?) after \d+ s$", re.MULTILINE)


def now() -> str:
    """Return the time as statuses have it."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


class JobFolder:
    """One job's folder."""

    def __init__(self, path: Path) -> None:
        self.path, self.id = path, path.name

    def read(self) -> dict[str, Any] | None:
        """Return the status; None where there is no such job."""
        try:
            content = json.loads((self.path / _STATUS).read_bytes())
        except (OSError, ValueError):
            return None
        return dict(content) if content.get("schema") == SCHEMA else None

    def write(self, status: Mapping[str, Any]) -> None:
        """Replace the status, whole or not at all."""
        write_file(self.path / _STATUS, json.dumps(status, indent=1).encode())

    def lock_for_child(self) -> int:
        """Return an open file that holds the lock of life; a process that inherits it lives as long as it is open.

        Raises
        ------
        BlockingIOError
            A process of this job lives.
        """
        descriptor = os.open(self.path / _ALIVE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def is_alive(self) -> bool:
        """Tell whether a process of this job lives."""
        try:
            descriptor = os.open(self.path / _ALIVE, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)

    def tail(self, name: str = LOG) -> str:
        """Return the end of a text file; empty where there is none."""
        try:
            with open(self.path / name, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def progress(self) -> dict[str, Any] | None:
        """Return what the last line of progress says: done, total (None: not known) and what is counted."""
        found = _PROGRESS.findall(self.tail())
        if not found:
            return None
        done, total, unit = found[-1]
        return {"done": _whole(done), "total": _whole(total) if total else None, "unit": unit}

    def complaint(self) -> str | None:
        """Return the last line in which the command said what is wrong; None where it said nothing."""
        lines = [line for line in self.tail().splitlines() if line.startswith("workbench: ")]
        lines = [line for line in lines if not line.startswith("workbench: warning: ") and not _PROGRESS.match(line)]
        return lines[-1].removeprefix("workbench: ") if lines else None

    def exit_code(self) -> int | None:
        """Return the code with which the process ended, negative for a signal; None where nobody wrote it down."""
        text = self.tail(EXIT)
        return int(text) if text.removeprefix("-").isdecimal() else None

    def note_exit(self, code: int) -> None:
        """Write down what its parent knows of the end of a process, unless the process did so itself."""
        if self.exit_code() is None:
            with contextlib.suppress(WorkbenchError):  # the folder is gone, or the disk is full
                write_file(self.path / EXIT, str(code).encode("ascii"))

    def page(self) -> Path | None:
        """Return the page that a report printed the path of, where it lies in this folder."""
        names = [line for line in self.tail(STDOUT).splitlines() if line.endswith(".html")]
        path = self.path / OUT / Path(names[-1]).name if names else None
        return path if path is not None and path.is_file() else None


def _whole(text: str) -> int:
    return int(text.replace(",", ""))


class Presence:
    """What tells the server processes of one folder of jobs that there are others: a lock that each of them shares while it serves."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / _SERVERS, os.O_RDWR | os.O_CREAT, 0o600)

    def is_alone(self) -> bool:
        """Tell whether there is no other, and let none come until `share` is called."""
        return self._take(fcntl.LOCK_EX)

    def share(self) -> bool:
        """Let others come; return False where it is another one that does not yet."""
        return self._take(fcntl.LOCK_SH)

    def close(self) -> None:
        """Be there no longer."""
        os.close(self._descriptor)

    def _take(self, how: int) -> bool:
        try:
            fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def find_job(folder: Path, name: str) -> JobFolder | None:
    """Return the job of an id; None where there is none."""
    job = JobFolder(folder / name) if _ID.fullmatch(name) else None
    return job if job is not None and job.path.is_dir() else None


def job_folders(folder: Path) -> Iterator[JobFolder]:
    """Yield all jobs, in no order."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _ID.fullmatch(entry.name)]
    yield from (JobFolder(folder / name) for name in names)


def new_job(folder: Path, status: Mapping[str, Any], inputs: Mapping[str, Path]) -> JobFolder:
    """Make the folder of a job, which appears whole: the status, and links to the tables under the names that the command uses."""
    name = secrets.token_hex(8)
    draft = JobFolder(folder / f"{_NEW}{name}")
    draft.path.mkdir(mode=0o700)
    try:
        for label, target in inputs.items():
            (draft.path / label).symlink_to(target)
        draft.write({"schema": SCHEMA, "id": name, **status})
        draft.path.rename(folder / name)
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise
    return JobFolder(folder / name)
