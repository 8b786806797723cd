"""A sweep as tables and figures: which choices matter, and where the default stands among its neighbours.

Enters: a SweepResult. Leaves: tables and plotly figures. Nothing here picks a winner: what is drawn is how much a number hangs on each
choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.config import StudyConfig
from workbench.core.metrics import ZERO
from workbench.errors import ConfigError
from workbench.report.figures import BENCHMARK, GROSS, PORTFOLIO, house_figure, rounded
from workbench.report.table import Table
from workbench.result import format_number
from workbench.sweep.result import SweepResult

_COLUMNS = 3


def _label(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def effects(result: SweepResult, number: str = "sharpe_ratio") -> Table:
    """Return how much of the variance of a number over the grid each choice explains by itself.

    The share is that of the means by value (the main effect of an analysis of variance). In a full product of values, what the choices
    explain only together is the rest; in a list of configurations, or where rows are left out, choices go together and shares overlap.
    Rows in which the number is undefined are left out, and counted.
    """
    values = result.column(number)
    known = np.flatnonzero(~np.isnan(values))
    total = float(np.var(values[known])) if len(known) else 0.0
    rows = []
    for name in result.grid.varying if len(known) else ():
        codes = result.grid.codes(name, 0, len(result))[known]
        means = _means(values[known], codes, len(result.grid.values[name]))
        counted = np.flatnonzero(~np.isnan(means))
        share = float(np.var(means[codes])) / total if total > ZERO else np.nan
        best, worst = (int(counted[pick(means[counted])]) for pick in (np.argmax, np.argmin))
        rows.append(
            {
                "Choice": _words(name),
                "Values": len(result.grid.values[name]),
                "Share explained": "undefined" if np.isnan(share) else f"{100 * share:.1f} %",
                "Lowest mean at": f"{_label(result.grid.values[name][worst])} ({format_number(number, float(means[worst]))})",
                "Highest mean at": f"{_label(result.grid.values[name][best])} ({format_number(number, float(means[best]))})",
                "_share": share,
            }
        )
    frame = pd.DataFrame(rows)
    if len(frame):
        frame = frame.sort_values("_share", ascending=False, kind="stable").drop(columns="_share")
    empty = "nothing varies" if len(known) else "undefined in every row"
    caption = f"What {_words(number)} hangs on: {len(known):,} of {len(result):,} configurations"
    return Table(frame, caption, text_columns=("Lowest mean at", "Highest mean at"), empty=empty)


def _means(values: npt.NDArray[np.float64], codes: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    """Return the mean of the values of each code, NaN where there is none."""
    sums, counts = np.bincount(codes, values, size), np.bincount(codes, minlength=size)
    return np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)


def neighbours(result: SweepResult, config: StudyConfig, numbers: tuple[str, ...] = ()) -> Table:
    """Return a configuration of the grid and those that differ from it by one step of one choice: to the next number below and above.

    Raises
    ------
    ConfigError
        The configuration is not in the grid.
    """
    row = _row(result, config)
    names = numbers or ("total_return", "excess_return", "sharpe_ratio", "max_drawdown", "mean_turnover")
    rows = [("as chosen", "", row)]
    for name in result.grid.varying:
        values = [result.grid.values[name][code] for code in _in_order(result.grid.values[name])]
        own = values.index(getattr(config, name))
        for step in (-1, 1):
            if 0 <= own + step < len(values):
                other = result.grid.find(config.replace(**{name: values[own + step]}))
                if other is not None:
                    rows.append((_words(name), f"{_label(values[own])} → {_label(values[own + step])}", other))
    frame = pd.DataFrame(
        [
            {"Choice": choice, "Step": step}
            | {
                _words(name).capitalize(): format_number(name, value)
                for name, value in result.numbers(names, at).items()
            }
            | {"": result.failures.get(at, "")}
            for choice, step, at in rows
        ]
    )
    frame = frame if (frame[""] != "").any() else frame.drop(columns="")
    return Table(
        frame, "The configuration and its neighbours in the grid", text_columns=("Step",), strong=("as chosen",)
    )


def _row(result: SweepResult, config: StudyConfig) -> int:
    row = result.grid.find(config)
    if row is None:
        raise ConfigError("the configuration must be one of the grid's; add its values to the axes")
    return row


def _in_order(values: tuple[Any, ...]) -> list[int]:
    """Return the positions of an axis's values, numbers from the lowest to the highest, others as the grid has them."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return sorted(range(len(values)), key=values.__getitem__) if numbers else list(range(len(values)))


