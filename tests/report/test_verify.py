"""`verify` finds what has changed, and does not pass where nothing was compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.errors import ConfigError, DataError
from workbench.report import verify as module
from workbench.report.jupyter import kernel_environment
from workbench.report.nbval_plugin import differences
from workbench.report.run import ReportRun, run_report
from workbench.report.verify import verify_report


def not_again(*arguments: object) -> list[dict[str, object]]:
    raise AssertionError("the cells were executed again")


def edited(run: ReportRun, target: Path, change) -> Path:
    """Copy a report's notebook with one change to its JSON."""
    content = json.loads(run.ipynb.read_text())
    change(content)
    target.write_text(json.dumps(content))
    return target


def code_cells(content: dict) -> list[dict]:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def test_a_report_holds_wherever_it_is_moved_to(small_report: ReportRun, tmp_path: Path, monkeypatch, capfd):
    moved = shutil.copy(small_report.ipynb, tmp_path / "moved.ipynb")
    monkeypatch.chdir(tmp_path)
    verification = verify_report("moved.ipynb")
    assert verification.ok and verification.problems == () and verification.notes == ()
    assert verification.n_cells == len(code_cells(json.loads(Path(moved).read_text()))) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["moved.ipynb"]
    assert capfd.readouterr() == ("", "")


def test_an_output_and_an_input_that_changed_are_both_named(small_report: ReportRun, tmp_path: Path):
    def change(content: dict) -> None:
        (output,) = code_cells(content)[-1]["outputs"]
        output["text"] = "mine 0.5\n"
        content["metadata"]["workbench"]["inputs"][0]["sha256"] = "0" * 64

    verification = verify_report(edited(small_report, tmp_path / "edited.ipynb", change))
    assert not verification.ok
    hash_line, cell_lines = verification.problems
    assert hash_line.startswith("sentiment has changed: ") and "the report 000000000000" in hash_line
    first, kind, stored, now = cell_lines.split("\n")
    assert first == "cell 4 (study = run_study(StudyConfig.from_names(global...) differs"
    assert (kind.strip(), stored) == ("stdout", "    stored mine 0.5")
    assert now.startswith("    now    mine ")


def test_frames_beside_a_moved_report_are_found_and_missing_ones_named(
    small_report: ReportRun, tmp_path: Path, notebook_writer, small_market, monkeypatch
):
    """The stored path is the old one; the file lies beside the report now."""
    sentiment, prices = small_market
    monkeypatch.setattr("workbench.market.files._download", lambda address, shown: sentiment.read_bytes())
    notebook = notebook_writer(
        tmp_path / "n.ipynb",
        "from workbench import load_market\nprint(len(load_market(sentiment, prices).sentiment.frame))",
    )
    run = run_report(notebook, {"sentiment": "https://example.org/a.csv", "prices": str(prices)}, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    moved = tmp_path / "new" / run.ipynb.name
    assert verify_report(moved).ok
    monkeypatch.setattr(module, "_execute", not_again)
    shutil.rmtree(tmp_path / "new" / f"{run.html.stem}-inputs")
    verification = verify_report(moved)
    assert not verification.ok
    assert verification.problems[0].startswith("sentiment is missing: ")


def test_a_cell_that_was_never_executed_does_not_pass(small_report: ReportRun, tmp_path: Path, monkeypatch):
    def strip(content: dict) -> None:
        for cell in code_cells(content):
            cell["outputs"], cell["execution_count"] = [], None

    monkeypatch.setattr(module, "_execute", not_again)
    verification = verify_report(edited(small_report, tmp_path / "stripped.ipynb", strip))
    assert len(verification.problems) == 4
    assert verification.problems[0] == "cell 1 was never executed: there is nothing to compare with"


def test_the_report_of_a_failure_does_not_hold(small_report: ReportRun, tmp_path: Path, monkeypatch):
    def fail(content: dict) -> None:
        content["metadata"]["workbench"] |= {"status": "failed", "failure": {"cell": 3, "error_name": "KeyError"}}

    monkeypatch.setattr(module, "_execute", not_again)
    verification = verify_report(edited(small_report, tmp_path / "failed.ipynb", fail))
    assert verification.problems == ("the report itself failed: cell 3 stopped with KeyError",)


def test_what_papermill_alone_made_is_checked_without_hashes(
    tmp_path: Path, notebook_writer, small_market, monkeypatch
):
    """A relative input is found in the current folder, although nbval runs the notebook elsewhere."""
    for path in small_market:
        shutil.copy(path, tmp_path)
    cells = ("from workbench import load_market\nprint(len(load_market(sentiment, prices).sentiment.frame))", "{}['x']")
    notebook = notebook_writer(tmp_path / "n.ipynb", cells[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(module.__file__).parents[2]))
    command = [
        sys.executable,
        "-m",
        "papermill",
        notebook.name,
        "raw.ipynb",
        "-p",
        "sentiment",
        "posts.csv",
        "-p",
        "prices",
        "closes.csv",
    ]
    subprocess.run([*command, "--no-progress-bar"], check=True, capture_output=True)
    verification = verify_report("raw.ipynb")
    assert verification.ok
    assert verification.notes == ("it stores no hashes of its inputs: it was not made with `workbench report`",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ipynb", "not json", "must be a Jupyter notebook"),
        ("a.ipynb", '{"cells": [], "metadata": {}}', "has no code to execute"),
        ("a.ipynb", None, "no such file"),
        ("a.html", "<p>", "name .*a.ipynb"),
    ],
)
def test_a_file_that_is_no_report_is_the_users_mistake(tmp_path: Path, name: str, content: str | None, message: str):
    if content is not None:
        (tmp_path / name).write_text(content)
    if name.endswith(".html"):
        (tmp_path / "a.ipynb").write_text("{}")
    with pytest.raises(DataError, match=message):
        verify_report(tmp_path / name)


