"""What keeps a traceback off the screen, and the one connection of a browser session.

Enters: functions that draw a part of the page. Leaves: the part, or one line in its place; the rest of an unexpected error goes to
the log.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import ParamSpec

import streamlit as st

from workbench.client import Client
from workbench.dashboard.text import plain
from workbench.errors import UnavailableError, WorkbenchError

P = ParamSpec("P")
_LOG = logging.getLogger("workbench.dashboard")


def api() -> Client:
    """Return the session's client; the address and the key are the process's environment."""
    if "client" not in st.session_state:
        st.session_state["client"] = Client.from_environment()
    client: Client = st.session_state["client"]
    return client


def show_error(error: Exception, place: str) -> None:
    """Show an error as one line; where it is not the user's to mend, with a button that tries again."""
    if not isinstance(error, WorkbenchError):
        _LOG.error("in %s", place, exc_info=error)
        st.error(f"A fault of the dashboard ({type(error).__name__}); its log has the rest.", icon=":material/error:")
    else:
        st.error(plain(str(error)), icon=":material/error:")
    if not isinstance(error, WorkbenchError) or isinstance(error, UnavailableError):
        st.button("Retry", key=f"retry {place}", icon=":material/refresh:")


@contextlib.contextmanager
def errors_shown(place: str) -> Iterator[None]:
    """Show an error of the block in its place. `place` names it in the log."""
    try:
        yield
    except Exception as error:
        show_error(error, place)


def guarded(place: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return a decorator: errors of the function are shown where it would have drawn."""

    def decorate(function: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(function)
        def draw(*arguments: P.args, **names: P.kwargs) -> None:
            with errors_shown(place):
                function(*arguments, **names)

        return draw

    return decorate
