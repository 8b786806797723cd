"""A study's numbers as tables. Every function takes a StudyResult; nothing is computed that METHOD does not define.

`numbers`, `against`, `waiting`, `left_out` and `figures_side_by_side` make the same tables from a study's JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from workbench.config import StudyConfig
from workbench.core.inference import Interval
from workbench.core.metrics import RETURN_METRICS
from workbench.losses import KINDS, UNITS
from workbench.market.tables import Market
from workbench.report.table import Table
from workbench.report.verdict import points, span
from workbench.result import StudyResult, engine_text, format_number
from workbench.universe import return_bounds, universe_by_month

_LABELS = {
    "total_return": "Total return",
    "annualized_return": "Annualized return",
    "annualized_volatility": "Annualized volatility",
    "sharpe_ratio": "Sharpe ratio",
    "sortino_ratio": "Sortino ratio",
    "max_drawdown": "Max drawdown",
    "calmar_ratio": "Calmar ratio",
    "value_at_risk_95": "Value at risk 95 %, a day",
    "conditional_value_at_risk_95": "Mean loss beyond it",
    "hit_rate": "Days with a gain",
}
_RATIOS = ("sharpe_ratio", "sortino_ratio", "calmar_ratio")


def kpis(result: StudyResult, intervals: Mapping[str, Interval]) -> Table:
    """Return the key numbers net, gross and of the benchmark, their difference, and the intervals where there are any."""
    frame = numbers(result.summary, result.provenance["benchmark"])
    frame["Net, interval"] = [_interval(name, intervals.get(name)) for name in RETURN_METRICS]
    excess = span(intervals.get("excess_return"), "pp")
    frame["Difference, interval"] = [excess if name == "total_return" else "" for name in RETURN_METRICS]
    return Table(frame, _interval_caption(intervals), strong=("Total return",))


def numbers(summary: Mapping[str, Any], benchmark: str) -> pd.DataFrame:
    """Return a summary's numbers as text: a row per number, columns Net, Gross, the benchmark's name, Difference."""
    rows = []
    for name in RETURN_METRICS:
        net, base = summary[name], summary[f"benchmark_{name}"]
        gap = None if net is None or base is None else net - base
        rows.append(
            {
                "": _LABELS[name],
                "Net": format_number(name, net),
                "Gross": format_number(name, summary[f"gross_{name}"]),
                benchmark: format_number(name, base),
                "Difference": _gap(name, gap),
            }
        )
    return pd.DataFrame(rows)


def _gap(name: str, gap: float | None) -> str:
    if gap is None:
        return "undefined"
    return f"{gap:+.2f}" if name in _RATIOS else points(gap)


def _interval(name: str, interval: Interval | None) -> str:
    if interval is None or name not in _RATIOS:
        return span(interval)
    return f"{interval.low:+.2f} to {interval.high:+.2f}"


def _interval_caption(intervals: Mapping[str, Interval]) -> str:
    if not intervals:
        return "Too few days for an interval"
    one = next(iter(intervals.values()))
    return (
        f"{100 * one.confidence:g} % intervals by stationary block bootstrap ({one.n_resamples:,} resamples, mean block "
        f"{one.mean_block_days:g} days, seed {one.seed}); pp: percentage points"
    )


def relative(result: StudyResult) -> Table:
    """Return the numbers that hold the portfolio against the benchmark."""
    return against(result.summary, result.provenance["benchmark"])


def against(summary: Mapping[str, Any], benchmark: str) -> Table:
    """Return those numbers of a summary; `benchmark` is its name."""
    names = {
        "excess_return": "Excess return, whole time",
        "alpha": "Alpha, a year",
        "beta": "Beta",
        "tracking_error": "Tracking error, a year",
        "information_ratio": "Information ratio",
    }
    rows = [{"": label, "Net": format_number(name, summary[name])} for name, label in names.items()]
    return Table(pd.DataFrame(rows), f"Against {benchmark}")


def monthly_returns(returns: pd.Series) -> pd.Series:
    """Compound daily returns (n) to calendar months, indexed by "YYYY-MM"."""
    grown = (1.0 + returns).groupby(pd.DatetimeIndex(returns.index).strftime("%Y-%m")).prod() - 1.0
    return grown.rename_axis("month")


def months(result: StudyResult) -> Table:
    """Return each month's net and benchmark return and the difference."""
    net, benchmark = monthly_returns(result.returns["net"]), monthly_returns(result.returns["benchmark"])
    frame = pd.DataFrame(
        {
            "Month": net.index,
            "Net": [format_number("total_return", v) for v in net],
            result.provenance["benchmark"]: [format_number("total_return", v) for v in benchmark],
            "Difference": [points(v) for v in net - benchmark],
        }
    )
    caption = "Monthly returns as a table; the first and last month may be incomplete"
    return Table(frame, caption, folded=True)


