"""The page that compares the studies of a matrix, and the same as JSON for programs.

Enters: a matrix and what became of each study. Leaves: `index.html`, self-contained, with a table that sorts and a small chart per
study on axes that all share, and `index.json`. Nothing is computed here that METHOD does not define but the one number that says how
much the best of many is worth less than it looks.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import NormalDist
from typing import Any
from urllib.parse import quote

from workbench.errors import ConfigError, UnavailableError
from workbench.report.chart import Axes
from workbench.report.matrix import Matrix, word
from workbench.report.store import SUFFIXES
from workbench.result import format_number, versions

COLUMNS = {
    "total_return": "Total return",
    "benchmark_total_return": "Bench\u00admark",
    "excess_return": "Excess return",
    "annualized_volatility": "Vola\u00adtility a year",
    "sharpe_ratio": "Sharpe ratio",
    "max_drawdown": "Max draw\u00addown",
    "mean_turnover": "Mean turn\u00adover",
    "n_days": "Days",
}
_OURS = b'<main id="content" class="compare">'
_DAYS_PER_YEAR = 252
_EULER = 0.5772156649015329


@dataclass(frozen=True)
class Entry:
    """A study of a matrix and what became of it.

    name, parameters : the study's.
    status : "done", "reused" (it was there), "failed", or "not run" (the batch was interrupted).
    reason : of a failure, in one line.
    data_kind : "real", "simulated", "mixed"; "" where the data could not be read, or there are none.
    stem : the name that its files share; None if there are none.
    content : of its JSON file, as far as it is shown; None if there are no files.
    """

    name: str
    parameters: Mapping[str, Any]
    status: str = "not run"
    reason: str = ""
    data_kind: str = ""
    stem: str | None = None
    content: Mapping[str, Any] | None = None

    @property
    def summary(self) -> Mapping[str, Any]:
        """METHOD's numbers; empty where no study was run."""
        return (self.content or {}).get("summary", {})

    @property
    def wealth(self) -> Mapping[str, list[Any]] | None:
        """The growth of 1, `date`, `net` and `benchmark`; None where there is none."""
        return (self.content or {}).get("report", {}).get("wealth")

    @property
    def marks(self) -> list[str]:
        """What a reader must not overlook."""
        marks = [] if self.data_kind in ("real", "") else [f"{self.data_kind.upper()} DATA"]
        return marks + (["LOOK-AHEAD"] if self.parameters.get("execution_lag") == 0 else [])


def expected_maximum_sharpe(n_trials: int, n_days: int) -> float:
    """Return the highest Sharpe ratio to expect of independent strategies without any skill.

    Parameters
    ----------
    n_trials
        How many were tried, at least 2.
    n_days
        Daily returns in each, at least 1.

    Returns
    -------
    float
        A year's Sharpe ratio. The estimate of one without skill is normal with standard deviation sqrt(252 / n_days); the highest of
        many is as in Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", equation 1.
    """
    quantile = NormalDist().inv_cdf
    highest = (1 - _EULER) * quantile(1 - 1 / n_trials) + _EULER * quantile(1 - 1 / (n_trials * math.e))
    return math.sqrt(_DAYS_PER_YEAR / n_days) * highest


def check_place(folder: Path) -> None:
    """Raise ConfigError where an index would replace a page that is not one of ours."""
    page = folder / "index.html"
    if page.exists() and _OURS not in page.read_bytes():
        raise ConfigError(
            f"the output folder must not hold an index.html of something else, got {page}; name another with -o"
        )


def write_index(
    matrix: Matrix, entries: Sequence[Entry], account: Mapping[str, Any], scratch: Path, folder: Path
) -> Path:
    """Write both files, each of them whole, and return the page's path.

    Parameters
    ----------
    matrix, entries
        What was asked for, and what became of it, in the same order.
    account
        The engine's.
    scratch
        A folder on the same file system as `folder`.
    folder
        Where the reports lie: links are relative to it.

    Raises
    ------
    UnavailableError
        The file system refuses.
    """
    content = to_dict(matrix, entries, account)
    texts = {
        "index.json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n",
        "index.html": render_index(matrix, entries, content),
    }
    try:
        for name, text in texts.items():
            (scratch / name).write_text(text, encoding="utf-8")
        for name in texts:
            os.replace(scratch / name, folder / name)
    except OSError as error:
        raise UnavailableError(
            f"{folder}: the index cannot be written: {error.strerror or type(error).__name__}"
        ) from None
    return folder / "index.html"


