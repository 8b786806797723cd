"""A kernel that a Lab started, spoken to as a notebook does."""

from __future__ import annotations

from pathlib import Path

import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from labs import RunningLab
from processes import until


class LabKernel:
    def __init__(self, lab: RunningLab) -> None:
        self.lab = lab
        self.id = lab.post("/api/kernels", {"name": "python3"}).json()["id"]
        self.runtime = Path(lab.server().environ()["JUPYTER_RUNTIME_DIR"])
        connection = self.runtime / f"kernel-{self.id}.json"
        until(lambda: connection.is_file() and connection.stat().st_size, 30)
        self.client = BlockingKernelClient(connection_file=str(connection))
        self.client.load_connection_file()
        lab.clients.callback(self._hang_up)
        self.client.start_channels(hb=False)  # on a busy machine a heart that beats late is taken for dead
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, seconds: float = 120) -> str:
        """Run a cell and return all that it printed, also on stderr; what it raised as `ERROR name: message`."""
        shown: list[str] = []

        def take(message: dict[str, dict[str, str]]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown.append(content["text"])
            elif message["msg_type"] == "error":
                shown.append(f"ERROR {content['ename']}: {content['evalue']}")

        self.client.execute_interactive(code, timeout=seconds, output_hook=take)
        return "".join(shown).strip()

    def process(self) -> psutil.Process:
        [found] = [child for child in self.lab.family() if any(self.id in word for word in child.cmdline())]
        return found

    def _hang_up(self) -> None:
        self.client.stop_channels()
        self.client.context.destroy(linger=0)  # else a test that failed would wait for it for ever

    def end(self) -> None:
        self.lab.delete(f"/api/kernels/{self.id}")
