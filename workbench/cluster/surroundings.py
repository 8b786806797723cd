"""What a worker must have of its driver: an interpreter that starts, the workbench's variables, the modules beside the notebook.

Enters: this process's environment. Leaves: what Ray needs to start a worker, and what goes along with every call.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

from workbench.market.home import VARIABLE as HOME

LOG_VARIABLE = "WORKBENCH_SERVE_LOG"
"""Names a pipe; in a replica, a line written to it appears on the stderr of the process that serves."""
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names a folder through which the replicas add up what they count; the name is that of Prometheus' client."""
PROXY_METRICS_VARIABLE = "WORKBENCH_SERVE_METRICS"
"""Names the same folder in the process that accepts connections: Ray starts it, and what it imports must not count there by itself."""

_PREFIX = "WORKBENCH_"
_SECRET = "WORKBENCH_API_KEY"  # no task needs it, and Ray shows arguments in places


def worker_environment() -> dict[str, Any] | None:
    """Return the runtime environment without which no worker would start; None where none is needed, as each costs seconds.

    Ray starts workers by a shell line in which it does not quote the interpreter: from a folder with a blank in its name none
    would ever start, and every task would wait for ever.
    """
    quoted = shlex.quote(sys.executable)
    return None if quoted == sys.executable else {"py_executable": quoted}


class Surroundings(NamedTuple):
    """What a worker takes over from its driver.

    names : the workbench's own environment variables.
    path : where the driver finds modules: a signal of the user's own may be in one that lies beside the notebook.
    """

    names: dict[str, str]
    path: list[str]


def surroundings() -> Surroundings:
    """Return this process's, in a form that does not depend on the current folder."""
    names = {
        name: value for name, value in os.environ.items() if name.startswith(_PREFIX) and not name.startswith(_SECRET)
    }
    if names.get(HOME):
        names[HOME] = str(Path(names[HOME]).expanduser().absolute())
    return Surroundings(names, [os.path.abspath(entry) for entry in sys.path])


def adopt(given: Surroundings) -> None:
    """Take over a driver's surroundings; its variables, and none that it does not have. Its modules come after this worker's own."""
    for name in [name for name in os.environ if name.startswith(_PREFIX) and name not in given.names]:
        del os.environ[name]
    os.environ.update(given.names)
    sys.path.extend(entry for entry in given.path if entry not in sys.path)
