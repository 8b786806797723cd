"""From a checked request to the command line of its job.

Enters: a request and its data. Leaves: arguments for `workbench`, and the tables that they name. The command runs in the job's folder,
where tables have the names that clients know: neither a report nor a message shows where they really lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.api.bodies import AnalyzeRequest, SweepRequest
from workbench.api.datasets import Data
from workbench.api.job_files import JSON_ROWS, OUT, ROWS
from workbench.config import StudyConfig
from workbench.errors import ConfigError
from workbench.registry import find_signal
from workbench.sweep.grid import parse_grid, product_grid

LONGEST_GRID = 64 << 10  # characters; a command line's argument has at most twice as many bytes


@dataclass(frozen=True)
class Command:
    """What a job runs: `workbench` and these arguments; `inputs` are the tables by the names in them; `total` configurations."""

    kind: str
    arguments: tuple[str, ...]
    inputs: Mapping[str, Path]
    total: int | None = None


def sweep_command(request: SweepRequest, data: Data, engine: str, most: int) -> Command:
    """Return the command of a sweep.

    Raises
    ------
    ConfigError
        The grid is wrong, has too many rows, or names a field that the request gives too.
    """
    config = _study(request)
    text = request.grid if isinstance(request.grid, str) else _grid_text(request.grid)
    if len(text) > LONGEST_GRID or not text.isprintable():
        raise ConfigError(f"the grid must be printable text of at most {LONGEST_GRID:,} characters, got {len(text):,}")
    axes = parse_grid(text)
    for name in axes:
        if name in request.model_fields_set:
            raise ConfigError(f"{name} must be a field or in the grid, got both")
    for signal in axes.get("signal", ()):
        find_signal(signal)
    rows = product_grid(axes, config)
    if isinstance(request.grid, dict) and product_grid(request.grid, config).grid_id != rows.grid_id:
        raise ConfigError(
            "the grid must hold values that can be written as text, got others; give it as top_n=3,5;cost_bps=0,10"
        )
    if len(rows) > most:
        raise ConfigError(f"a sweep must have at most {most:,} configurations, got {len(rows):,}; cut the grid")
    own = (f"--grid={text}", f"--out={ROWS}", *(("--json",) if len(rows) <= JSON_ROWS else ()))
    return Command("sweep", ("sweep", *own, *_shared(config, data, engine)), _inputs(data), len(rows))


def report_command(request: AnalyzeRequest, data: Data, engine: str) -> Command:
    """Return the command of a report."""
    return Command("report", ("report", f"--out={OUT}", *_shared(_study(request), data, engine)), _inputs(data))


def _study(request: AnalyzeRequest) -> StudyConfig:
    """Return the configuration of a request; ConfigError where its signal is unknown, which a job would say too late."""
    config = request.study()
    find_signal(config.signal)
    return config


def _shared(config: StudyConfig, data: Data, engine: str) -> list[str]:
    # No url: a job is done here, whatever WORKBENCH_URL the server was started with.
    options: dict[str, Any] = {
        "url": "",
        "sentiment": data.sentiment.name,
        "benchmark": data.benchmark,
        "engine": engine,
    }
    if data.prices is not None:
        options["prices"] = data.prices.name
    options |= {name: value for name in ("start", "end") if (value := getattr(data, name)) is not None}
    if data.columns:
        options["columns"] = ",".join(f"{name}={own}" for name, own in data.columns)
    default = StudyConfig().to_dict()
    options |= {name: value for name, value in config.to_dict().items() if value != default[name]}
    if data.allow_mixed_data:
        options["allow_mixed_data"] = True
    return [_option(name.replace("_", "-"), value) for name, value in options.items()]


def _option(flag: str, value: Any) -> str:
    """Return one option; a value that begins with a dash is a value all the same."""
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    if isinstance(value, list):
        if any("," in symbol or symbol != symbol.strip() for symbol in value):
            raise ConfigError("exclude must hold symbols without commas and outer blanks for a job, got others")
        return f"--{flag}={','.join(value)}"
    return f"--{flag}={value!r}" if isinstance(value, float) else f"--{flag}={value}"


def _inputs(data: Data) -> dict[str, Path]:
    tables = [data.sentiment, *([data.prices] if data.prices else [])]
    return {table.name: table.path for table in tables if table.path is not None}


def _grid_text(axes: Mapping[str, Any]) -> str:
    """Return a grid as the command line has it."""
    return ";".join(
        f"{name}={','.join(map(_value, given if isinstance(given, list) else [given]))}" for name, given in axes.items()
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
