"""An honest portfolio report from a table of social-media engagement.

Importing this package imports none of its modules but the errors: each name below is loaded on first use, so that
`import workbench` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.calls import run_sweep
    from workbench.config import StudyConfig
    from workbench.form import study_form
    from workbench.market.load import load_market
    from workbench.market.tables import Market
    from workbench.registry import register_signal
    from workbench.report.run import render_report
    from workbench.result import StudyResult
    from workbench.session import Session
    from workbench.study import reproduce_published, run_study
    from workbench.sweep.result import SweepResult

__version__ = "0.1.0"

__all__ = [
    "Market",
    "Session",
    "StudyConfig",
    "StudyResult",
    "SweepResult",
    "WorkbenchError",
    "__version__",
    "load_market",
    "register_signal",
    "render_report",
    "reproduce_published",
    "run_study",
    "run_sweep",
    "study_form",
]

_MODULES = {
    "Market": "workbench.market.tables",
    "Session": "workbench.session",
    "StudyConfig": "workbench.config",
    "StudyResult": "workbench.result",
    "SweepResult": "workbench.sweep.result",
    "load_market": "workbench.market.load",
    "register_signal": "workbench.registry",
    "render_report": "workbench.report.run",
    "reproduce_published": "workbench.study",
    "run_study": "workbench.study",
    "run_sweep": "workbench.calls",
    "study_form": "workbench.form",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """Give a notebook the magic `%workbench`: what `%load_ext workbench` calls."""
    from workbench.magics import register

    register(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
