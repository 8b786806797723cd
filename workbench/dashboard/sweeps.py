"""Sweep: many studies as a job of the API, and how much a number hangs on each choice.

Enters: a grid as text, or two fields with values. Leaves: tables and figures that show the whole grid; what is best in it was picked
after the fact, and the page says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from workbench.config import StudyConfig, choices
from workbench.dashboard import form
from workbench.dashboard.address import NUMBERS
from workbench.dashboard.guard import api, guarded
from workbench.dashboard.jobs import chosen, remember
from workbench.dashboard.look import show_figure, show_kind, show_table
from workbench.dashboard.session import study_fields
from workbench.dashboard.sweep_rows import base_of, sweep_result
from workbench.dashboard.text import number, plain
from workbench.errors import ConfigError
from workbench.registry import signal_names
from workbench.report.parameters import study_parameters
from workbench.report.sweeps import effects, heat_map, marginals, neighbours, place
from workbench.report.table import Table
from workbench.result import LOOK_AHEAD
from workbench.sweep.grid import parse_grid
from workbench.sweep.result import COUNTS, HEADLINE, SweepResult

MOST_ROWS = 1_000
_MOST_CELLS, _MOST_VALUES = 5_000, 200  # of a heat map, and of an axis, that a reader can tell apart
_KINDS = ("Two axes", "Any grid, as text")
_EXAMPLE = "top_n=3,5,10; cost_bps=0,10"


@guarded("the sweep")
def draw() -> None:
    """Draw the tab."""
    _form()
    done = chosen("sweep")
    if done is not None:
        _show(done["id"], _result(done["id"], done))


@guarded("the form of the sweep")
def _form() -> None:
    """Draw the form; what is wrong with it is said below it."""
    state = st.session_state
    state.setdefault("grid_kind", _KINDS[1] if state["grid"] else _KINDS[0])
    kind = st.radio("Configurations", _KINDS, key="grid_kind", horizontal=True)
    axes = _axes() if kind == _KINDS[0] else ()
    with st.form("sweep form"):
        if axes:
            columns = st.columns(2)
            values = []
            for column, name in zip(columns, axes, strict=True):
                state.setdefault(f"values_{name}", suggested(name))
                text = column.text_input(f"Values of {form.field_label(name)}", key=f"values_{name}")
                values.append(f"{name}={text}")
        else:
            st.text_input("Grid", key="grid", placeholder=_EXAMPLE, help=plain(_EXAMPLE + "; top_n=1..20"))
        asked = st.form_submit_button("Run the sweep", type="primary", icon=":material/play_arrow:")
    if asked:
        _start("; ".join(values) if axes else state["grid"].strip())


def _axes() -> tuple[str, ...]:
    names = tuple(study_parameters())
    state = st.session_state
    state.setdefault("axis_x", names[names.index("top_n")])
    state.setdefault("axis_y", names[names.index("min_likes")])
    columns = st.columns(2)
    x = columns[0].selectbox("First axis", names, key="axis_x", format_func=form.field_label)
    y = columns[1].selectbox("Second axis", names, key="axis_y", format_func=form.field_label)
    if x == y:
        raise ConfigError(f"the two axes must be different fields, got {x} for both")
    return x, y


def suggested(name: str) -> str:
    """Return values around a field's default, as a grid has them."""
    parameter = study_parameters()[name]
    if parameter.kind is bool:
        return "true,false"
    if parameter.kind is str:
        return ",".join(signal_names() if name == "signal" else choices(name) if name != "exclude" else ())
    default, kind = parameter.default, parameter.kind
    unit = 0.01 if form.schema()[name].get("exclusiveMaximum") == 1 else 1  # of a rate, and of anything else
    around = (default / 2, default, default * 2, default * 4) if default else (0, unit, 2 * unit, 5 * unit)
    return ",".join(f"{value:g}" for value in dict.fromkeys(kind(value) for value in around) if _allowed(name, value))


def _allowed(name: str, value: float) -> bool:
    try:
        StudyConfig(**{name: value})
    except ConfigError:
        return False
    return True


def _start(grid: str) -> None:
    """Start the job; the knobs of the form hold for all rows, but for those in the grid."""
    axes = parse_grid(grid)
    fields = {name: value for name, value in study_fields().items() if name not in axes}
    remember(api().start_sweep(fields | {"grid": grid}), grid)


def _result(job_id: str, job: dict[str, Any]) -> tuple[dict[str, Any], SweepResult, bytes]:
    """Return request, rows and file of a finished sweep; the last one is kept."""
    held = st.session_state.get("sweep")
    if held is None or held[0] != job_id:
        with st.spinner("Fetching the rows"):
            content = api().result(job_id, "parquet")
        held = st.session_state["sweep"] = (job_id, job["request"], sweep_result(job["request"], content), content)
        st.session_state.setdefault("tried", {})[job_id] = len(held[2])
    return held[1], held[2], held[3]


