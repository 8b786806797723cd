"""A job of the API on the page: which one, how far it is, a button that cancels it, and what became of it.

Enters: the kind of a job; the session has the id of the one on view under `report_job` and `sweep_job`. Leaves: its progress, asked for
once a second in a part of the page that is drawn alone, so that the rest of it, and all other sessions, go on.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import MutableMapping
from typing import Any

import streamlit as st

from workbench.client import ENDED
from workbench.dashboard.address import JOB_ID
from workbench.dashboard.guard import api, errors_shown
from workbench.dashboard.text import plain
from workbench.errors import ConfigError
from workbench.market.files import show

POLL_SECONDS = 1.0
_WHERE = {"report": "it is in the tab Reports", "sweep": "its rows are in the tab Sweep"}


def remember(job: MutableMapping[str, Any], title: str) -> None:
    """Add a job to those of this session, and put it on view."""
    st.session_state.setdefault("jobs", {})[job["id"]] = {"kind": job["kind"], "title": title}
    st.session_state[_key(job["kind"])] = job["id"]


def chosen(kind: str) -> dict[str, Any] | None:
    """Let a job of a kind be chosen, and show it until it ends; return it when it is done, else None.

    Raises
    ------
    ConfigError
        There is no such job, or it is of the other kind.
    """
    _choose(kind)
    job_id = st.session_state[_key(kind)]
    done = None if job_id is None else _follow(job_id)
    if done is not None and done["kind"] != kind:
        raise ConfigError(f"{job_id} is the id of a {done['kind']}; {_WHERE[done['kind']]}")
    return done


def _key(kind: str) -> str:
    return f"{kind}_job"


def _choose(kind: str) -> None:
    """List the jobs of a kind that this session started, and take the id of any other."""
    own = {job: item["title"] for job, item in st.session_state.get("jobs", {}).items() if item["kind"] == kind}
    if own:
        st.caption(f"{kind.capitalize()}s of this session:")
        with st.container(horizontal=True):
            for job_id, title in own.items():
                if st.button(plain(f"{title} ({job_id[:6]})"), key=f"open {job_id}"):
                    st.session_state[_key(kind)] = job_id
    with st.expander(f"A {kind} of another session"), st.form(f"{kind} by id", border=False):
        given = st.text_input("Id of the job", key=f"{kind}_id", placeholder="0123456789abcdef").strip()
        if st.form_submit_button("Open"):
            if not JOB_ID.fullmatch(given):
                raise ConfigError(f"the id of a job must be 16 hex digits, got {show(given)!r}")
            st.session_state[_key(kind)] = given


def _follow(job_id: str) -> dict[str, Any] | None:
    """Show a job until it ends; return it when it is done, None before, and where it came to another end."""
    job = api().job(job_id)
    if job["status"] not in ENDED:
        st.fragment(_watch, run_every=POLL_SECONDS)(job_id)
        return None
    if job["status"] == "done":
        return job
    why = f": {job['error']}" if job.get("error") else ""
    st.error(plain(f"The {job['kind']} {job_id} {_was(job['status'])}{why}"), icon=":material/error:")
    return None


def _was(status: str) -> str:
    return status if status == "failed" else f"was {status}"


def _watch(job_id: str) -> None:
    """Draw a job that waits or runs; the whole page is drawn again when it has ended."""
    with errors_shown(f"the job {job_id}"):
        job = api().job(job_id)
        if job["status"] in ENDED:
            st.rerun()
        progress = job.get("progress") or {}
        done, total = progress.get("done", 0), progress.get("total")
        state = f"{job['kind'].capitalize()} {job['status']}"
        if total:
            st.progress(min(done / total, 1.0), text=f"{state}: {done:,} of {total:,} {progress.get('unit', '')}")
        else:
            st.info(
                f"{state}, {_seconds_since(job['created_at'])} s since it was asked for", icon=":material/hourglass:"
            )
        if st.button("Cancel", key=f"cancel {job_id}", icon=":material/cancel:"):
            api().cancel(job_id)
            st.rerun()


def _seconds_since(moment: str) -> int:
    """Return the seconds since an ISO moment of the API's clock, at least 0."""
    return max(round((dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(moment)).total_seconds()), 0)
