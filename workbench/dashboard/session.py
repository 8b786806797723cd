"""What a browser session holds: the values of its widgets, and the view they make.

Enters: the address on opening, widgets from then on. Leaves: the fields of requests, and the address again. Widgets that are not drawn
in a run would lose their values, so that `keep` writes them back first.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import streamlit as st

from workbench.dashboard import form
from workbench.dashboard.address import TABS, View, split_symbols, write_address
from workbench.report.parameters import study_parameters

TITLES = dict(zip(TABS, ("Portfolio analysis", "Stock analysis", "Sweep", "Reports", "System"), strict=True))
OWN_PRICES = "those of the data set"
_DATA = ("dataset", "prices", "benchmark", "start", "end")
_WIDGETS = (*_DATA, "tab", "symbols", "grid", "grid_kind", "axis_x", "axis_y", "number")


def open_view(view: View) -> None:
    """Fill the session with a view."""
    state = st.session_state
    state["tab"] = TITLES[view.tab]
    state["dataset"], state["prices"] = view.dataset, view.prices or OWN_PRICES
    state["benchmark"] = view.benchmark or ""
    for name in ("start", "end"):
        day = getattr(view, name)
        state[name] = dt.date.fromisoformat(day) if day else None
    form.fill(state, dict(view.knobs))
    state["symbols"] = ", ".join(view.symbols)
    state["grid"], state["number"] = view.grid, view.number
    state["sweep_job"], state["report_job"] = view.sweep, view.report
    state["run_study"], state["run_stocks"] = view.run and view.tab == TABS[0], view.run and view.tab == "stocks"


def keep() -> None:
    """Write the values of all widgets back, so that those that are not drawn this time keep theirs."""
    fields = study_parameters()
    names = (*_WIDGETS, *map(form.key_of, fields), *(f"values_{name}" for name in fields))
    for name in names:
        if name in st.session_state:
            st.session_state[name] = st.session_state[name]


def current_view() -> View:
    """Return the view that the session shows."""
    state = st.session_state
    tab = next(name for name, title in TITLES.items() if title == state["tab"])
    shown = {TABS[0]: "study", "stocks": "stocks"}.get(tab)
    return View(
        tab=tab,
        run=shown is not None and shown in state,
        dataset=None if state["dataset"] == "default" else state["dataset"],
        prices=None if state["prices"] == OWN_PRICES else state["prices"],
        benchmark=state["benchmark"].strip() or None,
        start=state["start"].isoformat() if state["start"] else None,
        end=state["end"].isoformat() if state["end"] else None,
        knobs=form.knobs_of(state),
        symbols=split_symbols(state["symbols"]),
        grid=state["grid"].strip(),
        number=state["number"],
        sweep=state["sweep_job"],
        report=state["report_job"],
    )


def data_fields() -> dict[str, str]:
    """Return the data fields of a request."""
    return current_view().data()


def study_fields() -> dict[str, Any]:
    """Return the fields of a study's request: its data, and the knobs that are not at their defaults."""
    view = current_view()
    return view.data() | dict(view.knobs)


def write_back() -> None:
    """Put the view into the address, where it differs from what is there."""
    query = write_address(current_view())
    if st.query_params.to_dict() != query:
        st.query_params.from_dict(query)
