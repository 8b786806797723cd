"""One way to show how far something is: a bar in Lab and in a terminal, a line now and then in a log, nothing in a report.

Enters: how much there is to do. Leaves: a function to call with what has been done. Everything goes to stderr, or into a widget. A
kernel that no Jupyter server started is run by papermill or nbval, which keep what is printed, or fail by it: nothing is shown there,
nor where WORKBENCH_PROGRESS=off.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

VARIABLE = "WORKBENCH_PROGRESS"

_LOG_SECONDS = 10.0

Tick = Callable[[int], None]


@contextlib.contextmanager
def progress(total: int | None, label: str, unit: str = "") -> Iterator[Tick]:
    """Show progress within the block.

    Parameters
    ----------
    total
        How much there is to do; None where that is not known.
    label
        What is being done, in a word: "sweep".
    unit
        What is counted, in the plural: "configurations".

    Yields
    ------
    Callable
        To be called with how much was done since the last call.
    """
    match _place():
        case "notebook" | "terminal" as place:
            with _bar(place, total, label, unit) as tick:
                yield tick
        case "log":
            with _lines(total, label, unit) as tick:
                yield tick
        case _:
            yield lambda _: None


def in_lab() -> bool:
    """Return whether this is a kernel with somebody before it: widgets can be shown, and buttons pressed."""
    return _place() == "notebook"


def _place() -> str:
    """Return where to show it: "notebook", "terminal", "log" or "nowhere"."""
    if os.environ.get(VARIABLE, "").lower() in ("off", "0"):
        return "nowhere"
    if _in_kernel():
        # A Jupyter server names its session to the kernels that it starts; nbval's are started by pytest.
        shown = "JPY_SESSION_NAME" in os.environ and "PYTEST_CURRENT_TEST" not in os.environ
        return "notebook" if shown else "nowhere"
    return "terminal" if sys.stderr is not None and sys.stderr.isatty() else "log"


def _in_kernel() -> bool:
    """Return whether this is a notebook's kernel, without importing what only a kernel has."""
    find_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return find_shell is not None and hasattr(find_shell(), "kernel")


@contextlib.contextmanager
def _bar(place: str, total: int | None, label: str, unit: str) -> Iterator[Tick]:
    if place == "notebook" and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm  # type: ignore[import-untyped]
    else:
        from tqdm import tqdm  # type: ignore[import-untyped]
    with tqdm(total=total, desc=label, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True) as bar:
        yield lambda done: bar.update(done) and None


@contextlib.contextmanager
def _lines(total: int | None, label: str, unit: str) -> Iterator[Tick]:
    """Write a line now and then; none at all for what is over before the first one is due."""
    started = written = time.monotonic()
    done = shown = 0

    def write() -> None:
        nonlocal shown
        shown = done
        share = f" of {total:,}" if total is not None else ""
        line = f"workbench: {label}: {done:,}{share} {unit}".rstrip()
        print(f"{line} after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    def tick(more: int) -> None:
        nonlocal done, written
        done += more
        if time.monotonic() - written >= _LOG_SECONDS:
            written = time.monotonic()
            write()

    try:
        yield tick
    finally:
        if written > started and shown < done:
            write()


def note(text: str) -> None:
    """Say something once, where progress is shown: why a first time takes longer, for example."""
    if _place() != "nowhere":
        print(f"workbench: {text}", file=sys.stderr, flush=True)
