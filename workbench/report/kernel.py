"""One notebook executed by papermill, in this process, in a kernel of this interpreter.

Enters: a notebook and its checked parameters. Leaves: the executed notebook, and where it stopped if it did. A cell that raises, a cell
that takes too long and a kernel that dies all leave a notebook that can be rendered. The kernel is gone when `execute` returns or
raises, whatever happened.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from workbench.report.jupyter import KERNEL_CODE, kernel_environment, read_account

# The import above comes first: it makes that of nbformat quick.
# isort: split
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG, execute_notebook

from workbench.errors import UnavailableError
from workbench.market.home import temporary
from workbench.report.failure import CellFailure

# A socket's path has room for 107 bytes; jupyter_client appends "-ipc-5" to that of the connection file.
_LONGEST_SOCKET = 100

logging.getLogger("papermill").addHandler(logging.NullHandler())


class Executed(NamedTuple):
    """A notebook that ran: the cell that stopped it, if one did, and what its session said of the engine that it used, if it had one."""

    notebook: nbformat.NotebookNode
    failure: CellFailure | None
    account: dict[str, Any] | None


def execute(
    notebook: Path, parameters: Mapping[str, Any], *, cell_timeout: float, folder: Path | None = None
) -> Executed:
    """Run a notebook from top to bottom.

    Parameters
    ----------
    notebook
        The file to run; it is not changed.
    parameters
        To inject after its `parameters` cell. They are not checked here.
    cell_timeout
        Seconds that one cell may take.
    folder
        Where the kernel makes its private folder; None for the system's place for such.

    Raises
    ------
    ConfigError
        No folder for temporary files can be written.
    UnavailableError
        No kernel could be started, in two attempts.
    """
    try:
        return _execute(notebook, parameters, cell_timeout, folder)
    except UnavailableError:  # no cell has run; among many kernels that start at once, one may lose a race
        return _execute(notebook, parameters, cell_timeout, folder)


def _execute(notebook: Path, parameters: Mapping[str, Any], cell_timeout: float, folder: Path | None) -> Executed:
    with tempfile.TemporaryDirectory(
        prefix="workbench-", dir=folder or temporary(), ignore_cleanup_errors=True
    ) as name:
        scratch = Path(name)
        with (scratch / "kernel.log").open("w+b") as log:
            kernel = _kernel_class(scratch, log)
            try:
                executed, failure = _run_to_end(kernel, notebook, parameters, cell_timeout, log)
            finally:
                kernel.end()
        return Executed(executed, failure, read_account(scratch))


def _run_to_end(
    kernel: type[_Kernel], notebook: Path, parameters: Mapping[str, Any], cell_timeout: float, log: IO[bytes]
) -> tuple[nbformat.NotebookNode, CellFailure | None]:
    """Run a notebook in a kernel, and say where it stopped."""
    kept: list[nbformat.NotebookNode] = []
    try:
        executed = _run(kernel, notebook, parameters, kept, cell_timeout)
        if any(cell.execution_count is None for cell in _code_cells(executed)):
            return _stopped(executed, "SystemExit", "the notebook ended itself before its last cell")
        return executed, None
    except PapermillExecutionError as error:
        return _stopped(kept[0], error.ename, error.evalue)
    except CellTimeoutError:
        return _stopped(kept[0], "CellTimeoutError", f"the cell took longer than {cell_timeout:g} s")
    except DeadKernelError:
        return _stopped(kept[0], "DeadKernelError", _last_words(kernel.process, log))
    except RuntimeError as error:
        words = _last_words(kernel.process, log)
        raise UnavailableError(f"no kernel could be started: {error}; {words}") from None


class _Engine(NBClientEngine):
    """papermill's own engine, which hands out the notebook before it runs.

    papermill keeps a notebook that fails in a file only, and that costs a write of all of it before and after each cell.
    """

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, kept: list[nbformat.NotebookNode], **options: Any
    ) -> None:
        """Run the cells."""
        kept.append(nb_man.nb)
        super().execute_managed_notebook(nb_man, kernel_name, **options)


papermill_engines.register("workbench", _Engine)


class _Kernel(AsyncKernelManager):
    """A kernel of this interpreter with folders of its own. Its process's output goes to a log, not to the user's terminal."""

    process: subprocess.Popen[bytes] | None = None
    scratch: Path
    log_file: IO[bytes]

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # jupyter_client's own way to a kernel spec lets one of the same name in the user's folders come first.
        command = [sys.executable, "-c", KERNEL_CODE, "-f", "{connection_file}"]
        self._kernel_spec = KernelSpec(argv=command, display_name="Python 3", language="python")
        self.connection_file = str(self.scratch / "kernel.json")
        # Unix sockets in a private folder: no port to race for, nothing on the network, and no warning about that.
        if os.name == "posix" and len(os.fsencode(self.connection_file)) < _LONGEST_SOCKET:
            self.transport = "ipc"

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # as in its parent
        """Start the process."""
        options |= {"env": kernel_environment(self.scratch), "stdout": self.log_file, "stderr": self.log_file}
        await super().start_kernel(**options)
        type(self).process = getattr(self.provisioner, "process", None)

    @classmethod
    def end(cls) -> None:
        """Kill what is left of the process and its children."""
        if cls.process is not None and cls.process.poll() is None:
            os.killpg(cls.process.pid, signal.SIGKILL)  # jupyter_client makes each kernel the head of a group
            cls.process.wait()


def _kernel_class(scratch: Path, log_file: IO[bytes]) -> type[_Kernel]:
    """Return a class for one execution: nbclient takes a class and makes the instance itself."""
    return type("Kernel", (_Kernel,), {"scratch": scratch, "log_file": log_file})


def _run(
    kernel: type[_Kernel],
    notebook: Path,
    parameters: Mapping[str, Any],
    kept: list[nbformat.NotebookNode],
    cell_timeout: float,
) -> nbformat.NotebookNode:
    return execute_notebook(
        str(notebook),
        None,
        dict(parameters),
        engine_name="workbench",
        kernel_name="python3",
        language="python",
        progress_bar=False,
        execution_timeout=cell_timeout,
        iopub_timeout=60,
        kernel_manager_class=kernel,
        shutdown_kernel="immediate",
        kept=kept,
    )


def _stopped(
    notebook: nbformat.NotebookNode, error_name: str, message: str
) -> tuple[nbformat.NotebookNode, CellFailure]:
    """Return the notebook as far as it came, and its failure.

    papermill marks every cell as completed when anything but an exception in a cell stops it: set right here.
    """
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", [])]
    started = [cell for cell in _code_cells(notebook) if cell.metadata.get("papermill", {}).get("start_time")]
    failed = next((cell for cell in started if cell.metadata.papermill.get("exception")), started[-1])
    position = next(position for position, cell in enumerate(notebook.cells) if cell is failed)
    for cell in notebook.cells[position + 1 :]:
        cell.metadata.setdefault("papermill", {})["status"] = "pending"
    failed.metadata.papermill["status"] = "failed"
    number = sum(cell.cell_type == "code" and bool(cell.source.strip()) for cell in notebook.cells[: position + 1])
    return notebook, CellFailure(number, _heading(notebook, position), error_name, message.strip())


def _code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def _heading(notebook: nbformat.NotebookNode, position: int) -> str:
    """Return the text of the last heading above a cell."""
    above = [cell.source for cell in notebook.cells[:position] if cell.cell_type == "markdown"]
    headings = re.findall(r"^#+ +(.+?) *#*$", "\n".join(above), flags=re.MULTILINE)
    return str(headings[-1]) if headings else ""


def _last_words(process: subprocess.Popen[bytes] | None, log: IO[bytes]) -> str:
    """Say how the kernel's process ended, with the last lines that it printed."""
    code = None if process is None else process.poll()
    how = "the kernel died"
    if code is not None and code < 0:
        how += f", killed by {signal.Signals(-code).name}" + (
            ": memory may have run out" if code == -signal.SIGKILL else ""
        )
    elif code is not None:
        how += f" with exit code {code}"
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().split("\n")[-8:]
    return "\n".join([how, *filter(None, lines)])
