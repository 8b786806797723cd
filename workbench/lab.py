"""JupyterLab on the notebooks, with a Ray that starts beside it.

Enters: a folder, an address to listen on, whether there is to be a Ray. Leaves: a Lab that runs until it is stopped, and nothing after
that. Lab is a process of its own, and so is what keeps the Ray: neither waits for the other, and both end with this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil  # type: ignore[import-untyped]  # comes with ipykernel

from workbench import progress
from workbench.cluster import shared
from workbench.cluster.address import VARIABLE as ADDRESS
from workbench.cluster.keeper import AGAIN
from workbench.errors import ConfigError, UnavailableError
from workbench.execution import ACCOUNT_VARIABLE
from workbench.lab_folder import Working, working_folder
from workbench.listening import check_port, is_loopback
from workbench.market.home import temporary
from workbench.report.jupyter import KERNEL_CODE, home_is_writable, kernel_environment
from workbench.report.parameters import NOTEBOOKS

PORT = 8888
TOKEN = "JUPYTER_TOKEN"
# The current folder stays out of the way of imports, as it does for a kernel.
_PATH = "import sys; sys.path[:] = filter(None, sys.path); "
_SERVER = _PATH + "from workbench.lab_server import serve; serve()"
_KEEPER = _PATH + "from workbench.cluster.keeper import keep; keep(*sys.argv[1:])"
# A socket's path has room for 107 bytes, of which the name of a kernel's takes 50.
_LONGEST_RUNTIME = 56
_PAGE = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
_ATTEMPTS = 2
_POLL_SECONDS = 0.2
_START_SECONDS = 120.0
_END_SECONDS = 10.0
# What a report's kernel must not have of its user, a Lab's must: profile, progress, the choice of a backend.
_KEPT = ("IPYTHONDIR", "MPLBACKEND", progress.VARIABLE, ACCOUNT_VARIABLE)


@dataclass(frozen=True)
class LabSettings:
    """What is asked for.

    folder : to work in; None for the usual one.
    host, port : to listen on.
    ray : have a Ray for the kernels.
    browser : open one.
    """

    folder: Path | None = None
    host: str = "127.0.0.1"
    port: int = PORT
    ray: bool = True
    browser: bool = True


def run_lab(settings: LabSettings) -> None:
    """Have a Lab until Ctrl-C, SIGTERM, or until it is shut down from within.

    Raises
    ------
    ConfigError
        The port is no port, or the folder is none.
    UnavailableError
        The port is taken, the notebooks cannot be copied, or Lab does not start.
    """
    if not 1 <= settings.port <= 65535:
        raise ConfigError(f"port must be between 1 and 65535, got {settings.port}")
    check_port(settings.host, settings.port)
    working = working_folder(settings.folder, NOTEBOOKS, packed=NOTEBOOKS.name == "_notebooks")
    token = os.environ.get(TOKEN) or secrets.token_hex(24)
    with _scratch() as scratch:
        environment, published = _environment(scratch), scratch / "ray.json"
        told = {}
        if settings.ray and not os.environ.get(ADDRESS):
            told[shared.VARIABLE] = str(published)
            shared.publish(published, shared.SharedRay(shared.STARTING, os.getpid()))
        processes: list[subprocess.Popen[bytes]] = []
        try:
            server = _start_server(settings, working, environment | told | {TOKEN: token})
            processes.append(server)
            _wait_for(server, settings)
            _announce(settings, working, token, bool(told))
            # No Ray before that: one that starts takes all processors for half a minute.
            for attempts_left in range(_ATTEMPTS - 1, -1, -1) if told else ():
                processes.append(_start(_KEEPER, [str(published), str(attempts_left)], environment))
                if not _watch(server, processes[-1], published):
                    break
            server.wait()
        except KeyboardInterrupt:  # how a Lab is ended
            _say("ending")
        finally:
            _end(processes)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Have a folder that only this user can read: sockets and files of the kernels, and Ray's token."""
    with tempfile.TemporaryDirectory(prefix="workbench-lab-", dir=temporary(), ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        (scratch / "runtime").mkdir(mode=0o700)
        spec = scratch / "kernels" / "python3"
        from ipykernel.kernelspec import RESOURCES

        shutil.copytree(RESOURCES, spec)  # the icons
        command = [sys.executable, "-c", KERNEL_CODE, "-f", "{connection_file}"]
        kernel = {"argv": command, "display_name": "Python 3", "language": "python", "metadata": {"debugger": True}}
        (spec / "kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
        (scratch / "labconfig").mkdir()
        (scratch / "labconfig" / "page_config.json").write_text(json.dumps(_PAGE), encoding="utf-8")
        yield scratch


def _environment(scratch: Path) -> dict[str, str]:
    """Return the environment of Lab and its kernels: that of a report's kernel, but for what is the user's own."""
    environment = kernel_environment(scratch)
    environment.pop(shared.VARIABLE, None)  # of a Lab in whose terminal this one is started
    for name in _KEPT:
        environment.pop(name, None)
        environment |= {name: os.environ[name]} if name in os.environ else {}
    if not home_is_writable():  # IPython would say so in every kernel
        environment.setdefault("IPYTHONDIR", str(scratch / "ipython"))
    # Before the person's own folders: one kernel spec, of this interpreter; no question about news.
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH"):
        environment[name] = os.pathsep.join([str(scratch), *filter(None, [environment.get(name)])])
    # Where this was started is where the user's tables are; kernels run in the folder of their notebook.
    environment.setdefault("WORKBENCH_PROJECT", os.getcwd())
    return environment


def _start(code: str, arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one and does not hear Ctrl-C, on which Jupyter would ask a question."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)


def _start_server(settings: LabSettings, working: Working, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    given: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "browser": settings.browser,
        "folder": str(working.folder),
        "transport": "ipc" if len(os.fsencode(environment["JUPYTER_RUNTIME_DIR"])) < _LONGEST_RUNTIME else "tcp",
    }
    return _start(_SERVER, [json.dumps(given)], environment)


def _wait_for(server: subprocess.Popen[bytes], settings: LabSettings) -> None:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(settings.host, settings.host)
    give_up = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up:
        if server.poll() is not None:
            raise UnavailableError(
                f"JupyterLab ended with code {server.returncode} before it answered; it says why above"
            )
        with contextlib.suppress(OSError):
            socket.create_connection((host, settings.port), timeout=1).close()
            return
        time.sleep(_POLL_SECONDS)
    raise UnavailableError(f"JupyterLab did not answer on port {settings.port} within {_START_SECONDS:g} s")


def _announce(settings: LabSettings, working: Working, token: str, starts_ray: bool) -> None:
    if working.copied:
        _say(f"copied into {working.folder}: {', '.join(working.copied)}")
    if working.kept:
        _say(f"left as you have them in {working.folder}: {', '.join(working.kept)}")
    everywhere = settings.host in ("0.0.0.0", "::", "")
    host = "127.0.0.1" if everywhere else settings.host
    host = f"[{host}]" if ":" in host else host
    if not is_loopback(settings.host):
        _say(
            f"listening beyond this machine, on {settings.host or 'every address'}: whoever has the token runs code as you, "
            "and without TLS in front the network can read it"
        )
    _say(f"JupyterLab is at http://{host}:{settings.port}/lab?token={token}")
    _say(
        "Ctrl-C ends it"
        + (", its kernels, and the Ray that now starts in the background" if starts_ray else " and its kernels")
    )


def _watch(server: subprocess.Popen[bytes], keeper: subprocess.Popen[bytes], published: Path) -> bool:
    """Wait until Lab or the keeper of its Ray has ended; return whether another start of Ray is worth an attempt."""
    while server.poll() is None and keeper.poll() is None:
        time.sleep(_POLL_SECONDS)
    if keeper.returncode == AGAIN:
        return True
    if server.poll() is None and json.loads(published.read_bytes())["state"] != shared.FAILED:
        reason = f"the process that kept it ended with code {keeper.returncode}"
        shared.publish(published, shared.SharedRay(shared.FAILED, os.getpid(), reason=reason))
    return False


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End the processes and all that they have started: in peace if they can, at the latest after some seconds."""
    family = [member for process in processes for member in _family(process.pid)]
    for process in processes:
        if process.poll() is None:
            process.terminate()
    give_up = time.monotonic() + _END_SECONDS
    try:
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, give_up - time.monotonic()))
    finally:  # of an impatient second Ctrl-C, too
        for member in family:
            with contextlib.suppress(psutil.Error):  # it has ended
                member.kill()
        for process in processes:
            process.wait()
            _close(process.stdin)


def _family(pid: int) -> list[psutil.Process]:
    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()


def _say(text: str) -> None:
    print(f"workbench: {text}", file=sys.stderr, flush=True)
