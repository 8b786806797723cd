"""The committed notebooks: thin, told as a story, executed, and still giving what they show."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.config import StudyConfig
from workbench.report.parameters import notebook_parameters
from workbench.report.verify import verify_report

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
STORY = ("01_data_quality", "02_signal", "03_backtest", "04_parameter_sweep", "05_ray_scaling")
DATA = {"sentiment", "prices", "benchmark", "start", "end", "columns", "allow_mixed_data"}
OWN = {"engine", "grid", "slow_grid", "fast_grid", "most_workers"}
MOST_LINES = 8


def cells_of(name: str, kind: str) -> list[dict[str, Any]]:
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    return [cell | {"text": "".join(cell["source"])} for cell in cells if cell["cell_type"] == kind]


def is_parameters(cell: dict[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def test_the_notebooks_are_there() -> None:
    assert set(NOTEBOOKS) == {f"{name}.ipynb" for name in (*STORY, "portfolio_report")}


def test_each_notebook_says_where_it_stands_in_the_story() -> None:
    for place, name in enumerate(STORY):
        line = cells_of(f"{name}.ipynb", "markdown")[0]["text"].splitlines()[-1]
        assert line.startswith(f"*{place + 1} of {len(STORY)}")
        assert [f"`{other}`" in line for other in STORY] == [abs(place - at) == 1 for at, _ in enumerate(STORY)]
    last = cells_of("portfolio_report.ipynb", "markdown")[0]["text"].splitlines()[-1]
    assert f"`{STORY[0]}`" in last and f"`{STORY[-1]}`" in last


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_code_cell_is_executed_and_none_failed(name: str) -> None:
    for cell in cells_of(name, "code"):
        assert cell["execution_count"] is not None, cell["text"]
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", output


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_parameters_are_fields_of_a_study_with_their_types_and_defaults(name: str) -> None:
    fields = StudyConfig.model_fields
    found = notebook_parameters(FOLDER / name)
    assert set(found) <= set(fields) | DATA | OWN
    assert set(found) >= DATA | {"engine"}
    source = next(cell["text"] for cell in cells_of(name, "code") if is_parameters(cell))
    for statement in ast.parse(source).body:
        assert isinstance(statement, ast.AnnAssign), "every parameter has a type"
        assert isinstance(statement.target, ast.Name)
        assert statement.value is not None
        field = fields.get(statement.target.id)
        if field is not None:
            value = ast.literal_eval(statement.value)
            assert getattr(StudyConfig(**{statement.target.id: value}), statement.target.id) == field.default
            assert type(value).__name__ == ast.unparse(statement.annotation)
    assert all("  # " in line for line in source.splitlines()), "every parameter has a comment"


def test_the_report_takes_every_parameter_of_a_study() -> None:
    assert set(notebook_parameters(FOLDER / "portfolio_report.ipynb")) == set(StudyConfig.model_fields) | DATA | {
        "engine"
    }


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_thin(name: str) -> None:
    for cell in cells_of(name, "code"):
        if is_parameters(cell):
            continue
        lines = [line for line in cell["text"].splitlines() if line.strip()]
        assert len(lines) <= MOST_LINES, cell["text"]
        kinds = {type(node) for node in ast.walk(ast.parse(cell["text"]))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_ask_a_question_and_end_with_what_they_do_not_show(name: str) -> None:
    prose = [cell["text"] for cell in cells_of(name, "markdown")]
    assert prose[0].startswith("# ")
    assert prose[0].splitlines()[0].endswith("?")
    assert any(text.startswith("## What this does not show") for text in prose)
    assert "nbval-check-output" in cells_of(name, "code")[-1]["metadata"]["tags"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_still_give_what_they_show(name: str) -> None:
    verification = verify_report(FOLDER / name)
    assert verification.problems == ()
    assert verification.n_cells == len(cells_of(name, "code"))


def test_plain_papermill_renders_the_report_from_any_folder(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "WORKBENCH_PROJECT"}
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(FOLDER / "portfolio_report.ipynb"),
        "out.ipynb",
        "-p",
        "top_n",
        "10",
    ]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=180)
    last = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"][-1]
    summary = json.loads("".join(last["outputs"][0]["text"]))
    assert summary["n_periods"] > 30
    assert summary["n_symbols"] > 10
