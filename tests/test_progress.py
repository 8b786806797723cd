"""Progress is shown where somebody looks, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from workbench import progress as module
from workbench.progress import progress

ROOT = Path(__file__).resolve().parent.parent
CODE = """
from workbench.progress import progress
with progress(40, "sweep", "configurations") as tick:
    for _ in range(4):
        tick(10)
"""


def test_a_terminal_gets_a_bar_on_stderr():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    while b"40/40" not in shown:
        shown += os.read(ours, 4096)
    os.close(ours)
    assert b"sweep: 100%" in shown
    assert b" configurations/s" in shown
    assert done.stdout == b""


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(module, "_LOG_SECONDS", 0.2)
    with progress(1000, "sweep", "configurations") as tick:
        for _ in range(50):
            time.sleep(0.01)
            tick(20)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert 2 <= len(lines) <= 4
    assert all(line.startswith("workbench: sweep: ") for line in lines)
    assert lines[-1] == "workbench: sweep: 1,000 of 1,000 configurations after 1 s"


def test_a_log_gets_no_line_of_what_is_quickly_done(capsys: pytest.CaptureFixture[str]):
    with progress(None, "sweep") as tick:
        tick(5)
    assert capsys.readouterr() == ("", "")


def test_an_unknown_total_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(module, "_LOG_SECONDS", 0.0)
    with progress(None, "score", "posts") as tick:
        tick(1500)
    assert capsys.readouterr().err.splitlines()[0] == "workbench: score: 1,500 posts after 0 s"


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(module, "_LOG_SECONDS", 0.0)
    monkeypatch.setenv("WORKBENCH_PROGRESS", "off")
    with progress(3, "sweep") as tick:
        tick(3)
    assert capsys.readouterr() == ("", "")


def outputs(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[Any]:
    """Execute `CODE` in a kernel, as papermill does; return the cell's outputs."""
    from nbclient import NotebookClient

    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    return list(notebook.cells[0].outputs)


def test_lab_gets_a_widget(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ipywidgets")
    shown = outputs(monkeypatch, JPY_SESSION_NAME="my_study.ipynb")
    assert [output.output_type for output in shown] == ["display_data"]
    assert "application/vnd.jupyter.widget-view+json" in shown[0].data


@pytest.mark.parametrize(
    "variables",
    [
        {},  # papermill
        {
            "JPY_SESSION_NAME": "my_study.ipynb",
            "PYTEST_CURRENT_TEST": "my_study.ipynb::Cell 1 (call)",
        },  # nbval from Lab
        {"JPY_SESSION_NAME": "my_study.ipynb", "WORKBENCH_PROGRESS": "off"},  # workbench report from Lab
    ],
)
def test_a_kernel_that_is_no_lab_is_silent(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]):
    assert outputs(monkeypatch, **variables) == []


def test_the_kernels_of_reports_are_told_to_be_silent(tmp_path: Path):
    from workbench.report.jupyter import kernel_environment

    assert kernel_environment(tmp_path)["WORKBENCH_PROGRESS"] == "off"
