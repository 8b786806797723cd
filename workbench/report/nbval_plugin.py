"""A pytest plugin that writes down what nbval says of each cell, for `verify` to put into words.

Enters: an nbval run, and the name of a file in WORKBENCH_NBVAL_RESULTS. Leaves: that file, JSON, a list with one entry per code cell: its
position among them, pytest's outcome, and where outputs differ, the lines stored and the lines computed now.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

# Before nbval, which imports nbformat: pytest loads the plugins named with -p in their order.
import workbench.report.jupyter  # noqa: F401

# isort: split
import pytest

RESULTS = "WORKBENCH_NBVAL_RESULTS"
_NOT_COMPARED = ("image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json")
_records: list[dict[str, Any]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what became of a cell."""
    report = yield
    if call.when == "call" or report.failed:
        cell, computed = getattr(item, "cell", {}), getattr(item, "test_outputs", None)
        error = call.excinfo.value if call.excinfo else None
        _records.append(
            {
                "position": getattr(item, "cell_num", -1),
                "outcome": report.outcome,
                "error": "" if error is None else str(error),
                "raised": _raised(computed or []),
                "differences": differences(cell.get("outputs", []), computed) if error and computed is not None else [],
            }
        )
    return report


def pytest_sessionfinish() -> None:
    """Write the file."""
    if RESULTS in os.environ:
        Path(os.environ[RESULTS]).write_text(json.dumps(_records), encoding="utf-8")


def _raised(outputs: Iterable[Mapping[str, Any]]) -> str:
    """Return the exception that a cell raised, in one line."""
    errors = [f"{output['ename']}: {output['evalue']}" for output in outputs if output["output_type"] == "error"]
    return errors[0].split("\n")[0] if errors else ""


def differences(
    stored: Iterable[Mapping[str, Any]], computed: Iterable[Mapping[str, Any]]
) -> list[tuple[str, str, str]]:
    """Return (what, stored, now) for the first difference of each kind of output: the line for text, a word for the rest."""
    before, after = _by_kind(stored), _by_kind(computed)
    found = []
    for kind in dict.fromkeys([*before, *after]):
        old, new = before.get(kind, ""), after.get(kind, "")
        if old == new:
            continue
        if kind in ("stdout", "stderr", "text/plain"):
            found.append((kind, *_first_line(old, new)))
        else:
            found.append((kind, "" if old else "(nothing)", "" if new else "(nothing)"))
    return found


def _by_kind(outputs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return all outputs of each kind as one text; what nbval does not compare is left out."""
    texts: dict[str, str] = {}
    for output in outputs:
        parts = {output["name"]: output["text"]} if output["output_type"] == "stream" else output.get("data", {})
        for kind, content in parts.items():
            if kind not in _NOT_COMPARED:
                text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
                texts[kind] = texts.get(kind, "") + text
    return texts


def _first_line(old: str, new: str) -> tuple[str, str]:
    """Return the first lines that differ."""
    for before, after in zip_longest(old.splitlines(), new.splitlines(), fillvalue=""):
        if before != after:
            return before or "(nothing)", after or "(nothing)"
    return "(other line ends)", "(other line ends)"
