"""The surroundings of a kernel: private folders, a fixed plotly renderer, and a Jupyter that imports a second faster.

Enters: a scratch folder. Leaves: the environment for a kernel, or for a process that starts one. Nothing is written to the folders of
the person who runs it, and their IPython start-up files and kernel specs do not reach the notebook.
"""

from __future__ import annotations

import json
import os
import site
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench import progress
from workbench.execution import ACCOUNT_VARIABLE

# jsonschema treats this package as optional and uses it to check one string format, IRIs, which notebooks do not have. It builds a
# grammar when it is imported, which is 1 to 2 s of every process that imports nbformat, as plotly does in a kernel. Import this
# module before nbformat.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# Like ipykernel_launcher, keeps the current folder out of the way of imports until the kernel puts it back.
KERNEL_CODE = """import sys
sys.path[:] = filter(None, sys.path)
from workbench.report.jupyter import serve_kernel
serve_kernel()"""

_ACCOUNT = "account.json"
_ROOT = Path(__file__).resolve().parents[2]
_UNWANTED = ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "PYTEST_PLUGINS")


def kernel_environment(scratch: Path) -> dict[str, str]:
    """Return this process's environment, changed so that a kernel leaves no trace outside `scratch`."""
    environment = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    environment |= {
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PLOTLY_RENDERER": "plotly_mimetype",
        progress.VARIABLE: "off",  # a bar would be kept in the report, and fail its check
        ACCOUNT_VARIABLE: str(scratch / _ACCOUNT),
    }
    if not home_is_writable():
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
            environment.setdefault(name, str(scratch / name.lower()))
    # A kernel may start in another folder, where a relative entry would lead elsewhere; an empty one is the current folder.
    given, here = environment.get("PYTHONPATH"), os.getcwd()
    entries = [os.path.abspath(entry) for entry in given.split(os.pathsep)] if given else []
    if here not in entries and not {"", here}.isdisjoint(sys.path):
        entries.append(here)  # as with `python -m workbench`
    # A kernel must run the workbench that started it, installed or not.
    if str(_ROOT) not in site.getsitepackages():
        entries.insert(0, str(_ROOT))
    if entries:
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    return environment


def home_is_writable() -> bool:
    """Return whether Jupyter, IPython and matplotlib may have folders of their own in the user's home."""
    return os.access(os.path.expanduser("~"), os.W_OK)


def read_account(scratch: Path) -> dict[str, Any] | None:
    """Return what the kernel of a private folder said of the engine that it used; None where it used none."""
    try:
        return dict(json.loads((scratch / _ACCOUNT).read_text(encoding="utf-8")))
    except (OSError, ValueError):  # no session, or one that was killed while it wrote
        return None


def plugins() -> list[str]:
    """Return the modules that WORKBENCH_PLUGINS names, in its order."""
    return [name for part in os.environ.get("WORKBENCH_PLUGINS", "").split(",") if (name := part.strip())]


def end_kernels(folder: Path) -> None:
    """Kill the kernels whose private folders lie in `folder`, and what they have started: those of a process that was killed itself.

    A kernel finds out within a second that its process is gone, and ends. What it has started does not.
    """
    import psutil  # type: ignore[import-untyped]  # comes with ipykernel

    for process in psutil.process_iter(["environ"]):
        if (process.info["environ"] or {}).get("IPYTHONDIR", "").startswith(f"{folder}{os.sep}"):
            with suppress(psutil.Error):  # it ends at this very moment
                process.kill()


def serve_kernel() -> None:
    """Be a kernel, by the command line's arguments."""
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()