def to_dict(matrix: Matrix, entries: Sequence[Entry], account: Mapping[str, Any]) -> dict[str, Any]:
    """Return the comparison as plain values, ready for JSON; None for what is undefined."""
    counts = Counter(entry.status for entry in entries)
    return {
        "matrix": matrix.file.name,
        "notebook": matrix.notebook.stem,
        "created_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "counts": {status: counts[status] for status in ("done", "reused", "failed", "not run")},
        "varying": matrix.varying,
        "trials": _trials(entries),
        "engine": dict(account),
        "versions": dict(versions()),
        "studies": [_study(entry) for entry in entries],
    }


def _study(entry: Entry) -> dict[str, Any]:
    about = (entry.content or {}).get("report", {})
    return {
        "name": entry.name,
        "status": entry.status,
        "reason": entry.reason,
        "marks": entry.marks,
        "parameters": dict(entry.parameters),
        "summary": dict(entry.summary),
        "files": {suffix[1:]: f"{entry.stem}{suffix}" for suffix in SUFFIXES} if entry.stem else {},
        "created_at": about.get("created_at"),
        "duration_seconds": about.get("duration_seconds"),
        "wealth": entry.wealth,
    }


def _trials(entries: Sequence[Entry]) -> dict[str, Any]:
    """Return how many different configurations were tried, and what the best of as many without skill would show."""
    tried = {json.dumps(dict(entry.parameters), sort_keys=True, default=str) for entry in entries}
    defined = [entry.summary for entry in entries if entry.summary.get("sharpe_ratio") is not None]
    best = max(defined, key=lambda summary: summary["sharpe_ratio"], default=None)
    expected = None
    if best is not None and len(tried) > 1:
        expected = expected_maximum_sharpe(len(tried), best["n_days"])
    return {
        "n_configurations": len(tried),
        "best_sharpe_ratio": None if best is None else best["sharpe_ratio"],
        "n_days": None if best is None else best["n_days"],
        "expected_maximum_sharpe_without_skill": expected,
    }


