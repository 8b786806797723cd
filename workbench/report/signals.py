"""A signal as tables and figures: its values, what they select, and whether they say anything about what follows.

Enters: a Ranking, a StudyResult, or what `evaluate_signal` gave. Leaves: tables and plotly figures in the style of the report. No number
is computed here that METHOD does not define.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.evaluate import SignalEvaluation
from workbench.plan import Ranking
from workbench.report.figures import GROSS, PORTFOLIO, bars, rounded
from workbench.report.table import Table
from workbench.result import StudyResult, format_number


def values(ranking: Ranking) -> Table:
    """Return each period's signal over the symbols that may be selected: how many, lowest, median, highest, and the last one selected."""
    rows = []
    for label, row, chosen in zip(ranking.labels, ranking.eligible, ranking.chosen, strict=True):
        known = row[~np.isnan(row)]
        rows.append(
            {
                "Period": label + ("*" if label in ranking.partial else ""),
                "Symbols": f"{len(known)}",
                "Lowest": f"{known.min():.4f}" if len(known) else "",
                "Median": f"{np.median(known):.4f}" if len(known) else "",
                "Highest": f"{known.max():.4f}" if len(known) else "",
                "Last one selected": f"{row[chosen[-1]]:.4f}" if len(chosen) else "",
            }
        )
    marks = "; * the table ends before the period does" if ranking.partial else ""
    return Table(pd.DataFrame(rows), f"The signal over the symbols that may be selected{marks}", folded=True)


def values_figure(ranking: Ranking) -> go.Figure:
    """Draw each period's median signal, and the value of the last symbol that is selected."""
    figure = bars("The signal: what most symbols have, and what it takes to be selected", "signal", 320)
    filled = [row for row, chosen in enumerate(ranking.chosen) if len(chosen)]
    labels = [ranking.labels[row] for row in filled]
    medians = [np.nanmedian(ranking.eligible[row]) for row in filled]
    last = [ranking.eligible[row][ranking.chosen[row][-1]] for row in filled]
    figure.add_trace(go.Bar(x=labels, y=rounded(medians), name="Median symbol", marker={"color": GROSS}))
    line = {"mode": "lines+markers", "line": {"color": PORTFOLIO, "width": 2}}
    figure.add_trace(go.Scatter(x=labels, y=rounded(last), name="Last one selected", **line))
    return figure


def selections(result: StudyResult) -> Table:
    """Return what each period selects, best first, with its signal, and how many of the names were selected the period before."""
    rows, before = [], set[str]()
    for label, frame in result.ranking.groupby("period", sort=False):
        names = list(frame["symbol"])
        listed = (f"{symbol} {value:.3f}" for symbol, value in zip(names, frame["value"], strict=True))
        stayed = f"{len(before & set(names))} of {len(names)}" if before else ""
        rows.append({"Period": label, "Selected, with the signal": ", ".join(listed), "Selected before": stayed})
        before = set(names)
    return Table(
        pd.DataFrame(rows, columns=["Period", "Selected, with the signal", "Selected before"]),
        "What the signal selects, best first",
        ("Selected, with the signal",),
    )


def quantiles(evaluation: SignalEvaluation) -> Table:
    """Return the mean return of a holding period by quantile of the signal."""
    n = len(evaluation.quantiles)
    rows = [
        {
            "Symbols by their signal": f"{rank} of {n}" + {1: ", lowest", n: ", highest"}.get(rank, ""),
            "Mean return of a holding period": format_number("total_return", None if np.isnan(value) else float(value)),
        }
        for rank, value in enumerate(evaluation.quantiles, 1)
    ]
    return Table(pd.DataFrame(rows), "Before costs, each symbol counted alike")


def quantiles_figure(evaluation: SignalEvaluation) -> go.Figure:
    """Draw the mean return of a holding period by quantile of the signal: a signal that ranks goes up from left to right."""
    n = len(evaluation.quantiles)
    figure = bars("Mean return of a holding period by quantile of the signal", "mean return", 300)
    labels = [f"{rank} of {n}" for rank in range(1, n + 1)]
    figure.add_trace(go.Bar(x=labels, y=rounded(evaluation.quantiles), marker={"color": PORTFOLIO}, name="Quantile"))
    figure.update_layout(showlegend=False)
    figure.update_yaxes(tickformat="+.1%")
    return figure


def by_period(evaluation: SignalEvaluation) -> Table:
    """Return the rank correlation of each period, and the symbols behind it."""
    rows = [
        {"Period": label, "Rank IC": "" if np.isnan(ic) else f"{ic:+.3f}", "Symbols": f"{n}"}
        for label, ic, n in zip(evaluation.periods, evaluation.ic, evaluation.n_symbols, strict=True)
    ]
    return Table(pd.DataFrame(rows, columns=["Period", "Rank IC", "Symbols"]), "By period", folded=True)


def by_year(evaluation: SignalEvaluation) -> Table:
    """Return the mean rank correlation of each year and the share of its periods in which it was positive."""
    known = ~np.isnan(evaluation.ic)
    years = np.array([label[:4] for label in evaluation.periods])
    rows = [
        {
            "Year": str(year),
            "Periods": f"{int(inside.sum())}",
            "Mean rank IC": f"{evaluation.ic[inside].mean():+.3f}",
            "Positive": f"{int((evaluation.ic[inside] > 0).sum())}",
        }
        for year in np.unique(years[known])
        for inside in [known & (years == year)]
    ]
    columns = ["Year", "Periods", "Mean rank IC", "Positive"]
    return Table(pd.DataFrame(rows, columns=columns), "By year of the signal")
