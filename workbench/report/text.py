"""A study as plain text for a terminal.

Enters: the JSON object of a study or of stocks, whether it was computed here or by an API; a SweepResult. Leaves: lines of at most 100
characters, longer only where a sweep's row names its knobs; the warnings that nobody may overlook stand first.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from workbench.core.metrics import RETURN_METRICS
from workbench.losses import KINDS, UNITS
from workbench.result import format_number, study_name
from workbench.stocks import NUMBERS
from workbench.sweep.result import SweepResult

_RELATIVE = ("excess_return", "beta", "alpha", "tracking_error", "information_ratio")
_RATIOS = ("sharpe_ratio", "sortino_ratio", "calmar_ratio")
_WIDTH = 100
SWEEP_NUMBERS = ("total_return", "excess_return", "sharpe_ratio", "max_drawdown", "mean_turnover")
_MOST_ROWS = 10
_NAMED = ("excluded", "exclude_unknown")
_MOST_NAMES = 5
_DATA_WARNINGS = {
    "simulated": "SIMULATED DATA: made up, with a planted effect; these numbers say nothing about any real stock",
    "mixed": "MIXED DATA: one of the two tables is simulated; these numbers mean nothing",
}


def study_text(study: Mapping[str, Any]) -> str:
    """Return a study's numbers, what waits, what was left out, and the published figures where they apply.

    Parameters
    ----------
    study
        What `StudyResult.to_dict` returns.
    """
    blocks = [_head(study), _numbers(study), _relative(study), _pending(study), _losses(study), _published(study)]
    return "\n\n".join("\n".join(lines) for block in blocks if (lines := list(block)))


def sweep_text(result: SweepResult) -> str:
    """Return the best rows of a sweep, the spread over all of them, and where the rest is."""
    timing = "LOOK-AHEAD: rows with execution_lag=0 trade before the signal is complete"
    lines = list(
        warning_lines(result.provenance["data_kind"], timing if 0 in result.grid.values["execution_lag"] else "")
    )
    lines += [repr(result.grid), ""]
    head = "".join(f"{name:>16s}" for name in SWEEP_NUMBERS)
    lines += [f"{'':12s}{head}"]
    lines += [f"{label:12s}{''.join(cells)}" for label, cells in _spread(result)]
    best = result.best(n=_MOST_ROWS)
    if best:
        lines += ["", f"the best by sharpe_ratio, out of {len(result):,}: picked after the fact, so expect less", head]
        lines += ["".join(f"{cell:>16s}" for cell in _row(result, row)) + f"  {_knobs(result, row)}" for row in best]
    if result.failures:
        lines += ["", f"{len(result.failures):,} configurations failed:"]
        lines += [f"  row {row}: {result.failures[row]}" for row in sorted(result.failures)[:_MOST_NAMES]]
        lines += ["  ..."] if len(result.failures) > _MOST_NAMES else []
    if result.path is not None:
        lines += ["", f"all rows: {result.path}"]
    return "\n".join(lines)


def _spread(result: SweepResult) -> Iterator[tuple[str, list[str]]]:
    columns = {name: result.column(name) for name in SWEEP_NUMBERS}
    for label, share in (("lowest", 0.0), ("median", 0.5), ("highest", 1.0)):
        cells = []
        for name, column in columns.items():
            known = column[~np.isnan(column)]
            value = float(np.quantile(known, share)) if len(known) else None
            cells.append(f"{format_number(name, value):>16s}")
        yield label, cells


def _row(result: SweepResult, row: int) -> list[str]:
    return [format_number(name, value) for name, value in result.numbers(SWEEP_NUMBERS, row).items()]


def _knobs(result: SweepResult, row: int) -> str:
    knobs = result.grid.knobs(row)
    return " ".join(
        f"{name}={'+'.join(knobs[name]) if isinstance(knobs[name], tuple) else knobs[name]}"
        for name in result.grid.varying
    )


def warning_lines(data_kind: str, timing: str = "") -> Iterator[str]:
    """Yield what must stand above every number: look-ahead, simulated data."""
    if timing.startswith("LOOK-AHEAD"):
        yield timing
    if data_kind in _DATA_WARNINGS:
        yield _DATA_WARNINGS[data_kind]


def _head(study: Mapping[str, Any]) -> Iterator[str]:
    s = study["summary"]
    yield from warning_lines(study["provenance"]["data_kind"], study["provenance"]["timing"])
    yield study_name(study["config"])
    if s["first_date"] is None:
        yield "no rebalance was executed: there are no returns"
    else:
        yield (
            f"{s['first_date']} to {s['last_date']}: {s['n_days']} days, {s['n_periods']} rebalances, "
            f"{s['n_symbols']} symbols held"
        )


def _numbers(study: Mapping[str, Any]) -> Iterator[str]:
    s = study["summary"]
    yield f"{'':30s}{'net':>12s}{'gross':>12s}{study['provenance']['benchmark']:>12s}{'difference':>14s}"
    for name in RETURN_METRICS:
        net, gross, base = s[name], s[f"gross_{name}"], s[f"benchmark_{name}"]
        cells = "".join(f"{format_number(name, value):>12s}" for value in (net, gross, base))
        yield f"{name:30s}{cells}{_difference(name, net, base):>14s}"


def _difference(name: str, net: float | None, base: float | None) -> str:
    if net is None or base is None:
        return "undefined"
    return f"{net - base:+.2f}" if name in _RATIOS else f"{100 * (net - base):+.2f} pp"


def _relative(study: Mapping[str, Any]) -> Iterator[str]:
    s = study["summary"]
    for name in _RELATIVE[1:]:
        yield f"{name:30s}{format_number(name, s[name]):>12s}"
    yield f"{'mean_turnover':30s}{format_number('mean_turnover', s['mean_turnover']):>12s}"


def _pending(study: Mapping[str, Any]) -> Iterator[str]:
    lag = study["config"]["execution_lag"]
    later = f"trading day {lag} after the period's last" if lag else "the period's last trading day"
    for item in study["pending"]:
        yield f"pending: {item['period']} (signal complete {item['signal_date']})"
        yield f"  to be traded at the close of {item['trade_date'] or later}"
        cash = 1.0 - sum(item["weights"].values())
        parts = [*item["weights"].items(), *([("cash", cash)] if cash > 1e-9 else [])]
        weights = ", ".join(f"{name} {weight:.1%}" for name, weight in parts)
        yield from textwrap.wrap(weights, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _losses(study: Mapping[str, Any]) -> Iterator[str]:
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for loss in study["losses"]:
        kinds.setdefault(loss["kind"], []).append(loss)
    if kinds:
        yield f"{'left out':24s}{'entries':>9s}  {'count':22s}what (by symbol and period: --json)"
    for kind, group in kinds.items():
        symbols = sorted({loss["symbol"] for loss in group} - {None})
        count = _counted(sum(loss["count"] for loss in group), UNITS.get(kind, ""))
        names = f": {', '.join(symbols)}" if kind in _NAMED or 0 < len(symbols) <= _MOST_NAMES else ""
        start = f"  {kind:22s}{len(group):>9,}  {count:22s}"
        yield from textwrap.wrap(
            KINDS.get(kind, "") + names, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start)
        )


def _counted(count: int, unit: str) -> str:
    """Write a count with its unit, such as "1 day with rows"; nothing for what has no unit."""
    noun, space, rest = unit.partition(" ")
    return f"{count:,} {noun.removesuffix('s') if count == 1 else noun}{space}{rest}" if unit else ""


def warnings(study: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is likely a mistake of the user's although the study can be run: names in exclude that the table lacks."""
    for loss in study["losses"]:
        if loss["kind"] == "exclude_unknown":
            yield f"{loss['symbol']}: {loss['reason']}"