def holdings(result: StudyResult) -> Table:
    """Return what was selected in each period, when it was traded, and at which weights."""
    rows = []
    row: Any
    for row in result.rebalances.itertuples(index=False):
        traded = row.status == "executed"
        selection = result.selection[row.period]
        rows.append(
            {
                "Period": row.period + ("*" if row.partial else ""),
                "Signal complete": row.signal_complete,
                "Traded": row.traded if traded else row.status.replace("_", " "),
                "Held until": row.held_until if traded else "",
                "Holdings": holding(selection, result.weights[row.traded]) if traded else ", ".join(selection),
                "Cash": f"{100 * row.cash:.1f} %" if traded and row.cash > 1e-9 else "",
            }
        )
    if not any(row["Cash"] for row in rows):
        rows = [{name: value for name, value in row.items() if name != "Cash"} for row in rows]
    marks = "* the table ends before the period does. " if result.rebalances["partial"].any() else ""
    return Table(
        pd.DataFrame(rows),
        f"{marks}Traded at the close; best ranked first",
        ("Signal complete", "Traded", "Held until", "Holdings"),
    )


def holding(selection: Sequence[str], weights: Mapping[str, float]) -> str:
    """Write a selection with its weights, best ranked first; equal ones are said once."""
    if len(weights) == len(selection) and len({round(weight, 9) for weight in weights.values()}) == 1:
        return f"{', '.join(selection)} ({100 * weights[selection[0]]:.1f} %" + (
            " each)" if len(selection) > 1 else ")"
        )
    return ", ".join(f"{s} {100 * weights[s]:.1f} %" if s in weights else f"{s} (no price)" for s in selection)


def _cash(weights: Mapping[str, float]) -> str:
    rest = 1.0 - sum(weights.values())
    return f", cash {100 * rest:.1f} %" if rest > 1e-9 else ""


def pending(result: StudyResult) -> Table:
    """Return what to hold next: selections that wait for a trading day."""
    partial = set(result.rebalances.loc[result.rebalances["partial"], "period"])
    return waiting(result.pending, result.config.execution_lag, partial)


def waiting(pending: Sequence[Mapping[str, Any]], lag: int, partial: Collection[str]) -> Table:
    """Return pending selections, as a study's JSON has them; `partial` are the periods that the table does not reach the end of."""
    later = f"trading day {lag} after the period's last" if lag else "the period's last trading day"
    rows = [
        {
            "Period": item["period"] + ("*" if item["period"] in partial else ""),
            "Signal complete": item["signal_date"],
            "Trade at the close of": item["trade_date"] or later,
            "Target weights": holding(item["selection"], item["weights"]) + _cash(item["weights"]),
        }
        for item in pending
    ]
    preliminary = "* preliminary: the table ends before the period does"
    caption = preliminary if set(partial) & {item["period"] for item in pending} else ""
    empty = "nothing is pending; the prices reach beyond the last trade"
    return Table(
        pd.DataFrame(rows), caption, ("Signal complete", "Trade at the close of", "Target weights"), empty=empty
    )


