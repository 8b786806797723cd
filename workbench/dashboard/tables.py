"""Tables from the API's answers that the report has no function for.

Enters: parts of an answer. Leaves: the report's tables, and frames for the tables that can be sorted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from workbench.dashboard.text import number
from workbench.report.table import Table
from workbench.report.tables import holding
from workbench.stocks import NUMBERS

_STOCK_LABELS = {
    "total_return": "Total return",
    "annualized_volatility": "Volatility, a year",
    "sharpe_ratio": "Sharpe ratio",
}


def compositions(weights: Mapping[str, Mapping[str, float]]) -> Table:
    """Return what was held from each trade on, at which target weights."""
    rows = []
    for day, row in weights.items():
        cash = 1.0 - sum(row.values())
        names = sorted(row, key=lambda symbol: (-row[symbol], symbol))
        cash_text = f"{100 * cash:.1f} %" if cash > 1e-9 else ""
        rows.append({"Traded": day, "Target weights": holding(names, row) if row else "cash", "Cash": cash_text})
    frame = pd.DataFrame(rows, columns=["Traded", "Target weights", "Cash"])
    if not (frame["Cash"] != "").any():
        frame = frame.drop(columns="Cash")
    return Table(frame, "Held from the close of", ("Target weights",), empty="no rebalance was executed")


def selections(selection: Mapping[str, Sequence[str]]) -> Table:
    """Return what was selected in each period, best first: also what could not be bought."""
    frame = pd.DataFrame(
        [{"Period": period, "Selected, best first": ", ".join(symbols)} for period, symbols in selection.items()]
    )
    caption = f"Selections by period ({len(selection)})"
    return Table(frame, caption, ("Selected, best first",), empty="no symbol qualified in any period", folded=True)


def loss_rows(losses: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return all losses, a row each."""
    frame = pd.DataFrame(losses)
    return frame.astype(object).where(frame.notna(), None).rename(columns=str.capitalize)


def stock_rows(stocks: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the numbers of single stocks."""
    rows = [
        {"": symbol}
        | {_STOCK_LABELS[name]: number(name, row[name]) for name in NUMBERS}
        | {"Days": f"{row['n_days']:,}", "From": row["first_date"] or "", "To": row["last_date"] or ""}
        for symbol, row in stocks.items()
    ]
    return Table(pd.DataFrame(rows), "Whole time from the first to the last price used", ("From", "To"))


def pairs(content: Mapping[str, Any], caption: str) -> Table:
    """Return names and values, a row each; nested ones as `name.inner`."""
    rows = [(name, _value(value)) for name, value in _flat(content)]
    return Table(pd.DataFrame(rows, columns=["", "Value"]), caption, ("Value",))


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _flat(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found = []
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            found += [(f"{name}.{inner}", deeper) for inner, deeper in _flat(value)]
        else:
            found.append((name, value))
    return found
