"""Small notebooks and one report that several tests look at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_market import write_small_market

from workbench.report.run import ReportRun, run_report

PARAMETERS = """sentiment: str = "sentiment_data.csv"  # the table
prices: str | None = None
columns: str | None = None
top_n: int = 2
exclude: str = ""
cost_bps: float = 10.0
drift: bool = True
execution_lag: int = 1
label: str = "mine"  # a parameter that the workbench does not know
"""
LOAD = "from workbench import StudyConfig, load_market, run_study\nmarket = load_market(sentiment, prices, columns=columns)"
STUDY = "study = run_study(StudyConfig.from_names(globals()), market)\nprint(label, round(study.summary['total_return'], 10))"


def write_notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    """Write a notebook: its `parameters` cell, then code cells; a cell that begins with `#md ` is prose."""
    tagged = {"cell_type": "code", "id": "p", "metadata": {"tags": ["parameters"]}, "source": parameters}
    content = [tagged | {"execution_count": None, "outputs": []}]
    for number, text in enumerate(cells):
        cell = {"id": f"c{number}", "metadata": {}, "source": text.removeprefix("#md ")}
        if text.startswith("#md "):
            content.append(cell | {"cell_type": "markdown"})
        else:
            content.append(cell | {"cell_type": "code", "execution_count": None, "outputs": []})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path.write_text(
        json.dumps({"cells": content, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )
    return path


@pytest.fixture(scope="session")
def notebook_writer() -> Callable[..., Path]:
    return write_notebook


@pytest.fixture(scope="session")
def small_market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def small_report(tmp_path_factory: pytest.TempPathFactory, small_market: tuple[Path, Path]) -> ReportRun:
    """Return a report of two short cells on the small market, made once."""
    folder = tmp_path_factory.mktemp("small report")
    notebook = write_notebook(folder / "short.ipynb", LOAD, "#md ## The *study*", STUDY)
    sentiment, prices = small_market
    return run_report(notebook, {"sentiment": str(sentiment), "prices": str(prices), "top_n": "3"}, folder / "out")
