"""System: how the API is, and what is going on there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from workbench.dashboard.guard import api, guarded
from workbench.dashboard.look import show_table
from workbench.dashboard.tables import pairs
from workbench.report.table import Table


@guarded("the system")
def draw() -> None:
    """Draw the tab."""
    if st.button("Clear the cache", key="clear cache", icon=":material/delete_sweep:"):
        removed = api().clear_cache()
        st.success(f"{removed:,} answers forgotten.", icon=":material/check:")
    health, status = api().health(), api().status()
    cache, jobs = status["cache"], status["jobs"]
    tiles = {
        "Health": health["status"],
        "Engine": status["engine"],
        "Ray": "running" if health["ray_initialized"] else "not running",
        "Cached answers": f"{cache['entries']:,}",
        "Cache": f"{cache['bytes'] / 2**20:.1f} of {cache['limit_bytes'] / 2**20:,.0f} MB",
        "Jobs running": f"{jobs.get('running', 0):,}",
    }
    with st.container(horizontal=True, gap="small"):
        for title, value in tiles.items():
            st.metric(title, value, border=True, width=200)
    nodes = pd.DataFrame([{name: str(value) for name, value in node.items()} for node in status["nodes"]])
    show_table(
        Table(nodes, "Ray's nodes", tuple(nodes.columns), empty="Ray is not in use; this API computes by itself")
    )
    if status["resources"]:
        show_table(pairs(status["resources"], "Ray's resources"))
    show_table(pairs(status["computations"], "Computations"))
    show_table(pairs(jobs, "Jobs by state"))
    st.button("Ask again", key="ask again", icon=":material/refresh:")


def _nodes(nodes: Sequence[Mapping[str, Any]]) -> Table:
    """Return a row per node; nested values as `name value`."""
    rows = [{name.capitalize(): _plain(value) for name, value in node.items()} for node in nodes]
    frame = pd.DataFrame(rows)
    return Table(frame, "Nodes", tuple(frame.columns), empty="none is known")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{name} {inner:g}" if isinstance(inner, float) else f"{name} {inner}" for name, inner in value.items()
        )
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