@pytest.mark.parametrize("inputs", [5, [{}], [5], [{"role": "x", "name": "", "path": "", "sha256": ""}]])
def test_metadata_that_cannot_be_read_are_no_traceback(small_report: ReportRun, tmp_path: Path, inputs: object):
    def change(content: dict) -> None:
        content["metadata"]["workbench"]["inputs"] = inputs

    with pytest.raises(DataError, match="metadata name"):
        verify_report(edited(small_report, tmp_path / "odd.ipynb", change))


PLUGIN = """from workbench import register_signal
register_signal("likes_per_post", lambda table: table["twitterLikes"] / table["twitterPosts"], version="1")
"""


def test_a_report_made_with_a_plugin_on_a_relative_path_holds_and_is_refused_where_that_is_missing(
    tmp_path: Path, notebook_writer, small_market, small_report: ReportRun
):
    """In processes, as an import of the plugin stays for as long as its process."""
    cell = (
        "from workbench import StudyConfig, load_market, run_study\n"
        "print(run_study(StudyConfig(signal=signal, top_n=2), load_market(sentiment, prices)).selection)"
    )
    parameters = 'sentiment: str = "a"\nprices: str | None = None\nsignal: str = "engagement_ratio"\ntop_n: int = 2'
    notebook_writer(tmp_path / "n.ipynb", cell, parameters=parameters)
    (tmp_path / "my_signals.py").write_text(PLUGIN)
    command = Path(sys.executable).with_name("workbench")
    if not command.is_file():
        pytest.skip("the workbench is not installed as a command: the current folder is on the path in any case")
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "WORKBENCH_PLUGINS")}
    named = plain | {"WORKBENCH_PLUGINS": "my_signals"}

    def call(*arguments: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        line = [str(command), *map(str, arguments)]
        return subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)

    options = ("--sentiment", small_market[0], "--prices", small_market[1], "--signal", "likes_per_post", "-o", "out")
    made = call("report", "--notebook", "n.ipynb", *options, env=named | {"PYTHONPATH": "."})
    assert (made.returncode, made.stderr) == (0, "")
    report = Path(made.stdout.strip()).with_suffix(".ipynb")
    about = json.loads(report.read_text())["metadata"]["workbench"]
    assert (
        about["plugins"] == json.loads(report.with_suffix(".json").read_text())["report"]["plugins"] == ["my_signals"]
    )
    assert json.loads(small_report.json.read_text())["report"]["plugins"] == []
    for path in (".", f"nowhere{os.pathsep}"):  # an empty entry is the current folder
        held = call("verify", report, env=named | {"PYTHONPATH": path})
        assert (held.returncode, held.stderr) == (0, ""), held.stdout
    unnamed, lost = call("verify", report, env=plain | {"PYTHONPATH": "."}), call("verify", report, env=named)
    for done, way in (
        (unnamed, "set WORKBENCH_PLUGINS=my_signals\n"),
        (lost, "set PYTHONPATH to the folder it lies in\n"),
    ):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.endswith(way)


def test_plugins_of_a_report_are_asked_for_beside_those_that_are_set(
    small_report: ReportRun, tmp_path: Path, monkeypatch
):
    def change(content: dict) -> None:
        content["metadata"]["workbench"]["plugins"] = ["one", "two"]

    monkeypatch.setattr(module, "_execute", not_again)
    monkeypatch.setenv("WORKBENCH_PLUGINS", "three, one")
    path = edited(small_report, tmp_path / "plugins.ipynb", change)
    with pytest.raises(ConfigError, match=r"made with, one, two, got three, one; set WORKBENCH_PLUGINS=one,two,three$"):
        verify_report(path)


def test_a_kernel_in_another_folder_finds_what_a_relative_path_names(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["lib", "", "/absolute"]))
    entries = kernel_environment(tmp_path)["PYTHONPATH"].split(os.pathsep)
    given = [str(tmp_path / "lib"), str(tmp_path), "/absolute"]
    assert [entry for entry in entries if entry in given] == given
    assert all(map(os.path.isabs, entries))


def text(content: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": content}


def data(**content: object) -> dict:
    return {"output_type": "display_data", "data": {name.replace("_", "/"): value for name, value in content.items()}}


@pytest.mark.parametrize(
    ("stored", "computed", "found"),
    [
        ([text("a\nb\nc")], [text("a\nB\nc")], [("stdout", "b", "B")]),
        ([text("a\n")], [text("a\nb\n")], [("stdout", "(nothing)", "b")]),
        ([text("a")], [], [("stdout", "a", "(nothing)")]),
        ([text("a")], [text("a"), text("warned", "stderr")], [("stderr", "(nothing)", "warned")]),
        ([data(text_html="<b>1")], [data(text_html="<b>2")], [("text/html", "", "")]),
        ([data(figure={"x": 1})], [data(figure={"x": 1})], []),
        ([data(figure={"x": 1})], [], [("figure", "", "(nothing)")]),
        ([data(image_png="a")], [data(image_png="b")], []),
    ],
)
def test_differences_show_the_first_line_of_each_kind(stored, computed, found):
    assert differences(stored, computed) == found
