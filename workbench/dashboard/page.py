"""The page: what it is about at the left, a tab for each kind of question.

Enters: an address. Leaves: the page, and the address of what is on view. Where no API answers, one line says so and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from workbench.dashboard import portfolio, reports, stocks, sweeps, system
from workbench.dashboard.address import FIRST_DAY, LAST_DAY, TABS, read_address
from workbench.dashboard.guard import api, errors_shown, show_error
from workbench.dashboard.look import STYLE, show_warnings
from workbench.dashboard.session import OWN_PRICES, TITLES, keep, open_view, write_back
from workbench.dashboard.text import plain
from workbench.errors import WorkbenchError
from workbench.report.text import warning_lines

_DRAW: dict[str, Callable[[], None]] = dict(
    zip(TABS, (portfolio.draw, stocks.draw, sweeps.draw, reports.draw, system.draw), strict=True)
)


def show_page() -> None:
    """Draw the page once; Streamlit calls this anew for every change."""
    st.set_page_config("workbench", layout="wide", menu_items={"About": None})
    st.html(STYLE)
    with errors_shown("the page"):
        _page()


def _page() -> None:
    if "tab" not in st.session_state:
        view, st.session_state["complaints"] = read_address(st.query_params.to_dict())
        open_view(view)
    keep()
    try:
        about, datasets = api().about(), api().datasets()
    except WorkbenchError as error:
        show_error(error, "the page")
        if error.exit_code == 2:
            st.button("Retry", key="retry key", icon=":material/refresh:")
        return
    chosen = _sidebar(about, datasets)
    st.title("Portfolio studies", anchor=False)
    st.session_state["simulated"] = _is_simulated(chosen)
    if st.session_state["simulated"]:
        show_warnings(warning_lines("simulated"))
    for line in st.session_state["complaints"]:
        st.warning(plain(f"In the address: {line}"), icon=":material/link_off:")
    for name, tab in zip(TABS, st.tabs(list(TITLES.values()), key="tab", on_change="rerun"), strict=True):
        # Forms are cheap; but what asks the API is drawn only where it is seen.
        if tab.open:
            with tab:
                _DRAW[name]()
    write_back()


def _sidebar(about: dict[str, Any], datasets: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Draw which API it is, and which data; return the entry of the chosen data set."""
    tables = {entry["name"]: entry for entry in datasets if entry["has_sentiment"]}
    prices = [entry["name"] for entry in datasets if entry["has_prices"]]
    _settle("dataset", list(tables), next(iter(tables), None))
    _settle("prices", [OWN_PRICES, "simulated", *prices], OWN_PRICES)
    with st.sidebar:
        st.markdown("### workbench")
        st.caption(plain(f"API {api().url}: {about['engine']}, version {about['version']}"))
        st.markdown("**Data**")
        name = st.selectbox("Data set", list(tables), key="dataset", help=_about(tables))
        extra = st.session_state["prices"]
        listed = list(dict.fromkeys([OWN_PRICES, *prices, "simulated", extra]))
        st.selectbox(
            "Prices", listed, key="prices", help="a registered price table, in the place of the data set's own"
        )
        own = tables[name]["benchmark"] if name in tables else None
        st.text_input(
            "Benchmark", key="benchmark", placeholder=own or "the data set's own", help="bought once and held"
        )
        for bound, words in (("start", "First day"), ("end", "Last day")):
            st.date_input(
                words,
                key=bound,
                value=None,
                min_value=FIRST_DAY,
                max_value=LAST_DAY,
                format="YYYY-MM-DD",
                help="bounds the sentiment rows used, inclusive; for stocks the price days",
            )
        st.caption("The address of this page holds all of these choices: copy it to share the view.")
    return tables.get(name)


def _settle(key: str, known: list[str], default: str | None) -> None:
    """Take the default where an address names what the API does not have; snapshots are not listed, but may be there."""
    value = st.session_state[key]
    if value is None:
        st.session_state[key] = default
    elif value not in known and not value.startswith("snapshot:"):
        st.session_state["complaints"].append(f"{key} must be a registered table, got {value!r}; it is left out")
        st.session_state[key] = default


def _about(tables: dict[str, dict[str, Any]]) -> str:
    return f"{len(tables)} registered tables; workbench serve lists them at /datasets"


def _is_simulated(dataset: dict[str, Any] | None) -> bool:
    if dataset is None:
        return False
    return dataset["prices"] == "simulated" or (dataset["about"] or {}).get("data_kind") == "simulated"
