"""`%workbench`: what a notebook's workbench is and what it runs on.

Enters: a word. Leaves: lines of text. Loading the extension imports nothing else and prints nothing.
"""

from __future__ import annotations

from typing import Any

import workbench

WORDS = ("status", "doctor")


def register(shell: Any) -> None:
    """Give an IPython shell the magic."""
    shell.register_magic_function(_magic, magic_kind="line", magic_name="workbench")


def _magic(line: str) -> None:
    """Show the workbench: `%workbench` or `%workbench status` in one line, `%workbench doctor` with what could stand in its way."""
    word = line.strip() or "status"
    if word not in WORDS:
        from IPython.core.error import UsageError

        raise UsageError(f"%workbench must be followed by nothing, {' or '.join(WORDS)}, got {word!r}")
    if word == "status":
        print(status())
        return
    from workbench.cluster.doctor import examine

    for finding in examine():
        print(finding)


def status() -> str:
    """Return version, engine and home in one line."""
    from workbench.cluster import session
    from workbench.errors import WorkbenchError
    from workbench.execution import usable_cpus
    from workbench.market.home import home

    present, missing = session.in_use(), session.not_up()
    if present:
        engine = f"Ray is up ({present})"
    elif missing:
        engine = f"Ray is not up ({missing}); engine auto computes here, on {usable_cpus()} CPUs"
    else:
        engine = f"no Ray; engine auto computes here, on {usable_cpus()} CPUs"
    try:
        where = f"home {home()}"
    except WorkbenchError as error:
        where = str(error)
    return f"workbench {workbench.__version__}: {engine}; {where}"
