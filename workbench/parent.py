"""Processes that end with the one that started them, however that one ends.

Enters: a pipe on standard input, of which the parent holds the other end. Leaves: SIGTERM to this process when the parent lets go of it,
which the kernel does for a parent that was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def end_with_parent() -> None:
    """Watch standard input from now on; its end is the parent's."""
    threading.Thread(target=_watch, args=(sys.stdin.fileno(),), name="workbench-parent", daemon=True).start()


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