def compare(studies: Mapping[str, StudyResult]) -> Table:
    """Return the headline numbers of several studies, one row each, under the labels given."""
    rows = [
        {
            "": label,
            "Total return": format_number("total_return", s["total_return"]),
            "Before costs": format_number("total_return", s["gross_total_return"]),
            "Benchmark": format_number("total_return", s["benchmark_total_return"]),
            "Difference": points(s["excess_return"]),
            "Sharpe": format_number("sharpe_ratio", s["sharpe_ratio"]),
            "Deepest fall": format_number("max_drawdown", s["max_drawdown"]),
            "Mean turnover": format_number("mean_turnover", s["mean_turnover"]),
        }
        for label, s in ((label, study.summary) for label, study in studies.items())
    ]
    return Table(pd.DataFrame(rows), "Studies that differ in one parameter")


def timing(result: StudyResult) -> Table:
    """Return, per rebalance, the days in the order in which things became known and were done."""
    frame = result.rebalances[["period", "signal_complete", "decided", "traded", "held_until", "status"]]
    names = [
        "Period",
        "Signal complete (p)",
        "Last trading day (e0)",
        "Traded at the close of (e)",
        "Held until",
        "Status",
    ]
    frame = frame.astype(object).where(frame.notna(), "").set_axis(names, axis=1)
    return Table(frame, result.provenance["timing"], names[1:])


def costs(result: StudyResult) -> Table:
    """Return what trading cost."""
    s, config = result.summary, result.config
    years = s["n_days"] / 252 if s["n_days"] else None
    total = float(result.trades["trade"].abs().sum())
    lost = None if s["total_return"] is None else s["gross_total_return"] - s["total_return"]
    rows = [
        ("Cost per trade", f"{config.cost_bps:g} bps of what is traded"),
        ("Rebalances", str(s["n_periods"])),
        ("Mean turnover of a rebalance", format_number("mean_turnover", s["mean_turnover"])),
        ("Turnover a year", f"{total / years:.1f}" if years else "undefined"),
        ("Total return lost to costs", points(lost)),
    ]
    caption = "Turnover is the sum of |target − weight just before| over symbols: buying everything is 1, replacing everything 2"
    return Table(pd.DataFrame(rows, columns=["", "Value"]), caption)


def losses(result: StudyResult) -> Table:
    """Return what was left out, by kind."""
    return left_out(result.losses)


def left_out(losses: pd.DataFrame) -> Table:
    """Return losses, a row each, by kind."""
    rows = []
    for kind, group in losses.groupby("kind", sort=False):
        symbols = sorted(set(group["symbol"].dropna()))
        periods = list(dict.fromkeys(group["period"].dropna()))
        rows.append(
            {
                "Kind": kind,
                "Entries": len(group),
                "Count": _counted(int(group["count"].sum()), UNITS.get(str(kind), "")),
                "Periods": _some(periods),
                "Symbols": _some(symbols),
                "What it is": KINDS.get(str(kind), ""),
            }
        )
    return Table(
        pd.DataFrame(rows), "What was left out, by kind", ("Periods", "Symbols", "What it is"), empty="nothing"
    )


def _counted(count: int, unit: str) -> str:
    """Write a count with its unit; nothing where there is none."""
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}" if unit else ""


def _some(names: list[str], most: int = 4) -> str:
    if len(names) > most + 1:
        return f"{', '.join(names[: most - 1])} … {names[-1]} ({len(names)})"
    return ", ".join(names)


def loss_details(result: StudyResult, without: tuple[str, ...] = ("below_threshold", "undefined_signal")) -> Table:
    """Return every entry of the losses but the bulk kinds, which `losses` sums up."""
    frame = result.losses[~result.losses["kind"].isin(without)]
    frame = frame[["kind", "period", "symbol", "count", "first", "last", "reason"]]
    names = [name.capitalize() for name in frame.columns]
    frame = frame.astype(object).where(frame.notna(), "").set_axis(names, axis=1)
    text = ("Period", "Symbol", "First", "Last", "Reason")
    return Table(frame, f"One by one ({len(frame)})", text, folded=True)


