"""The process of a job: the `workbench` command line, which leaves its exit code in a file when it ends.

Enters: a command line's arguments. Leaves: what the command leaves, and `exit` in the current folder; none where the process is killed. A
server that did not start the process has no other way to know the code.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from workbench.api.job_files import EXIT


def main() -> None:
    """Be `python -m workbench` with the same arguments."""
    try:
        runpy.run_module("workbench", run_name="__main__")
    except SystemExit as end:
        Path(EXIT).write_text(str(end.code), encoding="ascii")
        raise


if __name__ == "__main__":
    main()
