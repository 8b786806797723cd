"""A real `workbench lab`, as a person would start it, with a home of its own and a free port."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from processes import until

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lab_environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of the person who runs the tests is read or written."""
    taken = ("RAY_", "JUPYTER", "JPY_", "IPYTHON", "PYTEST", "WORKBENCH_PROGRESS", "WORKBENCH_LAB", "PLOTLY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(taken)}
    (home / "data").mkdir(parents=True, exist_ok=True)
    return environment | {"HOME": str(home), "WORKBENCH_HOME": str(home / "data"), "XDG_RUNTIME_DIR": str(home)}


@dataclass
class RunningLab:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    clients: contextlib.ExitStack = field(
        default_factory=contextlib.ExitStack
    )  # of kernels: closed before the Lab ends

    @property
    def url(self) -> str:
        found = [line for line in self.lines if "JupyterLab is at" in line]
        return found[0].rpartition(" at ")[2].split("/lab?")[0] if found else ""

    @property
    def token(self) -> str:
        [line] = [line for line in self.lines if "JupyterLab is at" in line]  # once
        match = re.search(r"token=(\w+)", line)
        assert match
        return match[1]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers={"Authorization": f"token {self.token}"}, timeout=30)

    def post(self, path: str, content: dict[str, object]) -> httpx.Response:
        headers = {"Authorization": f"token {self.token}"}
        return httpx.post(f"{self.url}{path}", headers=headers, json=content, timeout=60)

    def delete(self, path: str) -> httpx.Response:
        return httpx.delete(f"{self.url}{path}", headers={"Authorization": f"token {self.token}"}, timeout=30)

    def server(self) -> psutil.Process:
        # Not recursively: a kernel that is about to be has its parent's command line for a moment.
        own = psutil.Process(self.process.pid).children()
        [found] = [child for child in own if any("lab_server" in word for word in child.cmdline())]
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.clients.close()
        self.process.send_signal(how)
        return self.process.wait(30)


def start(home: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workbench", "lab", "--no-browser", *options]
    environment = lab_environment(home) | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def running_lab(home: Path, folder: Path, *options: str) -> Iterator[RunningLab]:
    """Have a Lab within the block."""
    process = start(home, folder, "--port", str(free_port()), *options)
    lab = RunningLab(process)
    assert process.stderr is not None
    stream = process.stderr
    reader = threading.Thread(target=lambda: lab.lines.extend(iter(stream.readline, "")), daemon=True)
    reader.start()
    try:
        until(lambda: lab.url or process.poll() is not None, 60)
        assert lab.url, lab.lines
        yield lab
    finally:
        lab.clients.close()
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        reader.join(5)
        stream.close()
