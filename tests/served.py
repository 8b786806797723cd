"""A real server: `workbench serve` as a process of its own, on a free port, with a state folder of its own; and rude clients of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from processes import until

from workbench.api.job_files import JobFolder, job_folders

ROOT = Path(__file__).resolve().parent.parent
ANALYZE = b"POST /portfolio/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
"""The head of a request for a study, but for the length that it claims."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Served:
    """A server process, where it listens and where its state lies.

    Parameters
    ----------
    folder
        Where its log lies, and its state if `home` is not given.
    home, port, engine
        As `workbench serve` takes them.
    environment
        Variables of its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        home: Path | None = None,
        port: int | None = None,
        engine: str = "local",
        **environment: str,
    ) -> None:
        self.home, self.log, self.port = home or folder / "server-home", folder / "server-log", port or free_port()
        self._engine = engine
        self.url = f"http://127.0.0.1:{self.port}"
        # Sweeps share their machine code with the tests' own process: it takes long to make.
        machine_code = os.environ.get("NUMBA_CACHE_DIR") or str(Path(os.environ["WORKBENCH_HOME"]) / "compiled")
        self._environment = os.environ | {"WORKBENCH_HOME": str(self.home), "NUMBA_CACHE_DIR": machine_code}
        self._environment |= {"WORKBENCH_API_RATE_PER_SECOND": "0"} | environment
        self.launch()

    def start(self) -> None:
        """Start, or start again in the same place, and wait for the first answer."""
        self.launch()
        self.wait_for_answer()

    def launch(self) -> None:
        """Start the process."""
        with open(self.log, "ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workbench", "serve", "--engine", self._engine, "--port", str(self.port)],
                cwd=ROOT,
                env=self._environment,
                stderr=stderr,
            )

    def wait_for_answer(self, seconds: float = 300.0) -> None:
        """Wait until it answers; fail where it ends instead."""
        until(self._answers, seconds)

    def raw(self, data: bytes) -> socket.socket:
        """Return a connection on which some bytes were sent."""
        line = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        line.sendall(data)
        return line

    def answer_to(self, data: bytes) -> bytes:
        """Return what comes back for some bytes until the server closes the connection."""
        with self.raw(data) as line:
            return until_closed(line)

    @contextlib.contextmanager
    def many(self, data: bytes, count: int) -> Iterator[list[socket.socket]]:
        """Have connections on each of which the same bytes were sent."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.raw(data)) for _ in range(count)]

    def answer_to_a_head_without_end(self) -> bytes:
        """Return what comes back for a head of 200 kB that goes on; nothing where the server cuts it off first."""
        with self.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n") as line:
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    line.sendall(b"X-Filler: " + b"a" * 1000 + b"\r\n")
            return until_closed(line)

    def entry(self, request: str) -> dict[str, Any]:
        """Return the log's entry of a request, by its id; wait until it is there."""
        until(lambda: request in self.log.read_text(), 5.0)
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        found: dict[str, Any] = next(line for line in lines if line.get("request_id") == request)
        return found

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health", timeout=10).status_code == 200
        return False

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End the server and return its exit code; its jobs run on."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def jobs(self) -> list[JobFolder]:
        return list(job_folders(self.home / "jobs"))

    def end_jobs(self) -> None:
        """Kill what the jobs of a killed server still do."""
        for job in self.jobs():
            status = job.read() or {}
            if "pid" in status and job.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(status["pid"], signal.SIGKILL)


def until_closed(line: socket.socket) -> bytes:
    """Return what comes on a connection until it is closed."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            received += part
    return received


@contextlib.contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Served]:
    """Run a server within the block; nothing of it is left at its end."""
    server = Served(folder, **environment)
    try:
        server.wait_for_answer()
        yield server
    finally:
        server.end()
        server.end_jobs()
