"""A study's figures: every function takes a StudyResult (or what `evaluate_signal` gave) and returns a plotly Figure.

`growth`, `falls` and `calendar` draw the same from plain series, for those who have a study's answer and not its result.

Figures are deterministic (no ids, no times; values rounded to six digits), carry a title that says what is drawn, and
use two colours that colour-blind readers can tell apart: blue for the portfolio, orange for the benchmark.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from workbench.core.metrics import drawdown as fall
from workbench.evaluate import SignalEvaluation
from workbench.report.tables import monthly_returns
from workbench.result import StudyResult

PORTFOLIO, GROSS, BENCHMARK, MUTED = "#1f6fb2", "#8fbfe0", "#d9822b", "#8a8f98"
_DIGITS = 6


def house_figure(title: str, y_title: str, height: int = 380, y_format: str = "") -> go.Figure:
    """Return an empty figure in house style; the template is left out, because its copy would be most of the notebook."""
    grid = {"gridcolor": "rgba(128,128,128,0.22)", "zerolinecolor": "rgba(128,128,128,0.5)", "automargin": True}
    return go.Figure(
        layout={
            "template": None,
            "title": {"text": title, "x": 0, "xref": "paper", "font": {"size": 15}},
            "height": height,
            "margin": {"l": 60, "r": 20, "t": 48, "b": 40},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": PORTFOLIO},
            "hovermode": "x unified",
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.12, "yanchor": "top"},
            "xaxis": grid,
            "yaxis": {**grid, "title": {"text": y_title}, "tickformat": y_format},
        }
    )


def rounded(values: npt.ArrayLike) -> list[float]:
    """Return values with six digits, so that a figure is the same on every machine, and small."""
    return [float(f"{value:.{_DIGITS}g}") for value in np.asarray(values, dtype=float)]


def _days(index: pd.Index) -> list[str]:
    return [str(day) for day in pd.DatetimeIndex(index).strftime("%Y-%m-%d")]


def _add_line(figure: go.Figure, x: list[str], y: npt.ArrayLike, name: str, colour: str, **line: object) -> None:
    figure.add_trace(go.Scatter(x=x, y=rounded(y), name=name, mode="lines", line={"color": colour, "width": 2, **line}))


def bars(title: str, y_title: str, height: int = 300) -> go.Figure:
    """Return an empty figure for bars by period."""
    figure = house_figure(title, y_title, height)
    figure.update_xaxes(type="category")
    # Labels of periods stand upright below the axis, where the legend would lie on them.
    figure.update_layout(legend={"x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"})
    return figure


def equity(result: StudyResult) -> go.Figure:
    """Draw the growth of 1 after costs, before costs, and of the benchmark, from the close of the first trade on."""
    returns = result.returns
    if not len(returns):
        return growth([], {}, result.provenance["benchmark"])
    start = result.rebalances.loc[result.rebalances["status"] == "executed", "traded"].iloc[0]
    wealth = {str(name): np.concatenate([[1.0], np.cumprod(1.0 + returns[name].to_numpy())]) for name in returns}
    return growth([start, *_days(returns.index)], wealth, result.provenance["benchmark"])


def growth(days: list[str], wealth: Mapping[str, npt.ArrayLike], benchmark: str) -> go.Figure:
    """Draw wealth by ISO day (n): `gross`, `benchmark` and `net`, each (n), those that are there; `benchmark` is its name."""
    figure = house_figure("Growth of 1", "wealth", y_format=".2f")
    if "gross" in wealth:
        _add_line(figure, days, wealth["gross"], "Portfolio before costs", GROSS, width=1.5, dash="dot")
    if "benchmark" in wealth:
        _add_line(figure, days, wealth["benchmark"], benchmark, BENCHMARK)
    if "net" in wealth:
        _add_line(figure, days, wealth["net"], "Portfolio after costs", PORTFOLIO, width=2.5)
    return figure


def drawdown(result: StudyResult) -> go.Figure:
    """Draw how far portfolio and benchmark stood below their highest value so far."""
    return falls(result.returns, result.provenance["benchmark"])


def falls(returns: pd.DataFrame, benchmark: str) -> go.Figure:
    """Draw the drawdown of daily returns: index date (n), columns net and benchmark; `benchmark` is its name."""
    figure = house_figure("Drawdown: below the highest value so far", "drawdown", 300, ".0%")
    x = _days(returns.index)
    if x:
        _add_line(figure, x, fall(returns["benchmark"].to_numpy()), benchmark, BENCHMARK)
        _add_line(figure, x, fall(returns["net"].to_numpy()), "Portfolio after costs", PORTFOLIO)
        figure.data[-1].update(fill="tozeroy", fillcolor="rgba(31,111,178,0.15)")
    return figure


_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def months(result: StudyResult) -> go.Figure:
    """Draw net monthly returns, one row a year."""
    return calendar(monthly_returns(result.returns["net"]))


def calendar(monthly: pd.Series) -> go.Figure:
    """Draw monthly returns, indexed by "YYYY-MM", one row a year."""
    years = sorted({label[:4] for label in monthly.index})
    grid = [[monthly.get(f"{year}-{month:02d}") for month in range(1, 13)] for year in years]
    figure = house_figure("Monthly returns after costs", "", 130 + 44 * max(len(years), 1))
    limit = float(monthly.abs().max()) if len(monthly) else 0.1
    figure.add_trace(
        go.Heatmap(
            x=_MONTHS,
            y=years,
            z=[[None if v is None else round(float(v), _DIGITS) for v in row] for row in grid],
            text=[["" if v is None else f"{100 * v:+.1f}" for v in row] for row in grid],
            texttemplate="%{text}",
            textfont={"color": "#1b1f24", "size": 12},
            hovertemplate="%{y} %{x}: %{z:+.2%}<extra></extra>",
            colorscale=[[0, "#e08b3a"], [0.5, "#f5f5f2"], [1, "#4f97d1"]],
            zmin=-limit,
            zmax=limit,
            xgap=2,
            ygap=2,
            showscale=False,
        )
    )
    figure.update_layout(hovermode="closest")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, side="bottom")
    return figure


def turnover(result: StudyResult) -> go.Figure:
    """Draw the turnover of each executed rebalance: 1 buys everything, 2 replaces everything."""
    frame = result.rebalances[result.rebalances["status"] == "executed"]
    figure = bars("Turnover of each rebalance", "turnover", 280)
    figure.add_trace(
        go.Bar(x=list(frame["period"]), y=rounded(frame["turnover"]), marker={"color": PORTFOLIO}, name="Turnover")
    )
    figure.update_layout(showlegend=False)
    return figure


def information_coefficient(evaluation: SignalEvaluation) -> go.Figure:
    """Draw each period's rank correlation of the signal with what came after, and the mean with its interval."""
    figure = bars("Rank correlation of the signal with the next holding period's return", "rank IC", 320)
    labels = [label for label, value in zip(evaluation.periods, evaluation.ic, strict=True) if not np.isnan(value)]
    figure.add_trace(
        go.Bar(x=labels, y=rounded(evaluation.ic[~np.isnan(evaluation.ic)]), marker={"color": GROSS}, name="Period")
    )
    s = evaluation.summary
    if s.low is not None and s.high is not None and s.mean is not None:
        figure.add_hrect(
            y0=round(s.low, _DIGITS), y1=round(s.high, _DIGITS), fillcolor="rgba(217,130,43,0.2)", line_width=0
        )
        figure.add_hline(y=round(s.mean, _DIGITS), line={"color": BENCHMARK, "width": 2})
    figure.update_layout(showlegend=False)
    return figure