def place(result: SweepResult, config: StudyConfig, number: str = "sharpe_ratio") -> go.Figure:
    """Draw the distribution of a number over the grid, and where one configuration stands in it."""
    values = result.column(number)
    own = values[_row(result, config)]
    known = values[~np.isnan(values)]
    below = (
        f"{100 * np.mean(known < own):.0f} % of them are below the configuration" if not np.isnan(own) else "undefined"
    )
    figure = house_figure(f"{_words(number).capitalize()} of {len(known):,} configurations: {below}", "configurations")
    counts, edges = np.histogram(known, bins=min(60, max(10, int(np.sqrt(len(known) or 1)))))
    middles = (edges[1:] + edges[:-1]) / 2
    figure.add_trace(go.Bar(x=rounded(middles), y=counts.tolist(), marker={"color": GROSS}, name="Configurations"))
    if not np.isnan(own):
        figure.add_vline(x=rounded([own])[0], line={"color": BENCHMARK, "width": 3})
    figure.update_layout(bargap=0.02, showlegend=False, hovermode="closest", xaxis={"title": {"text": _words(number)}})
    return figure


def marginals(result: SweepResult, number: str = "sharpe_ratio") -> go.Figure:
    """Draw, for each choice, how a number is distributed over all the others: median, middle half, lowest and highest."""
    names = result.grid.varying
    rows = max(-(-len(names) // _COLUMNS), 1)
    base = house_figure(f"{_words(number).capitalize()} by each choice, over all the others", "", 90 + 230 * rows)
    figure = make_subplots(rows=rows, cols=_COLUMNS, shared_yaxes=True, subplot_titles=[_words(name) for name in names])
    figure.update_layout(base.layout)
    values = result.column(number)
    for position, name in enumerate(names):
        codes = result.grid.codes(name, 0, len(result))
        order = _in_order(result.grid.values[name])
        x = [_label(result.grid.values[name][code]) for code in order]
        stats = np.array([_spread(values[codes == code]) for code in order])
        where = {"row": position // _COLUMNS + 1, "col": position % _COLUMNS + 1}
        for (low, high), colour in (((0, 4), "rgba(138,143,152,0.25)"), ((1, 3), "rgba(31,111,178,0.35)")):
            band = go.Bar(
                x=x,
                y=rounded(stats[:, high] - stats[:, low]),
                base=rounded(stats[:, low]),
                marker={"color": colour},
                hoverinfo="skip",
            )
            figure.add_trace(band, **where)
        line = go.Scatter(
            x=x, y=rounded(stats[:, 2]), mode="lines+markers", line={"color": PORTFOLIO, "width": 2}, name="median"
        )
        figure.add_trace(line, **where)
    figure.update_layout(barmode="overlay", bargap=0.25, showlegend=False, hovermode="closest")
    figure.update_xaxes(type="category", gridcolor="rgba(128,128,128,0.22)", automargin=True)
    figure.update_yaxes(gridcolor="rgba(128,128,128,0.22)", zerolinecolor="rgba(128,128,128,0.5)", automargin=True)
    return figure


def _spread(values: npt.NDArray[np.float64]) -> list[float]:
    known = values[~np.isnan(values)]
    return list(np.quantile(known, [0, 0.25, 0.5, 0.75, 1])) if len(known) else [np.nan] * 5


def heat_map(
    result: SweepResult, x: str, y: str, number: str = "sharpe_ratio", config: StudyConfig | None = None
) -> go.Figure:
    """Draw the median of a number over two choices; the others vary freely, or stay as in `config`, which is then marked.

    Raises
    ------
    ConfigError
        `x` or `y` does not vary in the grid, they are the same, or `config` is not in it.
    """
    if x == y:
        raise ConfigError(f"a heat map needs two choices, got {x!r} for both")
    for name in (x, y):
        if name not in result.grid.varying:
            raise ConfigError(
                f"a heat map's choice must vary in the grid ({', '.join(result.grid.varying)}), got {name!r}"
            )
    keep = np.ones(len(result), dtype=bool)
    if config is not None:
        row = _row(result, config)
        for name in set(result.grid.varying) - {x, y}:
            keep &= result.grid.codes(name, 0, len(result)) == result.grid.codes(name, row, row + 1)
    orders = [_in_order(result.grid.values[name]) for name in (x, y)]
    columns, rows = (
        tuple(result.grid.values[name][code] for code in order) for name, order in zip((x, y), orders, strict=True)
    )
    cells = result.grid.codes(y, 0, len(result)) * len(columns) + result.grid.codes(x, 0, len(result))
    medians = _medians(result.column(number)[keep], cells[keep], len(columns) * len(rows)).reshape(len(rows), -1)
    medians = medians[np.ix_(orders[1], orders[0])]
    title = f"{_words(number).capitalize()}: {_words(y)} by {_words(x)}"
    title += ", the other choices as chosen" if config is not None else ", median over the other choices"
    figure = house_figure(title, _words(y), 150 + 28 * len(rows))
    figure.add_trace(_cells(columns, rows, medians, number))
    if config is not None:
        at = columns.index(getattr(config, x)), rows.index(getattr(config, y))
        edges = {"x0": at[0] - 0.5, "x1": at[0] + 0.5, "y0": at[1] - 0.5, "y1": at[1] + 0.5}
        figure.add_shape(type="rect", line={"color": "#1b1f24", "width": 3}, **edges)
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(type="category", showgrid=False, title={"text": _words(x)})
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def _medians(values: npt.NDArray[np.float64], cells: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    """Return the median of the defined values of each cell, NaN where there is none."""
    series = pd.Series(values).groupby(cells).median()
    return np.asarray(series.reindex(range(size)), dtype=np.float64)


def _cells(
    columns: tuple[Any, ...], rows: tuple[Any, ...], medians: npt.NDArray[np.float64], number: str
) -> go.Heatmap:
    limit = float(np.nanmax(np.abs(medians))) if np.any(np.abs(medians) > 0) else 1.0
    percent = format_number(number, 0.5).endswith("%")
    written = [
        ["" if np.isnan(v) else f"{100 * v:.1f}" if percent else f"{v:.2f}" for v in row] if len(columns) <= 20 else []
        for row in medians
    ]
    return go.Heatmap(
        x=[_label(value) for value in columns],
        y=[_label(value) for value in rows],
        z=[[None if np.isnan(v) else rounded([v])[0] for v in row] for row in medians],
        text=written,
        texttemplate="%{text}" if len(columns) <= 20 else "",
        textfont={"color": "#1b1f24", "size": 11},
        hovertemplate="%{y}, %{x}: %{z}<extra></extra>",
        colorscale=[[0, "#e08b3a"], [0.5, "#f5f5f2"], [1, "#4f97d1"]],
        zmin=-limit,
        zmax=limit,
        xgap=1,
        ygap=1,
        showscale=False,
    )


def check(result: SweepResult, digits: int = 6) -> str:
    """Return rounded figures of the whole grid as text, for nbval to compare."""
    lines = [f"{len(result)} configurations, {len(result.failures)} failed"]
    for name in ("total_return", "sharpe_ratio", "max_drawdown", "mean_turnover"):
        spread = _spread(result.column(name))
        lines.append(f"{name}: " + " ".join(f"{value:.{digits}g}" for value in spread))
    return "\n".join(lines)
