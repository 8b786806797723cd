"""Figures from the API's answers, drawn by the report's own functions where it has them.

Enters: the JSON of a study or of single stocks. Leaves: plotly figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.report.figures import BENCHMARK, PORTFOLIO, calendar, falls, growth, house_figure, rounded
from workbench.report.tables import monthly_returns

CASH = "cash"
_MOST_NAMED = 40  # points of a scatter whose names can be read


def daily_returns(performance: Mapping[str, Any]) -> pd.DataFrame:
    """Return simple daily returns: index date (n), columns net and benchmark; from cumulative ones (n each)."""
    columns = {"net": "portfolio_cumulative_returns", "benchmark": "benchmark_cumulative_returns"}
    wealth = {name: np.concatenate([[1.0], 1.0 + np.array(performance[own], float)]) for name, own in columns.items()}
    index = pd.DatetimeIndex(performance["dates"], name="date")
    # After a total loss there is nothing left that could earn.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: np.nan_to_num(values[1:] / values[:-1] - 1.0) for name, values in wealth.items()}
    return pd.DataFrame(found, index=index)


def equity(answer: Mapping[str, Any]) -> go.Figure:
    """Draw the growth of 1 after costs, and of the benchmark, from the close of the first trade on."""
    performance, benchmark = answer["performance_data"], answer["study"]["provenance"]["benchmark"]
    if not performance["dates"]:
        return growth([], {}, benchmark)
    days = [next(iter(answer["study"]["weights"])), *performance["dates"]]
    net, base = performance["portfolio_cumulative_returns"], performance["benchmark_cumulative_returns"]
    wealth = {"net": [1.0, *(1.0 + value for value in net)], "benchmark": [1.0, *(1.0 + value for value in base)]}
    return growth(days, wealth, benchmark)


def drawdown(answer: Mapping[str, Any]) -> go.Figure:
    """Draw how far portfolio and benchmark stood below their highest value so far."""
    return falls(daily_returns(answer["performance_data"]), answer["study"]["provenance"]["benchmark"])


def months(answer: Mapping[str, Any]) -> go.Figure:
    """Draw net monthly returns, one row a year."""
    return calendar(monthly_returns(daily_returns(answer["performance_data"])["net"]))


def composition(weights: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Draw target weights: a column per trade, a row per symbol (those held most often first), and cash where there is any."""
    frame = weights_frame(weights)
    held = (frame > 0).sum(axis=0)
    symbols = sorted(frame.columns, key=lambda name: (name == CASH, -held[name], name))
    figure = house_figure("Target weights by trade", "", 130 + 22 * max(len(symbols), 1))
    figure.add_trace(
        go.Heatmap(
            x=list(frame.index),
            y=symbols,
            z=[[round(float(v), 6) if v > 0 else None for v in frame[name]] for name in symbols],
            hovertemplate="%{y}, traded %{x}: %{z:.1%}<extra></extra>",
            colorscale=[[0, "#cfe3f5"], [1, PORTFOLIO]],
            zmin=0,
            xgap=2,
            ygap=2,
            colorbar={"tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
        )
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False, dtick=1)
    return figure


def weights_frame(weights: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return target weights: index ISO day of the trade (T), columns symbol (N), 0 where not held; `cash` where some is left."""
    symbols = sorted({symbol for row in weights.values() for symbol in row})
    frame = pd.DataFrame(
        [[row.get(symbol, 0.0) for symbol in symbols] for row in weights.values()],
        index=pd.Index(list(weights), name="traded"),
        columns=symbols,
        dtype=float,
    )
    cash = 1.0 - frame.sum(axis=1)
    return frame.assign(**{CASH: cash.clip(lower=0.0)}) if (cash > 1e-9).any() else frame


def risk_and_return(stocks: Mapping[str, Mapping[str, Any]], benchmark: str | None) -> go.Figure:
    """Draw each symbol by its annualized volatility and total return; those without one of them are left out."""
    known = {
        symbol: (row["annualized_volatility"], row["total_return"])
        for symbol, row in stocks.items()
        if row["annualized_volatility"] is not None and row["total_return"] is not None
    }
    figure = house_figure("Risk and return", "total return", 420, ".0%")
    figure.add_trace(
        go.Scatter(
            x=rounded([risk for risk, _ in known.values()]),
            y=rounded([total for _, total in known.values()]),
            text=list(known),
            mode="markers+text" if len(known) <= _MOST_NAMED else "markers",
            textposition="top center",
            marker={"size": 11, "color": [BENCHMARK if symbol == benchmark else PORTFOLIO for symbol in known]},
            hovertemplate="%{text}: %{y:+.2%} at a volatility of %{x:.2%}<extra></extra>",
            cliponaxis=False,
        )
    )
    figure.update_layout(hovermode="closest", showlegend=False)
    figure.update_xaxes(title={"text": "annualized volatility"}, tickformat=".0%", rangemode="tozero")
    return figure
