"""Reports: made by the API as jobs, opened here in a frame that can reach nothing, and downloaded."""

from __future__ import annotations

import html
import json
from typing import Any

import streamlit as st

from workbench.config import StudyConfig
from workbench.dashboard.guard import api, guarded
from workbench.dashboard.jobs import chosen, remember
from workbench.dashboard.session import study_fields
from workbench.result import study_name

_HEIGHT = 900


@guarded("the reports")
def draw() -> None:
    """Draw the tab."""
    fields = study_fields()
    st.markdown("A report of the study in the form, with these fields; all others are at their defaults:")
    st.code(json.dumps(fields) if fields else "all defaults", language="json" if fields else None, wrap_lines=True)
    if st.button("Make the report", type="primary", key="make report", icon=":material/description:"):
        remember(api().start_report(fields), _title(fields))
    done = chosen("report")
    if done is not None:
        _show(done["id"])


def _title(fields: dict[str, Any]) -> str:
    return study_name(StudyConfig.from_names(fields).to_dict())


def _show(job_id: str) -> None:
    """Show the page of a finished report, and offer its files."""
    files = _files(job_id)
    st.caption(f"Report {job_id}")
    with st.container(horizontal=True):
        for form, (content, kind) in files.items():
            name = f"report-{job_id}.{form}"
            label = f"Download {form}"
            st.download_button(label, content, name, kind, key=label, on_click="ignore", icon=":material/download:")
    page, _ = files["html"]
    st.iframe(framed(page.decode("utf-8")), height=_HEIGHT, alt="the report")


def _files(job_id: str) -> dict[str, tuple[bytes, str]]:
    """Return the files of a report; the last one opened is kept."""
    held = st.session_state.get("report_files")
    if held is None or held[0] != job_id:
        with st.spinner("Fetching the report"):
            files = {
                "html": (api().page(job_id), "text/html"),
                "json": (api().result(job_id), "application/json"),
                "ipynb": (api().result(job_id, "ipynb"), "application/x-ipynb+json"),
            }
        held = st.session_state["report_files"] = (job_id, files)
    found: dict[str, tuple[bytes, str]] = held[1]
    return found


def framed(page: str) -> str:
    """Return a page in a frame of its own origin: its scripts run, and reach neither the dashboard nor the API."""
    return (
        "<!doctype html><style>html,body{margin:0;height:100%}iframe{border:0;width:100%;height:100%}</style>"
        f'<iframe sandbox="allow-scripts allow-downloads" title="report" srcdoc="{html.escape(page)}"></iframe>'
    )
