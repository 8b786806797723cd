"""Results as files for other programs: `--export` and `--trades`.

Enters: what a command prints, and where to. Leaves: a .json file with that very object, or a table as .csv or .parquet; whole or not at
all. The same call gives the same file, whether it was computed here or by an API.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import ConfigError
from workbench.market.durable import why_not_writable, write_file
from workbench.market.files import show
from workbench.sweep.result import SweepResult

TABLES = (".csv", ".parquet")
EXPORTS = (".json", *TABLES)


def check_file(option: str, path: Path, suffixes: tuple[str, ...]) -> None:
    """Raise ConfigError if a file cannot be written there, or is not named like one of these, before anything is computed."""
    if path.suffix not in suffixes:
        known = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise ConfigError(f"{option} must be a file named {known}, got {show(path, 200)!r}")
    why = "it is a folder" if path.is_dir() else why_not_writable(path.parent)
    if why is not None:
        raise ConfigError(
            f"{option} must be a file in a folder that can be written, got {show(path, 200)!r} ({why}); name another"
        )


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV or Parquet, by the name's ending."""
    content = io.BytesIO()
    if path.suffix == ".csv":
        frame.to_csv(content, index=False)
    else:
        frame.to_parquet(content, index=False)
    write_file(path, content.getvalue(), durable=False, advice="")


def export_study(path: Path, study: Mapping[str, Any], performance: Mapping[str, list[Any]]) -> None:
    """Write a study: its object, or a row per trading day.

    Parameters
    ----------
    path
        Checked by `check_file`.
    study
        What `StudyResult.to_dict` returns.
    performance
        The API's `performance_data`: `dates`, and the cumulative returns of both.
    """
    if path.suffix == ".json":
        _write_json(path, study)
    else:
        write_table(daily_frame(performance), path)


def daily_frame(performance: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Return a row per trading day: date, net, benchmark, cumulative_net, cumulative_benchmark (simple returns, fractions).

    An API gives cumulative returns, so the daily ones are computed from them: equal to the study's own but for the last digits, NaN on
    the days after everything was lost.
    """
    frame = pd.DataFrame({"date": pd.to_datetime(performance["dates"]).astype("datetime64[us]")})
    for name, series in (("net", "portfolio"), ("benchmark", "benchmark")):
        grown = np.asarray(performance[f"{series}_cumulative_returns"], dtype=np.float64)
        wealth = np.concatenate([[1.0], 1.0 + grown])
        with np.errstate(divide="ignore", invalid="ignore"):
            frame[name] = wealth[1:] / wealth[:-1] - 1.0
        frame[f"cumulative_{name}"] = grown
    return frame[["date", "net", "benchmark", "cumulative_net", "cumulative_benchmark"]]


def export_stocks(path: Path, answer: Mapping[str, Any]) -> None:
    """Write the numbers of single stocks: what `stocks --json` prints, or a row per symbol with them."""
    if path.suffix == ".json":
        _write_json(path, answer)
    else:
        rows = [{"symbol": symbol, **numbers} for symbol, numbers in answer["stocks"].items()]
        write_table(pd.DataFrame(rows), path)


def export_sweep(path: Path, result: SweepResult) -> None:
    """Write a sweep: what `sweep --json` prints, or a row per configuration as `SweepResult.to_frame` has them."""
    if path.suffix == ".json":
        _write_json(path, list(result.to_records()))
    else:
        write_table(result.to_frame(), path)


def _write_json(path: Path, content: Any) -> None:
    write_file(path, json.dumps(content, allow_nan=False).encode() + b"\n", durable=False, advice="")
