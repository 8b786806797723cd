"""Portfolio analysis: the form, and what the API answers to it.

Enters: the session. Leaves: numbers, figures and tables of one study; nothing is computed here that the answer does not hold.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from workbench.dashboard import figures, form
from workbench.dashboard.asking import answered
from workbench.dashboard.details import show_details, show_downloads
from workbench.dashboard.guard import api, guarded
from workbench.dashboard.look import show_figure, show_kind, show_table
from workbench.dashboard.session import study_fields
from workbench.dashboard.tables import compositions, loss_rows, selections
from workbench.dashboard.text import minus, number, plain, undefined_lines, why_undefined
from workbench.losses import Loss, losses_frame
from workbench.report.table import Table
from workbench.report.tables import against, figures_side_by_side, left_out, numbers, waiting
from workbench.report.verdict import points

# A tile each: METHOD's name, its name before costs (gross) or of the benchmark, and what that is.
_TILES = (
    ("Total return", "total_return", "gross_total_return", "gross"),
    ("Excess return", "excess_return", "benchmark_total_return", "benchmark"),
    ("Volatility, a year", "annualized_volatility", "benchmark_annualized_volatility", "benchmark"),
    ("Sharpe ratio", "sharpe_ratio", "gross_sharpe_ratio", "gross"),
    ("Max drawdown", "max_drawdown", "benchmark_max_drawdown", "benchmark"),
    ("Mean turnover", "mean_turnover", "", ""),
    ("Rebalances", "n_periods", "", ""),
)


@guarded("the portfolio analysis")
def draw() -> None:
    """Draw the tab."""
    with st.form("study form"):
        form.draw_fields()
        pressed = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:")
    held = answered(
        "study",
        study_fields(),
        api().analyze,
        pressed=pressed,
        working="Computing the study",
        before="Choose the data at the left and the study above",
        form="The form",
    )
    if held is not None:
        show_study(held)


def show_study(held: dict[str, Any]) -> None:
    """Show one study, as the API answered."""
    answer = held["answer"]
    study = answer["study"]
    show_kind(study["provenance"]["data_kind"], study["provenance"]["timing"])
    st.subheader(plain(answer["metadata"]["title"].rpartition("] ")[2]), anchor=False)
    _numbers(study)
    _figures(answer)
    _composition(study)
    _waiting(study)
    _losses(study)
    if study["published"] is not None:
        st.markdown("#### The published figures, and what is right")
        show_table(figures_side_by_side(study["published"], study["provenance"]["benchmark"]))
    show_details(held)
    show_downloads(answer)


def _numbers(study: dict[str, Any]) -> None:
    summary, benchmark = study["summary"], study["provenance"]["benchmark"]
    if summary["n_days"]:
        span = f"{summary['first_date']} to {summary['last_date']}: {summary['n_days']} days of returns"
        st.caption(f"{span}, {summary['n_symbols']} symbols held, {study['config']['cost_bps']:g} bps a trade")
    with st.container(horizontal=True, gap="small"):
        for title, name, other, what in _TILES:
            note = f"{number(other, summary[other])} {benchmark if what == 'benchmark' else what}" if other else None
            if name == "mean_turnover":
                note = _lost_to_costs(summary)
            st.metric(
                title,
                number(name, summary[name]),
                delta=note,
                delta_color="off",
                delta_arrow="off",
                border=True,
                width=165,
                help=f"`{name}`" + (f": {why_undefined(name, summary)}" if summary[name] is None else ""),
            )
    caption = "After costs (net), before costs (gross), and of the benchmark on the same days; pp: percentage points"
    show_table(Table(numbers(summary, benchmark), caption, strong=("Total return",)))
    show_table(against(summary, benchmark))
    st.caption("These are single figures of one history: the report of this study has their intervals, and a verdict.")
    for line in undefined_lines(summary):
        st.caption(plain(line))


def _lost_to_costs(summary: dict[str, Any]) -> str | None:
    """Return what trading cost, in points of the total return."""
    if summary["total_return"] is None:
        return None
    return minus(f"{points(summary['total_return'] - summary['gross_total_return'])} by costs")


def _figures(answer: dict[str, Any]) -> None:
    if not answer["performance_data"]["dates"]:
        st.info("No rebalance was executed: there are no returns to draw.", icon=":material/info:")
        return
    show_figure(figures.equity(answer), "equity", "Growth of 1 of portfolio and benchmark")
    show_figure(figures.drawdown(answer), "drawdown", "Drawdowns of portfolio and benchmark")
    show_figure(figures.months(answer), "months", "Monthly returns after costs")


def _composition(study: dict[str, Any]) -> None:
    st.markdown("#### Composition by period")
    show_table(compositions(study["weights"]))
    if study["weights"]:
        with st.expander("As a figure"):
            show_figure(figures.composition(study["weights"]), "composition", "Target weights by trade and symbol")
    show_table(selections(study["selection"]))


def _waiting(study: dict[str, Any]) -> None:
    st.markdown("#### What to hold next")
    partial = {loss["period"] for loss in study["losses"] if loss["kind"] == "partial_period"}
    show_table(waiting(study["pending"], study["config"]["execution_lag"], partial))


def _losses(study: dict[str, Any]) -> None:
    st.markdown("#### What was left out")
    show_table(left_out(losses_frame(Loss(**loss) for loss in study["losses"])))
    if study["losses"]:
        with st.expander(f"All {len(study['losses']):,} entries"):
            st.dataframe(loss_rows(study["losses"]), hide_index=True, key="losses rows", placeholder="")
