"""Stock analysis: the numbers of single symbols over the price days from start to end."""

from __future__ import annotations

from typing import Any

import streamlit as st

from workbench.dashboard.address import split_symbols
from workbench.dashboard.asking import answered
from workbench.dashboard.figures import risk_and_return
from workbench.dashboard.guard import api, guarded
from workbench.dashboard.look import show_figure, show_kind, show_table
from workbench.dashboard.session import data_fields
from workbench.dashboard.tables import loss_rows, stock_rows
from workbench.dashboard.text import UNDEFINED, plain
from workbench.errors import ConfigError


@guarded("the stock analysis")
def draw() -> None:
    """Draw the tab."""
    with st.form("stocks form"):
        st.text_input(
            "Symbols",
            key="symbols",
            placeholder="AAPL, MSFT",
            help="as written in the price table, separated by commas; the days at the left bound the prices used",
        )
        pressed = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:")
    _suggest()
    held = answered(
        "stocks",
        data_fields() | {"symbols": list(split_symbols(st.session_state["symbols"]))},
        _ask,
        pressed=pressed,
        working="Measuring the stocks",
        before="Name symbols of the price table",
        form="The symbols",
    )
    if held is not None:
        _show(held["answer"])


def _suggest() -> None:
    """Name symbols that the study on view holds, for those who do not know the table."""
    study = st.session_state.get("study")
    if study is not None:
        weights = study["answer"]["study"]["weights"]
        names = sorted({symbol for row in weights.values() for symbol in row})
        if names:
            st.caption("Held in the study on view:")
            st.code(", ".join(names), language=None, wrap_lines=True)


def _ask(fields: dict[str, Any]) -> dict[str, Any]:
    if not fields["symbols"]:
        raise ConfigError("symbols must name at least one symbol, got none; write them as AAPL, MSFT")
    return api().stocks(fields)


def _show(answer: dict[str, Any]) -> None:
    show_kind(answer["provenance"]["data_kind"])
    stocks = answer["stocks"]
    show_table(stock_rows(stocks))
    undefined = [symbol for symbol, row in stocks.items() if row["sharpe_ratio"] is None]
    if undefined:
        why = "too few prices, or prices that do not move; see what is missing below"
        st.caption(plain(f"{UNDEFINED} undefined: {', '.join(undefined)}: {why}"))
    benchmark = answer["metadata"]["benchmark"]
    show_figure(risk_and_return(stocks, benchmark), "risk", "Total return by volatility of each symbol")
    st.markdown("#### What is missing")
    if answer["losses"]:
        st.dataframe(loss_rows(answer["losses"]), hide_index=True, key="stock losses", placeholder="")
    else:
        st.caption("Nothing: every symbol has a price on every trading day.")
