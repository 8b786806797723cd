"""How tables, figures and warnings look: the report's own, fitted to Streamlit's light and dark page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import streamlit as st

from workbench.dashboard.text import for_people, minus, plain
from workbench.report.table import Table
from workbench.report.text import warning_lines

if TYPE_CHECKING:
    import plotly.graph_objects as go

_TALL, _MOST_LINES = 460, 18

# The report's tables with the page's own ink, so that they are readable on light and on dark.
STYLE = """<style>
.wb-scroll { overflow-x: auto; max-width: 100%; }
table.wb { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: 0; }
table.wb caption { text-align: left; opacity: .75; font-size: .85rem; padding-bottom: .3rem; caption-side: top; }
table.wb th, table.wb td { border: 0; border-bottom: 1px solid rgba(128,128,128,.3); padding: .3rem .6rem; text-align: right;
  vertical-align: top; }
table.wb thead th { border-bottom: 2px solid rgba(128,128,128,.4); font-weight: 600; white-space: nowrap; }
table.wb td.number, table.wb .short { white-space: nowrap; }
table.wb tbody th { font-weight: 500; }
table.wb th.text, table.wb td.text, table.wb th:first-child { text-align: left; }
table.wb td.text { min-width: 8rem; }
table.wb td.text.short { min-width: 0; }
table.wb tr.strong th, table.wb tr.strong td { font-weight: 700; }
.wb-empty { opacity: .75; font-style: italic; margin: 0; }
details.wb-fold summary { cursor: pointer; font-size: .92rem; }
div[data-testid="stMetricValue"] { font-variant-numeric: tabular-nums; font-size: 1.5rem; }
.block-container { padding-top: 3rem; }
</style>"""


def show_table(table: Table) -> None:
    """Show a table of the report; a long one scrolls."""
    with st.container(height=_TALL if len(table.frame) > _MOST_LINES and not table.folded else "content", border=False):
        st.html(for_people(table)._repr_html_())


def show_figure(figure: go.Figure, key: str, description: str) -> None:
    """Show a figure in the page's ink, its title above it; `description` is read to those who do not see it."""
    for trace in figure.data:
        if trace.type == "heatmap" and trace.text is not None:
            trace.text = [[minus(text) for text in row] for row in trace.text]
            trace.textfont.size = None  # as large as the cells
    # As text it is broken over lines; a figure would cut it.
    st.markdown(f"**{plain(figure.layout.title.text)}**")
    figure.update_layout(template="streamlit", title={"text": ""}, margin={"t": 32})
    st.plotly_chart(figure, key=key, config={"displaylogo": False, "responsive": True}, alt=description)


def show_warnings(lines: Iterable[str]) -> None:
    """Show what nobody may overlook, a line each, a bold mark first."""
    for line in lines:
        mark, colon, rest = line.partition(":")
        st.warning(f"**{plain(mark)}**{colon} {plain(rest)}" if colon else plain(line), icon=":material/warning:")


def show_kind(data_kind: str, timing: str = "") -> None:
    """Show the warnings of an answer; that all is simulated only where the page does not say so already."""
    said = data_kind == "simulated" and st.session_state["simulated"]
    show_warnings(warning_lines("" if said else data_kind, timing))
