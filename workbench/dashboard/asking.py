"""What a form asks the API, and the answer that stays on view until another takes its place.

Enters: the fields of a request as the session has them now, and who asks with them. Leaves: the last answer, or a hint at how to get one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from workbench.dashboard.guard import api


def answered(
    key: str,
    fields: dict[str, Any],
    ask: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    pressed: bool,
    working: str,
    before: str,
    form: str,
) -> dict[str, Any] | None:
    """Ask where Run was pressed, or where the address asks for it; return what is held, None before the first answer.

    Parameters
    ----------
    key
        Of the session, under which the answer is held; `run_` and it is what the address sets.
    fields, ask
        Of the request; a request that is refused leaves nothing on view.
    pressed
        Whether Run was.
    working, before, form
        Words: what goes on meanwhile, what to do before the first Run, and what may have changed since the last.

    Returns
    -------
    dict
        `fields`, `answer`, `cache` (hit or miss) and `seconds` of the request.
    """
    if pressed or st.session_state.pop(f"run_{key}", False):
        st.session_state.pop(key, None)
        started = time.perf_counter()
        with st.spinner(working, show_time=True):
            answer = ask(fields)
        seconds = time.perf_counter() - started
        st.session_state[key] = {"fields": fields, "answer": answer, "cache": api().last_cache, "seconds": seconds}
    held: dict[str, Any] | None = st.session_state.get(key)
    if held is None:
        st.info(f"{before}, then press Run.", icon=":material/arrow_upward:")
    elif held["fields"] != fields:
        st.warning(f"{form} or the data have changed since; press Run for their numbers.", icon=":material/sync:")
    return held
