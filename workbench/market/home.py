"""Where the workbench keeps its state (price store, ledger, caches, jobs), and what it needs for a moment only.

Enters: the environment. Leaves: a folder that exists and can be written. Each kind of state lives in a folder of its
own in it, with a schema version of its own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from workbench.errors import ConfigError
from workbench.market.files import show

VARIABLE = "WORKBENCH_HOME"


def home() -> Path:
    """Return the folder of the workbench's state, made if it is not there.

    WORKBENCH_HOME names it; else it is `workbench` in the XDG data folder (`~/.local/share`).

    Raises
    ------
    ConfigError
        The folder cannot be made or written (exit code 2).
    """
    named = os.environ.get(VARIABLE)
    folder = Path(os.path.abspath(os.path.expanduser(named))) if named else _default()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        field = VARIABLE if named else "the folder of the workbench's state"
        why = error.strerror or type(error).__name__
        raise ConfigError(
            f"{field} must be a folder that can be written, got {show(folder, 200)} ({why}); "
            f"set {VARIABLE} to {'another' if named else 'one'}"
        ) from None


def temporary() -> Path:
    """Return the folder for temporary files: that of TMPDIR, else the system's.

    Raises
    ------
    ConfigError
        None of them can be written (exit code 2).
    """
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        got = show(os.environ.get("TMPDIR") or "nothing", 200)
        raise ConfigError(
            f"TMPDIR must be a folder that can be written where /tmp cannot, got {got}; set TMPDIR to one"
        ) from None


def _default() -> Path:
    data = os.environ.get("XDG_DATA_HOME", "")
    # The XDG rule: a relative path in the variable is to be ignored.
    folder = Path(data if os.path.isabs(data) else os.path.expanduser("~/.local/share"))
    if not folder.is_absolute():  # expanduser leaves the ~ where the home folder is unknown
        raise ConfigError(f"{VARIABLE} must be set where the user has no home folder, got nothing; set it to a folder")
    return folder / "workbench"
