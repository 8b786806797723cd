"""JupyterLab's own process.

Enters: settings as one JSON object on the command line, the token in JUPYTER_TOKEN. Leaves: a Lab that ends with the process that started
it. Settings of the person's own stay as they are, but for the few that are named here.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from workbench.parent import end_with_parent

_TORNADO = {
    "page_config_data": {"buildCheck": False, "buildAvailable": False},
    # In milliseconds. Jupyter's own default lies beyond its interval, and it says so for each notebook.
    "ws_ping_timeout": 30_000,
}


def arguments(settings: dict[str, Any], token: str) -> list[str]:
    """Return JupyterLab's command line, which comes before whatever its configuration files say."""
    fixed = {
        "ServerApp.ip": settings["host"],
        "ServerApp.port": settings["port"],
        "ServerApp.port_retries": 0,  # the port that was asked for, or none
        "ServerApp.root_dir": settings["folder"],
        "ServerApp.open_browser": settings["browser"],
        "ServerApp.log_level": "WARN",
        "LabApp.log_level": "WARN",
        "ServerApp.allow_root": True,  # the token stands between the notebooks and others, whoever runs them
        "ServerApp.kernel_spec_manager_class": "jupyter_client.kernelspec.KernelSpecManager",
        "IdentityProvider.token": token,
        # One kernel, whatever kernel specs the person has installed elsewhere.
        "KernelSpecManager.allowed_kernelspecs": "python3",
        "MultiKernelManager.default_kernel_name": "python3",
        # Nothing is fetched from anywhere, and nothing asks.
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "ServerApp.tornado_settings": _TORNADO,
        # Kernels are reached by sockets in a folder of our own: no port on which others could listen to them.
        "ConnectionFileMixin.transport": settings["transport"],
    }
    return [f"--{name}={value}" for name, value in fixed.items()]


def serve() -> None:
    """Be JupyterLab."""
    end_with_parent()
    import workbench.report.jupyter  # noqa: F401  # makes the import of nbformat quick

    # isort: split
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    # Not on the command line, which others can read, and not in the environment of the kernels.
    token = os.environ.pop("JUPYTER_TOKEN")
    LabApp.launch_instance(arguments(json.loads(sys.argv[1]), token))
