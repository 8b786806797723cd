"""What is in the tables, what is missing, and what a study would drop: tables and figures on a Market."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.losses import losses_frame
from workbench.market.tables import Market
from workbench.report import figures
from workbench.report.table import Table

_COUNTS = ("twitterPosts", "twitterComments", "twitterLikes", "twitterImpressions")


def overview(market: Market) -> Table:
    """Return the size and span of both tables."""
    table, prices = market.sentiment, market.prices
    days, _ = table.distinct_days
    unpriced = [s for s, column in zip(table.symbols, market.price_columns, strict=True) if column < 0]
    rows = [
        ("Kind of data", market.data_kind),
        ("Sentiment rows", f"{len(table.frame):,}"),
        ("Sentiment days", f"{len(days):,} from {days[0]} to {days[-1]}"),
        ("Symbols with sentiment", str(len(table.symbols))),
        ("Trading days", f"{len(prices.days):,} from {prices.days[0]} to {prices.days[-1]}"),
        ("Symbols with prices", str(len(prices.symbols))),
        ("Symbols with sentiment but no prices", ", ".join(unpriced) or "none"),
        ("Benchmark", market.benchmark),
    ]
    return Table(pd.DataFrame(rows, columns=["", "Value"]), "The two tables", ("Value",))


def columns(market: Market) -> Table:
    """Return each numeric column's missing share, median, largest value and how much its daily total grew."""
    frame = market.sentiment.frame
    month = market.sentiment.days.astype("datetime64[M]")
    first, last = month == month[0], month == month[-1]
    rows = []
    for name in [*_COUNTS, "twitterSentiment"]:
        if name not in frame:
            rows.append({"Column": name, "Missing": "absent"})
            continue
        values = frame[name].to_numpy(dtype=float)
        known = values[~np.isnan(values)]
        is_count = name in _COUNTS
        write = (lambda v: f"{v:,.0f}") if is_count else (lambda v: f"{v:.3f}")
        rows.append(
            {
                "Column": name,
                "Missing": f"{100 * np.isnan(values).mean():.1f} %",
                "Zero": f"{100 * (values == 0).mean():.1f} %",
                "Median": write(np.median(known)) if len(known) else "",
                "Largest": write(known.max()) if len(known) else "",
                "Median, first month": write(np.nanmedian(values[first]))
                if not np.isnan(values[first]).all()
                else "none",
                "Median, last month": write(np.nanmedian(values[last])) if not np.isnan(values[last]).all() else "none",
            }
        )
    return Table(pd.DataFrame(rows), "The columns of the sentiment table")


def monthly(market: Market, min_likes: int, min_comments: int) -> pd.DataFrame:
    """Return rows, symbols and rows above both thresholds by month (index "YYYY-MM")."""
    frame = market.sentiment.frame
    passes = (frame["twitterLikes"] > min_likes) & (frame["twitterComments"] > min_comments)
    month = pd.Series(market.sentiment.days.astype("datetime64[M]").astype(str), name="month")
    grouped = pd.DataFrame({"symbol": frame["symbol"].to_numpy(), "passes": passes.to_numpy()}).groupby(
        month.to_numpy()
    )
    counts = grouped.agg(rows=("passes", "size"), symbols=("symbol", "nunique"), above=("passes", "sum"))
    return counts.rename_axis("month")


def coverage(market: Market, min_likes: int, min_comments: int) -> Table:
    """Return rows, symbols and what the thresholds leave, by month."""
    counts = monthly(market, min_likes, min_comments)
    frame = pd.DataFrame(
        {
            "Month": counts.index,
            "Rows": [f"{v:,}" for v in counts["rows"]],
            "Symbols": counts["symbols"].to_numpy(),
            "Rows above both thresholds": [f"{v:,}" for v in counts["above"]],
            "Share kept": [f"{100 * a / n:.1f} %" for a, n in zip(counts["above"], counts["rows"], strict=True)],
        }
    )
    return Table(frame, f"By month; thresholds: more than {min_likes} likes and {min_comments} comments")


def coverage_figure(market: Market, min_likes: int, min_comments: int) -> go.Figure:
    """Draw the rows of each month, split by whether they pass the thresholds."""
    counts = monthly(market, min_likes, min_comments)
    figure = figures.bars("Rows of the sentiment table by month", "rows")
    for name, values, colour in (
        ("Above both thresholds", counts["above"], figures.PORTFOLIO),
        ("Dropped by the thresholds", counts["rows"] - counts["above"], figures.GROSS),
    ):
        figure.add_trace(go.Bar(x=list(counts.index), y=[int(v) for v in values], name=name, marker={"color": colour}))
    figure.update_layout(barmode="stack")
    return figure


def prices(market: Market) -> Table:
    """Return the symbols whose prices do not cover every trading day: late, gone early, or with gaps."""
    table = market.prices
    rows = []
    for column in np.flatnonzero(~table.gapless):
        known = np.flatnonzero(~np.isnan(table.values[:, column]))
        inside = int(known[-1] - known[0] + 1 - len(known)) if len(known) else 0
        rows.append(
            {
                "Symbol": table.symbols[column],
                "First price": str(table.days[known[0]]) if len(known) else "none",
                "Last price": str(table.days[known[-1]]) if len(known) else "none",
                "Days missing in between": inside,
            }
        )
    caption = f"Symbols without a price on each of the {len(table.days):,} trading days"
    return Table(pd.DataFrame(rows), caption, ("First price", "Last price"), empty="none, all are complete")


def input_losses(market: Market) -> Table:
    """Return what was dropped while reading."""
    frame = losses_frame(market.losses)[["kind", "count", "first", "last", "reason"]]
    frame = frame.astype(object).where(frame.notna(), "")
    return Table(
        frame.set_axis([n.capitalize() for n in frame.columns], axis=1),
        "Dropped on reading",
        ("First", "Last", "Reason"),
    )


def thin_selections(ranking: pd.DataFrame, fewer_than: int = 3) -> Table:
    """Return the selections that rest on fewer than `fewer_than` daily rows (`StudyResult.ranking`)."""
    thin = ranking[ranking["n_observations"] < fewer_than]
    frame = pd.DataFrame(
        {
            "Period": thin["period"],
            "Symbol": thin["symbol"],
            "Rank": thin["rank"],
            "Signal": [f"{v:.4g}" for v in thin["value"]],
            "Rows behind it": thin["n_observations"],
        }
    )
    caption = f"{len(thin)} of {len(ranking)} selections rest on fewer than {fewer_than} daily rows"
    return Table(frame, caption, ("Symbol",), empty="none")
