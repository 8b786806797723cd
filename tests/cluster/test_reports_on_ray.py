"""Reports made by Ray's workers are the ones that a loop makes, and what kills a worker or a kernel stays one report's matter."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from small_market import write_small_market

from workbench.report.batch import run_matrix
from workbench.report.matrix import read_matrix
from workbench.report.run import run_report

PARAMETERS = """sentiment: str = "sentiment_data.csv"
prices: str | None = None
top_n: int = 2
label: str = "" """
DEEDS = """import os
if label == "kill the kernel": os.kill(os.getpid(), 9)
if label.startswith("/") and not os.path.exists(label):  # the first time only
    open(label, "w").close()
    os.kill(os.getppid(), 9)"""
STUDY = """from workbench import StudyConfig, load_market, run_study
study = run_study(StudyConfig.from_names(globals()), load_market(sentiment, prices))
print(round(study.summary["total_return"], 12), os.getcwd())"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell(text) for text in (PARAMETERS, DEEDS, STUDY)]
    cells[0].metadata["tags"] = ["parameters"]
    path = tmp_path / "short.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have a temporary folder of our own, near the root: the path of a socket is short."""
    with tempfile.TemporaryDirectory(prefix="wb-") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def outputs(path: Path) -> list[Any]:
    """Return the outputs of a notebook's cells."""
    return [cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells]


def test_reports_on_ray_are_those_of_a_loop_and_each_has_its_own_end(
    engine, notebook: Path, kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_small_market(tmp_path)
    monkeypatch.chdir(tmp_path)  # after Ray's workers were started: relative names are this process's all the same
    (tmp_path / "m.yaml").write_text(
        f"""defaults: {{sentiment: posts.csv, prices: closes.csv}}
studies:
  one: {{top_n: 1}}
  a worker dies once: {{top_n: 3, label: {tmp_path / "mark"}}}
  a kernel dies: {{label: kill the kernel}}
  refused: {{top_n: 5}}
"""
    )
    batch = run_matrix(read_matrix("m.yaml", notebook=notebook), "out", engine)
    assert [entry.status for entry in batch.entries] == ["done", "done", "failed", "failed"]
    assert "killed by SIGKILL" in batch.entries[2].reason and "between 1 and 4" in batch.entries[3].reason
    single = run_report(notebook, {"sentiment": "posts.csv", "prices": "closes.csv", "top_n": 1}, "single")
    assert outputs(single.ipynb) == outputs(tmp_path / "out" / single.ipynb.name)
    assert json.loads((tmp_path / "out" / "index.json").read_text())["engine"]["engine"] == "ray"
    environments = [process.info["environ"] or {} for process in psutil.process_iter(["environ"])]
    assert not [one for one in environments if one.get("IPYTHONDIR", "").startswith(f"{kernels}{os.sep}")]
    assert list(kernels.iterdir()) == []
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]
