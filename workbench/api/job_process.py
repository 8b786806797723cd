"""The process of a job: the `workbench` command line, which leaves its exit code in a file when it ends.

Enters: a command line's arguments. Leaves: what the command leaves, and `exit` in the current folder; none where the process is killed. A
server that did not start the process has no other way to know the code. The process gives way to the server that started it.
"""

from __future__ import annotations

import contextlib
import os
import runpy
from pathlib import Path

from workbench.api.job_files import EXIT

NICENESS = 5
"""Above that of the server: where both want a processor, three quarters of it are the server's."""
_SESSION_NICENESS = Path("/proc/self/autogroup")


def main() -> None:
    """Be `python -m workbench` with the same arguments."""
    _give_way()
    try:
        runpy.run_module("workbench", run_name="__main__")
    except SystemExit as end:
        Path(EXIT).write_text(str(end.code), encoding="ascii")
        raise


def _give_way() -> None:
    os.nice(NICENESS)
    # Linux may weigh sessions against each other before their processes, and a job is a session of its own.
    with contextlib.suppress(OSError):
        _SESSION_NICENESS.write_text(str(NICENESS), encoding="ascii")


if __name__ == "__main__":
    main()