def render_index(matrix: Matrix, entries: Sequence[Entry], content: Mapping[str, Any]) -> str:
    """Return the page; `content` is what `to_dict` returned."""
    from jinja2 import DictLoader, Environment

    axes = Axes.around([entry.wealth for entry in entries if entry.wealth])
    varying = {name: _kind([entry.parameters[name] for entry in entries]) for name in content["varying"]}
    script = _asset("index.js")
    environment = Environment(loader=DictLoader({"index": _asset("index.html.j2")}), autoescape=True)
    return environment.get_template("index").render(
        title=f"{matrix.file.stem}: {_count(len(entries), 'study', 'studies')} compared",
        marks=list(dict.fromkeys(mark for entry in entries for mark in entry.marks)),
        counts=", ".join(f"{number} {status}" for status, number in content["counts"].items() if number) + ".",
        trials=_trials_text(content["trials"]),
        columns=_columns(varying),
        rows=(rows := _rows(matrix, entries, varying, axes)),
        failures=[row for row in rows if row["status"] == "failed"],
        axes=axes.symbol(),
        footer=_footer(content),
        style=_asset("report.css") + _asset("index.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _asset(name: str) -> str:
    return (files("workbench.report") / "assets" / name).read_text(encoding="utf-8")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _trials_text(trials: Mapping[str, Any]) -> str:
    expected = trials["expected_maximum_sharpe_without_skill"]
    if trials["n_configurations"] < 2 or expected is None:
        return ""
    return (
        f"{trials['n_configurations']:,} configurations were compared, and the best of many looks better than it is: had none of them any "
        f"skill, and were each independent of the others, the highest Sharpe ratio to expect over {trials['n_days']} days would still be "
        f"{expected:.2f}; the highest here is {trials['best_sharpe_ratio']:.2f}. Studies that resemble each other count for fewer, "
        "what was tried elsewhere counts for more."
    )


def _kind(values: Sequence[Any]) -> str:
    """Return how a parameter's column is set and sorted."""
    plain = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)
    return "number" if plain else "text short"


def _columns(varying: Mapping[str, str]) -> list[dict[str, Any]]:
    sorted_by = [
        {"label": "Study", "kind": "text", "hint": "name of the study"},
        {"label": "Status", "kind": "text", "hint": "what became of the report"},
        *({"label": name, "kind": kind, "hint": f"parameter {name}"} for name, kind in varying.items()),
        *({"label": label, "kind": "number", "hint": name} for name, label in COLUMNS.items()),
    ]
    return [column | {"sorts": True} for column in sorted_by] + [{"label": "Files", "kind": "text", "sorts": False}]


def _rows(matrix: Matrix, entries: Sequence[Entry], varying: Mapping[str, str], axes: Axes) -> list[dict[str, Any]]:
    """Return what the table and the charts show of each study. The parameters of a grid stand in their columns, and are not repeated."""
    known = [entry for entry in entries if entry.data_kind] or entries
    common = set.intersection(*(set(entry.marks) for entry in known))  # these stand at the top of the page
    rows = []
    for number, entry in enumerate(entries, start=1):
        row = _row(entry, number, varying, axes)
        row["marks"] = [mark for mark in entry.marks if mark not in common]
        if not matrix.named:
            row["cells"][0] |= {"text": str(number), "value": str(number)}
            row["name"] = f"{number}: {entry.name}"
        rows.append(row)
    return rows


def _row(entry: Entry, number: int, varying: Mapping[str, str], axes: Axes) -> dict[str, Any]:
    cells = [
        {"text": entry.name, "value": entry.name, "kind": "text"},
        {"text": entry.status, "value": entry.status, "kind": "text short status"},
    ]
    for name, kind in varying.items():
        value = entry.parameters[name]
        cells.append({"text": word(value), "value": "" if value is None else str(value), "kind": kind})
    cells += [_number(entry, name) for name in COLUMNS]
    linked = {} if entry.stem is None else {suffix: quote(f"{entry.stem}{suffix}") for suffix in SUFFIXES}
    wealth = entry.wealth
    return {
        "anchor": f"study-{number}",
        "name": entry.name,
        "cells": cells,
        "status": entry.status,
        "status_class": "" if entry.status in ("done", "reused") else "bad",
        "reason": entry.reason,
        "page": linked.get(".html"),
        "files": [(suffix[1:], linked[suffix]) for suffix in reversed(SUFFIXES) if linked],
        "total": format_number("total_return", entry.summary["total_return"]) if entry.summary else "",
        "chart": axes.draw(entry.name, wealth) if wealth else "",
        "no_chart": "no returns" if entry.summary else "nothing to draw",
    }


def _number(entry: Entry, name: str) -> dict[str, str]:
    if name not in entry.summary:
        return {"text": "–", "value": "", "kind": "number none"}
    value = entry.summary[name]
    kind = "number undefined" if value is None else "number"
    return {"text": format_number(name, value), "value": "" if value is None else repr(value), "kind": kind}


def _footer(content: Mapping[str, Any]) -> dict[str, str]:
    account = dict(content["engine"])
    engine = f"{account.pop('engine', '')} ({account.pop('why', '')})"
    counts = [f"{name} {round(value, 1) if isinstance(value, float) else value}" for name, value in account.items()]
    return {
        "Made": f"{content['created_at']} from {content['matrix']}, notebook {content['notebook']}",
        "Engine": "; ".join([engine, *counts]),
        "Versions": ", ".join(f"{name} {number}" for name, number in content["versions"].items()),
    }
