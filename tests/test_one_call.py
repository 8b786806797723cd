"""Python, the command line and the notebook reach the one call: the same numbers from all of them."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from small_market import write_small_market

from workbench import StudyConfig, cli, load_market, run_study
from workbench.report import tables
from workbench.report.run import run_report

KNOBS = {
    "top_n": 2,
    "cost_bps": 25.0,
    "execution_lag": 2,
    "weighting": "signal",
    "drift": False,
    "exclude": "CCC",
    "seed": 3,
}


@pytest.fixture(scope="module")
def market_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    sentiment, prices = write_small_market(tmp_path_factory.mktemp("market"))
    return {"sentiment": str(sentiment), "prices": str(prices)}


def test_python_command_line_and_notebook_give_the_same(market_files: dict[str, str], tmp_path: Path, capfd):
    study = run_study(StudyConfig(**KNOBS), load_market(**market_files))
    expected = json.loads(json.dumps(study.to_dict()))

    values = {name.replace("_", "-"): value for name, value in (KNOBS | market_files).items() if name != "drift"}
    options = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    assert cli.run(["backtest", "--json", "--no-drift", *options]) == 0
    assert json.loads(capfd.readouterr().out) == expected

    run = run_report("portfolio_report", KNOBS | market_files, tmp_path)
    assert run.failure is None
    content = json.loads(run.json.read_text())
    assert {name: content[name] for name in expected} == expected

    (checked,) = [
        cell
        for cell in nbformat.read(run.ipynb, as_version=4).cells
        if "nbval-check-output" in cell.metadata.get("tags", [])
    ]
    assert "".join(output.text for output in checked.outputs).strip() == str(tables.check(study)).strip()
