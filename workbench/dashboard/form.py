"""The form of a study, made from the schema of `StudyConfig`: types, ranges, choices and help are its own.

Enters: what the session holds under a key per field. Leaves: widgets, and the values of those fields that are not at their defaults.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import streamlit as st

from workbench.config import StudyConfig, choices
from workbench.dashboard.address import changed
from workbench.dashboard.text import plain
from workbench.registry import signal_names
from workbench.report.parameters import Parameter, study_parameters

# Which fields stand together; one that is in none of these is advanced, so that a new one is never forgotten.
GROUPS = {
    "Signal": ("signal", "rebalance", "min_likes", "min_comments"),
    "Selection": ("top_n", "exclude"),
    "Weights": ("weighting", "max_weight"),
    "Execution and costs": ("execution_lag", "cost_bps"),
}


_WIDTH = 180  # pixels of a field: groups go below each other where the window is narrow


def key_of(name: str) -> str:
    """Return the session's key of a field."""
    return f"knob_{name}"


def fill(state: MutableMapping[Any, Any], knobs: MutableMapping[Any, Any]) -> None:
    """Put a value for every field into a session: the given ones, else the defaults."""
    for name, parameter in study_parameters().items():
        state[key_of(name)] = knobs.get(name, parameter.default)


def knobs_of(state: MutableMapping[Any, Any]) -> dict[str, Any]:
    """Return the fields that are not at their defaults."""
    return changed({name: state[key_of(name)] for name in study_parameters() if state.get(key_of(name)) is not None})


def advanced() -> tuple[str, ...]:
    """Return the fields that no group has."""
    grouped = {name for names in GROUPS.values() for name in names}
    return tuple(name for name in study_parameters() if name not in grouped)


def draw_fields() -> None:
    """Draw a widget per field, in groups; within an `st.form`."""
    with st.container(horizontal=True):
        for title, names in GROUPS.items():
            with st.container(width=_WIDTH):
                st.markdown(f"**{title}**")
                for name in names:
                    draw_field(name)
    with st.expander("Advanced"), st.container(horizontal=True):
        for name in advanced():
            with st.container(width=_WIDTH, vertical_alignment="bottom"):
                draw_field(name)


@lru_cache(maxsize=1)
def schema() -> dict[str, dict[str, Any]]:
    """Return JSON's schema of each field of StudyConfig."""
    properties: dict[str, dict[str, Any]] = StudyConfig.model_json_schema()["properties"]
    return properties


def field_label(name: str) -> str:
    """Return a field's name in words."""
    return name.replace("_", " ").capitalize()


def options_of(name: str) -> tuple[str, ...]:
    """Return the values that a field of text may have, empty where it is free."""
    return signal_names() if name == "signal" else choices(name) if name != "exclude" else ()


def draw_field(name: str) -> None:
    """Draw the widget of one field; its value is in the session already."""
    parameter = study_parameters()[name]
    place: dict[str, Any] = {"key": key_of(name), "help": f"`{name}`: {plain(parameter.help)}"}
    if parameter.kind is bool:
        st.checkbox(field_label(name), **place)
    elif parameter.kind in (int, float):
        st.number_input(field_label(name), **_range(parameter), **place)
    elif options_of(name):
        own = st.session_state[key_of(name)]
        known = options_of(name)
        # The server may know signals of the user's own; any other choice is a closed list.
        st.selectbox(
            field_label(name),
            known if own in known else (*known, own),
            accept_new_options=name == "signal",
            **place,
        )
    else:
        st.text_input(field_label(name), placeholder="A,B" if name == "exclude" else None, **place)


def _range(parameter: Parameter) -> dict[str, Any]:
    """Return bounds and step of a number; a bound that is excluded is refused by the API, in words."""
    found = schema()[parameter.name]
    kind = parameter.kind
    low, high = (found.get(name, found.get(f"exclusive{name.capitalize()}")) for name in ("minimum", "maximum"))
    bounds = {name: kind(value) for name, value in (("min_value", low), ("max_value", high)) if value is not None}
    if kind is int:
        return bounds | {"step": 1}
    return bounds | {"step": 0.01 if high is not None and high <= 1 else 1.0, "format": "%g"}
