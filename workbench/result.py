"""StudyResult: what a study leaves, frozen, as frames for people and as one JSON object for programs."""

from __future__ import annotations

import html
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from workbench.config import StudyConfig

LOOK_AHEAD = (
    "LOOK-AHEAD: execution_lag=0 trades before the signal is complete; only to compare with studies that did so"
)
CAUSAL = "causal: every trade follows the last day that its signal reads"

HEADLINE = (
    "total_return",
    "benchmark_total_return",
    "excess_return",
    "annualized_return",
    "annualized_volatility",
    "sharpe_ratio",
    "max_drawdown",
    "mean_turnover",
    "n_periods",
    "n_days",
)


@dataclass(frozen=True, eq=False)
class StudyResult:
    """One study, complete.

    config : the parameters.
    summary : METHOD's numbers by name; None where a number is undefined.
    selection : period -> symbols, best first; every period in which a symbol qualifies.
    weights : ISO day of the trade -> symbol -> target weight (positive ones; what is missing from 1 is cash).
    pending : selections that wait for a trading day, each with period, signal_date (the period's last day), trade_date
        (None: not known yet), selection, weights.
    returns : DataFrame, index date (n), columns gross, net, benchmark: simple daily returns.
    trades : DataFrame, one row per symbol traded: date, period, symbol, weight_before, weight_target, trade, cost
        (all fractions of wealth), timing.
    losses : DataFrame, one row per thing left out: kind, period, symbol, count, first, last, reason.
    rebalances : DataFrame, one row per period with a selection: when its signal was complete, when it was decided and
        traded, until when it was held, what it cost.
    ranking : DataFrame, one row per selected symbol: period, rank, symbol, value (the signal), n_observations.
    published : the published, reproduced and corrected figures where the data is the published study's, else None.
    provenance : hashes, versions, data kind and engine.
    """

    config: StudyConfig
    summary: dict[str, Any]
    selection: dict[str, list[str]]
    weights: dict[str, dict[str, float]]
    pending: list[dict[str, Any]]
    returns: pd.DataFrame
    trades: pd.DataFrame
    losses: pd.DataFrame
    rebalances: pd.DataFrame
    ranking: pd.DataFrame
    published: dict[str, dict[str, Any]] | None
    provenance: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the contract's JSON object: plain values only, None for what is undefined."""
        # By columns and plain values: pandas' own way takes a fifth of the whole study.
        columns = [[None if value != value else value for value in self.losses[name].tolist()] for name in self.losses]
        losses = [dict(zip(self.losses, row, strict=True)) for row in zip(*columns, strict=True)]
        return {
            "config": self.config.to_dict(),
            "summary": self.summary,
            "selection": self.selection,
            "weights": self.weights,
            "pending": self.pending,
            "losses": losses,
            "published": self.published,
            "provenance": self.provenance,
        }

    def to_frame(self) -> pd.DataFrame:
        """Return the summary as one row, indexed by `config_id`, so that studies can be stacked and compared."""
        index = pd.Index([self.config.config_id], name="config_id")
        timing = {"timing": self.provenance["timing"].partition(":")[0]}
        return pd.DataFrame([self.config.to_dict() | self.summary | timing], index=index)

    @property
    def title(self) -> str:
        """One line that names the study and says what a reader must not overlook."""
        marks = [] if self.provenance["data_kind"] == "real" else [f"{self.provenance['data_kind'].upper()} DATA"]
        marks += ["LOOK-AHEAD"] if self.config.look_ahead else []
        prefix = f"[{', '.join(marks)}] " if marks else ""
        return prefix + study_name(self.config.to_dict())

    def __repr__(self) -> str:
        lines = [self.title]
        lines += [f"  {name:24s} {format_number(name, self.summary[name])}" for name in HEADLINE]
        waiting = ", ".join(f"{item['period']}: {' '.join(item['selection'])}" for item in self.pending)
        return "\n".join([*lines, *([f"  pending                  {waiting}"] if waiting else [])])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{format_number(name, self.summary[name])}</td></tr>"
            for name in HEADLINE
        )
        return f"<table><caption>{html.escape(self.title)}</caption>{rows}</table>"


def study_name(config: Mapping[str, Any]) -> str:
    """Return what names a study in one line, from the fields of its configuration."""
    return f"Top {config['top_n']} by {config['signal']}, {config['rebalance']}, {config['weighting']} weights"


_PLAIN = ("sharpe_ratio", "sortino_ratio", "calmar_ratio", "beta", "information_ratio", "mean_turnover")


def format_number(name: str, value: Any) -> str:
    """Write one of METHOD's numbers for people: fractions as per cent, ratios with two decimals, None as "undefined"."""
    if value is None:
        return "undefined"
    if isinstance(value, int | str):
        return str(value)
    if name.removeprefix("benchmark_").removeprefix("gross_") in _PLAIN:
        return f"{value:.2f}"
    return f"{100 * value:+.2f} %" if "return" in name or name in ("alpha", "max_drawdown") else f"{100 * value:.2f} %"


def engine_text(account: Mapping[str, Any]) -> str:
    """Return an engine's account in one line."""
    nodes, cpus, tasks = account["nodes"], account["cpus"], account["tasks"]
    where = f"{nodes} node{'' if nodes == 1 else 's'}, {cpus} CPU{'' if cpus == 1 else 's'}"
    return f"{account['engine']} ({account['why']}): {where}; {tasks} tasks, {account['seconds']:.1f} s in them"


@lru_cache(maxsize=1)
def versions() -> Mapping[str, str]:
    """Return the versions that a number can depend on."""
    from workbench import __version__

    return {
        "workbench": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
    }
