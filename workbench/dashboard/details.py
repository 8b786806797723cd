"""How a study came about, and its files: what a colleague needs to get the same numbers.

Enters: an answer of the API. Leaves: an expander, and buttons.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from workbench.dashboard.figures import weights_frame
from workbench.dashboard.look import show_table
from workbench.dashboard.tables import pairs


def show_details(held: dict[str, Any]) -> None:
    """Show configuration, hashes, versions, timing, and the whole object as the API sent it."""
    answer, study = held["answer"], held["answer"]["study"]
    with st.expander("Technical details"):
        computed = answer["processing_time_seconds"]
        st.caption(
            f"Cache: {held['cache'] or 'unknown'}. Computed in {computed:.3f} s; this answer took {held['seconds']:.3f} s. "
            f"Configuration {answer['metadata']['config_id']}."
        )
        show_table(pairs(study["config"] | {"config_id": answer["metadata"]["config_id"]}, "Configuration"))
        show_table(pairs(study["provenance"], "Provenance"))
        st.markdown("What `workbench backtest --json` prints:")
        st.code(json.dumps(study, indent=1), language="json", height=300)


def show_downloads(answer: dict[str, Any]) -> None:
    """Offer the study as JSON, and its returns and weights as CSV; simulated data is in the files' names."""
    study = answer["study"]
    kind = study["provenance"]["data_kind"]
    name = f"study-{answer['metadata']['config_id']}" + ("" if kind == "real" else f"-{kind}")
    files = (
        ("Study (JSON)", json.dumps(study, indent=1), f"{name}.json", "application/json"),
        ("Returns (CSV)", returns_csv(answer["performance_data"]), f"{name}-returns.csv", "text/csv"),
        ("Weights (CSV)", weights_frame(study["weights"]).to_csv(), f"{name}-weights.csv", "text/csv"),
    )
    with st.container(horizontal=True):
        for label, content, file, kind in files:
            st.download_button(
                label, content, file, kind, key=f"download {label}", on_click="ignore", icon=":material/download:"
            )


def returns_csv(performance: dict[str, Any]) -> str:
    """Return cumulative simple returns by day as CSV, every digit of them."""
    names = {"date": "dates", "portfolio": "portfolio_cumulative_returns", "benchmark": "benchmark_cumulative_returns"}
    return pd.DataFrame({name: performance[own] for name, own in names.items()}).to_csv(index=False)