def universe(market: Market) -> Table:
    """Return, by month, how many symbols were talked about, how many of them had prices, and why the others had none."""
    counts = universe_by_month(market)
    without = counts["requested"] - counts["priced"]
    shown = (
        counts[without > 0].rename(columns=lambda name: name.replace("_", " ").capitalize()).reset_index(names="Month")
    )
    total, months = int(counts["requested"].sum()), len(counts)
    caption = (
        f"Months with symbols that had no price: {len(shown)} of {months}; {without.sum()} of {total:,} symbol-months"
    )
    empty = f"all {total:,} symbol-months of the {months} months had prices"
    return Table(shown.rename(columns={"Names": "Not priced"}), caption, ("Not priced",), empty=empty)


def bounds(config: StudyConfig, market: Market) -> Table:
    """Return what the result would be if the missing names had been bought and had earned -100 %, -30 % or nothing."""
    suppositions, affected = return_bounds(config, market)
    rows = [
        {
            "The missing names earn": format_number("total_return", row["missing_return"]),
            "Total return": format_number("total_return", row["total_return"]),
            "Difference from the benchmark": points(row["excess_return"]),
        }
        for row in suppositions.astype(object).where(suppositions.notna(), None).to_dict("records")
    ]
    if not affected:
        empty = "every selected symbol had its prices, so that nothing needs to be supposed"
        return Table(pd.DataFrame(rows).head(0), "Bounds", empty=empty)
    caption = f"Bounds: {affected} positions lacked a price when they were to be bought, or lost it while held"
    return Table(pd.DataFrame(rows), caption)


def published(result: StudyResult) -> Table:
    """Return published, reproduced and corrected figures side by side."""
    return figures_side_by_side(result.published, result.provenance["benchmark"])


def figures_side_by_side(published: Mapping[str, Mapping[str, Any]] | None, benchmark: str) -> Table:
    """Return the figures of `published`, as a study's JSON has it; None where the data is another study's."""
    columns = {
        "total_portfolio_return": "Portfolio",
        "total_benchmark_return": benchmark,
        "excess_return": "Excess",
        "unique_stocks_analyzed": "Stocks",
    }
    empty = "this is not the data set of the published study"
    if published is None:
        return Table(pd.DataFrame(columns=["", *columns.values()]), "Published figures", empty=empty)
    found = {
        "published (LOOK-AHEAD)": published["published"],
        "reproduced, wrong arithmetic included (LOOK-AHEAD)": published["reproduced"],
        **{f"corrected, {label}": figures for label, figures in published["corrected"]["variants"].items()},
    }
    rows = [
        {"": label} | {text: _figure(figures[name]) for name, text in columns.items()}
        for label, figures in found.items()
    ]
    return Table(pd.DataFrame(rows), "Published, reproduced and corrected", empty=empty)


def _figure(value: float | int | None) -> str:
    return str(value) if isinstance(value, int) else format_number("total_return", value)


def parameters(result: StudyResult) -> Table:
    """Return the study's parameters with what each means."""
    fields = type(result.config).model_fields
    rows = [
        {"Parameter": name, "Value": _plain(value), "Meaning": fields[name].description}
        for name, value in result.config.to_dict().items()
    ]
    return Table(pd.DataFrame(rows), f"Configuration {result.config.config_id}", ("Value", "Meaning"))


def _plain(value: object) -> str:
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def provenance(result: StudyResult, account: Mapping[str, Any] | None = None) -> Table:
    """Return where the numbers come from: inputs, hashes, timing, versions; with an engine's account, what ran where."""
    p = dict(result.provenance) | ({"engine": engine_text(account)} if account else {})
    rows = [
        (name.replace("_", " "), str(value)) for name, value in p.items() if name != "versions" and value is not None
    ]
    rows += [(f"version of {name}", value) for name, value in p["versions"].items()]
    return Table(pd.DataFrame(rows, columns=["", "Value"]), "Provenance", ("Value",))


def check(result: StudyResult, digits: int = 10) -> str:
    """Return the summary as JSON text, rounded, for nbval to compare."""
    rounded = {k: round(v, digits) if isinstance(v, float) else v for k, v in result.summary.items()}
    return json.dumps(rounded, indent=1)
