"""How the sweep's inner loops are compiled, and where their machine code is kept.

Enters: a function of numbers and arrays. Leaves: its compiled form. The first call on a machine compiles; every later process reads the
machine code from the workbench's state folder, which can be written where the package itself cannot.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numba

from workbench.errors import WorkbenchError
from workbench.market.home import VARIABLE, home

_CACHE = "NUMBA_CACHE_DIR"
SOURCES = ("compiled.py", "holding.py", "numbers.py", "kernel.py")


def _machine_code_folder() -> Path | None:
    """Return the folder for machine code, named after the sources; None where there is no place for one: every process then compiles.

    numba itself looks only at the file of a function, and would go on using what that calls from another file as it was.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256(b"".join((here / name).read_bytes() for name in SOURCES)).hexdigest()[:16]
    try:
        folder = Path(os.environ.get(_CACHE) or home() / "compiled") / digest
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, WorkbenchError):
        return None
    return folder if os.access(folder, os.W_OK) else None


_FOLDER = _machine_code_folder()


def how_often() -> str:
    """Say how often there is something to compile: what is not kept, every process compiles."""
    if _FOLDER is not None:
        return "once on this machine"
    variable = _CACHE if os.environ.get(_CACHE) else VARIABLE
    return f"each time, until {variable} is a folder that can be written"


def is_first_use(function: Any) -> bool:
    """Return whether the next call of a compiled function has to compile it, which takes some ten seconds."""
    name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
    return not function.signatures and (_FOLDER is None or not any(_FOLDER.rglob(f"{name}*.nbc")))


def compiled(function: Any) -> Any:
    """Compile at the first call. No fast-math: a sum is made in the order in which it is written."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(_FOLDER or before)  # type: ignore[attr-defined]  # read here, and by functions of the user's own
    try:
        return numba.njit(cache=_FOLDER is not None, nogil=True, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