def _published(study: Mapping[str, Any]) -> Iterator[str]:
    published = study["published"]
    if published is None:
        return
    rows = {"published": published["published"], "its recipe, reproduced": published["reproduced"]}
    rows |= published["corrected"]["variants"]
    yield f"{'the published figures':42s}{'portfolio':>12s}{'benchmark':>12s}{'excess':>14s}{'symbols':>9s}"
    for label, row in rows.items():
        portfolio, base, excess = (row[f"{name}_return"] for name in ("total_portfolio", "total_benchmark", "excess"))
        cells = "".join(f"{format_number('total_return', value):>12s}" for value in (portfolio, base))
        yield f"{label:42s}{cells}{_difference('', excess, 0.0):>14s}{row['unique_stocks_analyzed']:>9d}"


def stocks_text(answer: Mapping[str, Any]) -> str:
    """Return a line per symbol, and what is missing.

    Parameters
    ----------
    answer
        What `workbench stocks --json` prints: `stocks`, `losses`, `provenance`.
    """
    lines = list(warning_lines(answer["provenance"]["data_kind"]))
    lines.append(f"{'':12s}{'total return':>14s}{'volatility':>12s}{'sharpe':>11s}{'days':>7s}  from        to")
    for symbol, row in answer["stocks"].items():
        total, volatility, sharpe = (format_number(name, row[name]) for name in NUMBERS)
        span = f"{row['first_date'] or '':12s}{row['last_date'] or ''}"
        lines.append(f"{symbol:12s}{total:>14s}{volatility:>12s}{sharpe:>11s}{row['n_days']:>7d}  {span}".rstrip())
    for loss in answer["losses"]:
        count = loss["count"]
        number = f"{count:,} trading day{'' if count == 1 else 's'}"
        days = f" ({number}, {loss['first']} to {loss['last']})" if count else ""
        lines += textwrap.wrap(f"{loss['symbol']}: {loss['reason']}{days}", _WIDTH, subsequent_indent="  ")
    return "\n".join(lines)