def _show(job_id: str, found: tuple[dict[str, Any], SweepResult, bytes]) -> None:
    request, result, content = found
    timing = LOOK_AHEAD if 0 in result.grid.values["execution_lag"] else ""
    show_kind(result.provenance["data_kind"], timing)
    st.subheader(plain(repr(result.grid)), anchor=False)
    st.info(plain(_how_many(result)), icon=":material/casino:")
    if result.failures:
        show_table(failures(result))
    if len(result.failures) == len(result):
        return
    metric = st.selectbox("Number", NUMBERS, key="number", format_func=lambda name: name.replace("_", " "))
    config = _own(request, result)
    _heat_map(result, metric, config)
    st.markdown("#### Where the form's configuration stands")
    if config is None:
        st.caption(
            "Neither the form's configuration nor the default is in the grid; add its values to see where it stands."
        )
    else:
        show_figure(place(result, config, metric), "place", "Distribution of the number over the grid")
        show_table(neighbours(result, config))
    st.markdown("#### What the number hangs on")
    show_table(effects(result, metric))
    longest = max((len(result.grid.values[name]) for name in result.grid.varying), default=0)
    if 0 < longest <= _MOST_VALUES:
        show_figure(marginals(result, metric), "marginals", "The number by each choice")
    _rows(job_id, result, metric, content)


def failures(result: SweepResult) -> Table:
    """Return why configurations have no numbers: a row per reason, with how many and the first of them."""
    reasons: dict[str, list[int]] = {}
    for row, reason in result.failures.items():
        reasons.setdefault(reason, []).append(row)
    frame = pd.DataFrame(
        [{"Reason": reason, "Rows": f"{len(rows):,}", "First row": min(rows)} for reason, rows in reasons.items()]
    )
    return Table(frame, "Failed")


def _cell(name: str, value: float) -> str:
    if name in COUNTS:
        return f"{int(value):,}"
    return number(name, None if np.isnan(value) else float(value))


def _own(request: Mapping[str, Any], result: SweepResult) -> StudyConfig | None:
    """Return the row that the form stands for, else the default one, None where the grid has neither."""
    form_values = StudyConfig(**form.knobs_of(st.session_state))
    base = base_of(request)
    for config in (base.replace(**{name: getattr(form_values, name) for name in result.grid.varying}), base):
        if result.grid.find(config) is not None:
            return config
    return None


def _how_many(result: SweepResult) -> str:
    tried = sum(st.session_state["tried"].values())
    more = f" The sweeps of this session tried {tried:,}." if tried > len(result) else ""
    failed = f" {len(result.failures):,} of them failed." if result.failures else ""
    return (
        f"{len(result):,} configurations were tried on one set of data.{failed}{more} "
        "The best of them was picked after the fact: expect less of it."
    )


def _heat_map(result: SweepResult, metric: str, config: StudyConfig | None) -> None:
    varying = result.grid.varying
    if len(varying) < 2:
        st.caption("A heat map needs two fields that vary.")
        return
    columns = st.columns(2)
    x = columns[0].selectbox("Across", varying, key="map_x", format_func=form.field_label)
    y = columns[1].selectbox("Down", [name for name in varying if name != x], key="map_y", format_func=form.field_label)
    cells = len(result.grid.values[x]) * len(result.grid.values[y])
    if cells > _MOST_CELLS:
        st.caption(f"A heat map can be read up to {_MOST_CELLS:,} cells, these would be {cells:,}; sweep fewer values.")
        return
    drawn = heat_map(result, x, y, metric, config)
    if max(len(result.grid.values[name]) for name in (x, y)) > _MOST_VALUES:
        drawn.update_traces(xgap=0, ygap=0)  # the gaps would be all there is
    show_figure(drawn, "heat", "The number over two choices")
    if config is not None:
        st.caption("The frame marks the form's configuration.")


def _rows(job_id: str, result: SweepResult, metric: str, content: bytes) -> None:
    st.markdown("#### All rows")
    names = list(dict.fromkeys((metric, *HEADLINE)))
    frame = result.to_frame(names).sort_values(metric, ascending=False, kind="stable")
    if frame["error"].isna().all():
        frame = frame.drop(columns="error")
    shown = frame.head(MOST_ROWS)
    if len(frame) > MOST_ROWS:
        st.caption(f"The first {MOST_ROWS:,} of {len(frame):,} by {metric}; the file has them all.")
    written = shown.fillna({"error": ""}) if "error" in shown else shown
    st.dataframe(
        written.style.format({name: partial(_cell, name) for name in names}), hide_index=True, key="sweep rows"
    )
    name = f"sweep-{job_id}" + (
        "" if result.provenance["data_kind"] == "real" else f"-{result.provenance['data_kind']}"
    )
    with st.container(horizontal=True):
        st.download_button(
            "All rows (Parquet)",
            content,
            f"{name}.parquet",
            "application/vnd.apache.parquet",
            key="download parquet",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "These rows (CSV)",
            shown.to_csv(index=False),
            f"{name}.csv",
            "text/csv",
            key="download rows",
            on_click="ignore",
            icon=":material/download:",
        )
