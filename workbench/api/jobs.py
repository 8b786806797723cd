"""Long work: one job is one folder and one `workbench` process, whose life does not depend on the server's.

Enters: commands. Leaves: statuses. Any number of server processes may share the folder of jobs: whoever holds its lock looks after all
jobs, starts what waits and writes down what has ended. A server that starts finds the jobs of the one before it, which run on; it calls
those lost that ended without a word while there was no server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import psutil  # type: ignore[import-untyped]

import workbench
from workbench.api.job_commands import Command
from workbench.api.job_files import ACTIVE, LOG, STDOUT, JobFolder, Presence, find_job, job_folders, new_job, now
from workbench.api.job_outcome import outcome
from workbench.api.problems import Refusal, busy
from workbench.api.settings import KEY, KEY_FILE, Settings
from workbench.errors import WorkbenchError
from workbench.market.home import VARIABLE

_LOOK_SECONDS = 0.25
_PRUNE_SECONDS = 60.0
_LOCK_SECONDS = 5.0
_PARENT_SECONDS = 3.0  # in which the server process that started a job writes down by which signal it ended
_LOG = logging.getLogger("workbench.api")


class Jobs:
    """The jobs of one state folder, seen from one server process.

    Parameters
    ----------
    settings
        Where they lie, and the limits.
    environment
        Returns what their processes start from; keys are taken out of it.
    """

    def __init__(self, settings: Settings, environment: Callable[[], dict[str, str]]) -> None:
        self._settings, self.folder, self._environment = settings, settings.jobs_folder, environment
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A lock of its own per thread: two threads exclude each other as two processes do.
        self._lock = filelock.FileLock(self.folder / "lock", thread_local=True)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._over: set[str] = (
            set()
        )  # jobs that are finished and whose process is gone: nothing happens to them any more
        self._gone: dict[str, float] = {}  # jobs whose process was gone without a word, and since when
        self._pruned = 0.0
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look after the jobs."""
        presence = Presence(self.folder)
        self._thread = threading.Thread(target=self._look_after, args=(presence,), name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look after them no longer; they run on, for the next server."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def submit(self, command: Command, request: Mapping[str, Any]) -> dict[str, Any]:
        """Queue a job and return its status.

        Raises
        ------
        Refusal
            503: too many wait.
        """
        status = {
            "kind": command.kind,
            "status": "queued",
            "created_at": now(),
            "started_at": None,
            "finished_at": None,
            "error": None,
            "request": dict(request),
            "total": command.total,
            "arguments": list(command.arguments),
            "inputs": {label: str(path) for label, path in command.inputs.items()},
        }
        with self._locked():
            if self.counts()["queued"] >= self._settings.jobs_queued:
                raise busy("as many jobs wait as may", 10 * self._settings.retry_after_seconds)
            job = new_job(self.folder, status, command.inputs)
        self._wake.set()
        return job.read() or {}

    def get(self, name: str) -> tuple[JobFolder, dict[str, Any]]:
        """Return a job and its status; Refusal 404 where there is none."""
        job = find_job(self.folder, name)
        status = None if job is None else job.read()
        if job is None or status is None:
            raise Refusal(404, "there is no such job; finished ones are removed after a while")
        return job, status

    def cancel(self, name: str) -> dict[str, Any]:
        """Cancel a job that waits or runs; its process group is told to end, and killed if it does not.

        Raises
        ------
        Refusal
            404: there is no such job. 409: it has ended already.
        """
        with self._locked():
            job, status = self.get(name)
            if status["status"] not in ACTIVE:
                raise Refusal(409, f"a job must wait or run to be cancelled, got one that is {status['status']}")
            self._end(job, status, "cancelled", None)
        return status

    def counts(self) -> dict[str, int]:
        """Return how many jobs wait and run."""
        found = dict.fromkeys(ACTIVE, 0)
        for job in job_folders(self.folder):
            if job.id not in self._over and (status := job.read()) and status["status"] in found:
                found[status["status"]] += 1
        return found

    def _locked(self) -> contextlib.AbstractContextManager[Any]:
        try:
            return self._lock.acquire(timeout=_LOCK_SECONDS)
        except filelock.Timeout:
            raise busy("the jobs are being looked after", self._settings.retry_after_seconds) from None

    def _look_after(self, presence: Presence) -> None:
        try:
            if presence.is_alone():
                self._try(self._inherit, _LOCK_SECONDS)
            while not (presence.share() or self._stop.is_set()):
                self._stop.wait(_LOOK_SECONDS)
            while not self._stop.is_set():
                self._reap()
                self._try(self.look)
                self._wake.wait(_LOOK_SECONDS)
                self._wake.clear()
        finally:
            presence.close()

    def _try(self, look: Callable[[], None], seconds: float = 0.0) -> None:
        """Do something to the jobs, unless another server process is at it."""
        try:
            with self._lock.acquire(timeout=seconds):
                look()
        except filelock.Timeout:
            pass
        except Exception:  # a full disk, say: the jobs must be looked after again once there is room
            _LOG.exception("jobs")

    def _inherit(self) -> None:
        """Write down what became of the jobs that ended while there was no server."""
        for job in job_folders(self.folder):
            status = job.read()
            if status is not None and status["status"] == "running" and not job.is_alive():
                self._finish(job, status, was_watched=False)

    def _reap(self) -> None:
        """Write down how those processes ended that this one started: nobody else is told."""
        for name, child in list(self._children.items()):
            code = child.poll()
            if code is not None:
                JobFolder(self.folder / name).note_exit(code)
                del self._children[name]

    def look(self) -> None:
        """Write down what has ended, kill what must not go on, start what waits. The lock must be held."""
        waiting, running = [], 0
        for job in job_folders(self.folder):
            if job.id in self._over or (status := job.read()) is None:
                continue
            match status["status"]:
                case "queued":
                    waiting.append((status["created_at"], job, status))
                case "running":
                    running += self._settle(job, status)
                case _:
                    self._see_out(job, status)
        waiting.sort(key=lambda item: item[0])
        for _, job, status in waiting[: max(0, self._settings.jobs_running - running)]:
            try:
                self._launch(job, status)
            except (OSError, ValueError, WorkbenchError) as error:  # one that cannot start must not keep others waiting
                _LOG.exception("job %s", job.id)
                reason = f"its process could not be started ({type(error).__name__})"
                with contextlib.suppress(WorkbenchError):  # the disk is full: it is looked at again
                    job.write(status | {"status": "failed", "error": reason, "finished_at": now()})
        if time.monotonic() - self._pruned > _PRUNE_SECONDS:
            self._pruned = time.monotonic()
            self._prune()

    def _launch(self, job: JobFolder, status: dict[str, Any]) -> None:
        try:
            alive = job.lock_for_child()
        except BlockingIOError:  # somebody restored an old status: the process is there
            job.write(status | {"status": "running", "started_at": status["created_at"]})
            return
        # Written first: a server that dies right here leaves a job that never runs at worst, and none that runs twice.
        status |= {"status": "running", "started_at": now()}
        try:
            job.write(status)
            child = self._children[job.id] = self._process(job, status["arguments"], alive)
        finally:
            os.close(alive)
        born = None
        with contextlib.suppress(psutil.Error):
            born = psutil.Process(child.pid).create_time()
        try:
            job.write(status | {"pid": child.pid, "born": born})
        except WorkbenchError:  # nobody could end a process whose number is not written down
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise

    def _process(self, job: JobFolder, arguments: list[str], alive: int) -> subprocess.Popen[bytes]:
        """Start the process of a job, which inherits the lock of life and belongs to no server."""
        environment = {key: value for key, value in self._environment().items() if key not in (KEY, KEY_FILE)}
        package = str(Path(workbench.__file__).parents[1])
        path = os.pathsep.join(filter(None, (package, environment.get("PYTHONPATH"))))
        environment |= {VARIABLE: str(self._settings.home), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        with open(job.path / STDOUT, "wb") as stdout, open(job.path / LOG, "wb") as log:
            # -P: the tables in the job's folder are no modules, whatever they are called.
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "workbench.api.job_process", *arguments],
                cwd=job.path,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                env=environment,
                start_new_session=True,
                pass_fds=[alive],
            )

    def _settle(self, job: JobFolder, status: dict[str, Any]) -> bool:
        """Write down the end of a job whose process has ended; return whether it still runs."""
        if job.is_alive():
            if _age_seconds(status["started_at"]) <= self._settings.job_seconds:
                return True
            self._end(job, status, "failed", f"it took more than {self._settings.job_seconds:g} s")
            return False
        if job.exit_code() is None:
            since = self._gone.setdefault(job.id, time.monotonic())
            if time.monotonic() - since < _PARENT_SECONDS:
                return True
        self._finish(job, status, was_watched=True)
        return False

    def _finish(self, job: JobFolder, status: dict[str, Any], was_watched: bool) -> None:
        state, error = outcome(job, status, was_watched)
        job.write(status | {"status": state, "error": error, "finished_at": now()})
        self._gone.pop(job.id, None)

    def _end(self, job: JobFolder, status: dict[str, Any], state: str, error: str | None) -> None:
        """Write down that a job is over, then end its process: the other way round its end would look like a failure."""
        status |= {
            "status": state,
            "error": error,
            "finished_at": now(),
            "kill_at": time.time() + self._settings.grace_seconds,
        }
        job.write(status)
        _signal_group(job, status, signal.SIGTERM)
        self._wake.set()

    def _see_out(self, job: JobFolder, status: Mapping[str, Any]) -> None:
        """Make sure that the process of a job that is over ends too."""
        if not job.is_alive():
            self._over.add(job.id)
        elif time.time() > status.get("kill_at", 0.0):
            _signal_group(job, status, signal.SIGKILL)

    def _prune(self) -> None:
        """Remove finished jobs that are old, or too many."""
        finished = []
        for job in job_folders(self.folder):
            status = job.read()
            if status is not None and status["finished_at"] is not None and not job.is_alive():
                finished.append((status["finished_at"], job))
        finished.sort(key=lambda item: item[0], reverse=True)
        for position, (ended, job) in enumerate(finished):
            if position >= self._settings.jobs_kept or _age_seconds(ended) > self._settings.jobs_days * 86_400:
                shutil.rmtree(job.path, ignore_errors=True)
                self._over.discard(job.id)


def _signal_group(job: JobFolder, status: Mapping[str, Any], number: signal.Signals) -> None:
    """Signal the process group of a job, if its process lives and is the one that was started."""
    if "pid" not in status or not job.is_alive():
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        if status["born"] is not None and abs(psutil.Process(status["pid"]).create_time() - status["born"]) > 1.0:
            return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(status["pid"], number)


def _age_seconds(moment: str) -> float:
    return time.time() - datetime.fromisoformat(moment).timestamp()
