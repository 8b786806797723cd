"""A dashboard as a process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import httpx
from processes import until
from served import ROOT, free_port


class Dashboard:
    """A process of `workbench dashboard`, where it listens, and its log."""

    def __init__(self, url: str, log: Path, *options: str, **environment: str) -> None:
        self.port, self.log = free_port(), log
        self.url = f"http://127.0.0.1:{self.port}"
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "workbench", "dashboard", "--port", str(self.port), "--url", url, *options],
                cwd=ROOT,
                env=os.environ | {"NO_PROXY": "*"} | environment,
                stdout=output,
                stderr=output,
            )

    def wait_for_answer(self) -> None:
        """Wait until it answers; fail where it ends instead."""
        until(self._answers, 90.0)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/_stcore/health").status_code == 200
        return False

    def stop(self) -> int:
        """Ask it to end, and return its exit code; one that does not is killed, and that is a failure."""
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
