"""The process that keeps the Ray of a Lab: a process of its own, since Ray ends the one that started it a minute after it is lost.

Enters: the file to tell the kernels by. Leaves: a Ray for as long as the Lab lives; how far it is, and what went wrong, in the file.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from workbench.cluster import session
from workbench.cluster.address import is_alive
from workbench.cluster.shared import FAILED, STARTING, UP, SharedRay, authentication, publish
from workbench.errors import WorkbenchError
from workbench.parent import end_with_parent

_CHECK_SECONDS, _LOST_CHECKS = 2.0, 3


AGAIN = 75
"""Exit code of a first attempt that did not come to a Ray: on a busy machine the next one may."""


def keep(file: str, attempts_left: str) -> None:
    """Start a Ray and keep it until SIGTERM, until the parent is gone, or until Ray is; only the last attempt tells of a failure."""
    path, lab = Path(file), os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    end_with_parent()
    publish(path, SharedRay(STARTING, lab))
    try:
        with session.running():
            from workbench.cluster.nodes import cluster_address

            address = cluster_address()
            publish(path, SharedRay(UP, lab, address, authentication=authentication()))
            _wait_while_alive(address)
            publish(path, SharedRay(FAILED, lab, reason=f"it no longer answers at {address}"))
    except WorkbenchError as error:
        if int(attempts_left):
            sys.exit(AGAIN)
        publish(path, SharedRay(FAILED, lab, reason=str(error)))


def _wait_while_alive(address: str) -> None:
    lost = 0
    while lost < _LOST_CHECKS:
        time.sleep(_CHECK_SECONDS)
        lost = 0 if is_alive(address) else lost + 1
