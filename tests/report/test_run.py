"""A report is whole or not there, a mistake costs no kernel, and a failure is readable."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from small_market import prices_frame, sentiment_frame

from workbench import StudyConfig, load_market, run_study
from workbench.errors import CheckError, ConfigError, DataError, UnavailableError
from workbench.report import run as run_module
from workbench.report import store
from workbench.report.inputs import sha256_of
from workbench.report.jupyter import kernel_environment
from workbench.report.parameters import find_notebook
from workbench.report.run import ReportRun, render_report, run_report
from workbench.report.store import report_name

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = {"config", "summary", "selection", "weights", "pending", "losses", "published", "provenance"}


def outputs(run: ReportRun) -> str:
    """Return everything that the cells printed."""
    notebook = nbformat.read(run.ipynb, as_version=4)
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def no_kernel(*arguments: object, **options: object) -> None:
    raise AssertionError("a kernel was started")


# ---- a report that is done ---------------------------------------------------------------------------------------------


def test_three_files_lie_side_by_side_and_nothing_else(small_report: ReportRun):
    assert small_report.status == "done" and small_report.failure is None
    stem = small_report.html.stem
    assert re.fullmatch(r"short-engagement_ratio-top3-monthly-[0-9a-f]{8}", stem)
    assert sorted(path.name for path in small_report.html.parent.iterdir()) == [
        f"{stem}{s}" for s in (".html", ".ipynb", ".json")
    ]


def test_the_json_file_is_the_one_call(small_report: ReportRun, small_market: tuple[Path, Path]):
    content = json.loads(small_report.json.read_text())
    expected = run_study(StudyConfig(top_n=3), load_market(*map(str, small_market))).to_dict()
    assert set(content) == CONTRACT | {"report"}
    assert {name: content[name] for name in CONTRACT} == json.loads(json.dumps(expected))
    assert content["report"]["status"] == "done"
    assert content["report"]["duration_seconds"] > 0


def test_the_notebook_ran_with_these_parameters_and_stores_what_it_read(
    small_report: ReportRun, small_market: tuple[Path, Path]
):
    notebook = nbformat.read(small_report.ipynb, as_version=4)
    total = json.loads(small_report.json.read_text())["summary"]["total_return"]
    assert outputs(small_report) == f"mine {round(total, 10)}\n"
    about = notebook.metadata["workbench"]
    assert about["parameters"]["top_n"] == 3 and about["status"] == "done"
    assert [(item["role"], item["path"], item["sha256"]) for item in about["inputs"]] == [
        (role, str(path), sha256_of(path)) for role, path in zip(("sentiment", "prices"), small_market, strict=True)
    ]
    assert notebook.metadata["papermill"]["output_path"] == str(small_report.ipynb)


def test_only_what_was_given_and_the_inputs_are_injected(small_report: ReportRun):
    notebook = nbformat.read(small_report.ipynb, as_version=4)
    (injected,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    names = [line.split(" = ")[0] for line in injected.source.splitlines() if " = " in line]
    assert sorted(names) == ["prices", "sentiment", "top_n"]


def test_the_page_has_the_title_of_the_study(small_report: ReportRun):
    assert "<title>Top 3 by engagement_ratio, monthly, equal weights (short)</title>" in small_report.html.read_text()


# ---- names -------------------------------------------------------------------------------------------------------------


def test_a_name_warns_of_look_ahead_and_of_simulated_data(small_market: tuple[Path, Path]):
    notebook, real = find_notebook("portfolio_report"), load_market(*map(str, small_market))
    assert report_name(notebook, {}, StudyConfig(execution_lag=0), real).startswith("look-ahead-portfolio_report-")
    simulated = load_market(ROOT / "sentiment_data.csv")
    assert report_name(notebook, {}, StudyConfig(), simulated).startswith("simulated-portfolio_report-")
    mixed = load_market(sentiment_frame(), "simulated", benchmark="SIMIDX", allow_mixed=True)
    assert report_name(notebook, {}, StudyConfig(execution_lag=0), mixed).startswith(
        "look-ahead-mixed-portfolio_report"
    )


def test_a_name_depends_on_parameters_and_data_and_not_on_where_they_lie(
    small_market: tuple[Path, Path], tmp_path: Path
):
    notebook, config, market = find_notebook("03_backtest"), StudyConfig(), load_market(*map(str, small_market))
    name = report_name(notebook, {"sentiment": "a", "end": None}, config, market)
    assert name == report_name(notebook, {"sentiment": "b", "end": None}, config, market)
    others = [
        report_name(notebook, {"end": "2022-03-01"}, config, market),
        report_name(notebook, {"end": None}, StudyConfig(cost_bps=3), market),
        report_name(notebook, {"end": None}, config, load_market(sentiment_frame().iloc[:-1], prices_frame())),
        report_name(find_notebook("01_data_quality"), {"end": None}, config, market),
    ]
    assert len({name, *others}) == 5


# ---- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"topn": 3}, ConfigError, "did you mean top_n"),
        ({"top_n": 0}, ConfigError, "at least 1"),
        ({"top_n": 5}, ConfigError, "between 1 and 4"),
        ({"sentiment": "no such.csv"}, DataError, "no such file"),
        ({"prices": None}, DataError, "prices must be given"),
        ({"columns": "likes"}, ConfigError, "columns must be like"),
    ],
)
def test_wrong_input_starts_no_kernel_and_leaves_no_file(
    monkeypatch, tmp_path: Path, notebook_writer, small_market, parameters, error, message
):
    monkeypatch.setattr("workbench.report.kernel.execute", no_kernel)
    sentiment, prices = map(str, small_market)
    notebook = notebook_writer(tmp_path / "n.ipynb", "print(1)")
    with pytest.raises(error, match=message):
        run_report(notebook, {"sentiment": sentiment, "prices": prices} | parameters, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["file", "a\0zero byte", "half a character \ud800", "~nobody-of-this-name/reports"])
def test_an_output_folder_that_cannot_be_written_is_found_first(
    name: str, monkeypatch, tmp_path: Path, notebook_writer
):
    monkeypatch.setattr("workbench.report.kernel.execute", no_kernel)
    (tmp_path / "file").write_text("")
    out = name if name.startswith("~") else tmp_path / name
    with pytest.raises(ConfigError, match="name another with -o"):
        run_report(notebook_writer(tmp_path / "n.ipynb", parameters="x: int = 1"), {}, out)


# ---- failures ----------------------------------------------------------------------------------------------------------


def test_a_failing_cell_yields_a_page_that_names_it_and_spares_the_good_report(
    tmp_path: Path, notebook_writer, monkeypatch, capfd
):
    cells = (
        "#md # Title",
        "print('before')",
        "#md ## Where it breaks",
        "import os\nif os.environ.get('BREAK'): 1 / 0",
        "print(2)",
    )
    notebook = notebook_writer(tmp_path / "n.ipynb", *cells, parameters="x: int = 1")
    good = run_report(notebook, {"x": 2}, tmp_path / "out")
    content = good.html.read_bytes()
    monkeypatch.setenv("BREAK", "1")
    failed = run_report(notebook, {"x": 2}, tmp_path / "out")
    assert failed.status == "failed" and failed.html.stem == f"{good.html.stem}-failed"
    assert (failed.failure.cell, failed.failure.heading) == (4, "Where it breaks")
    assert str(failed.failure) == 'cell 4 ("Where it breaks") stopped with ZeroDivisionError: division by zero'
    page = failed.html.read_text()
    top = page[page.index("<main") : page.index("before")]
    assert "ZeroDivisionError" in top and "Where it breaks" in top
    assert json.loads(failed.json.read_text())["report"]["failure"]["error_name"] == "ZeroDivisionError"
    assert good.html.read_bytes() == content
    statuses = [
        cell.metadata.papermill.status for cell in nbformat.read(failed.ipynb, 4).cells if cell.cell_type == "code"
    ]
    assert statuses == ["completed", "completed", "completed", "failed", "pending"]
    assert capfd.readouterr() == ("", ""), "the kernel's warnings must not reach the user"


@pytest.mark.parametrize(
    ("cell", "name", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "DeadKernelError", "killed by SIGKILL"),
        ("import time; time.sleep(60)", "CellTimeoutError", "the cell took longer than 1 s"),
        ("raise SystemExit(0)", "SystemExit", "ended itself before its last cell"),
    ],
)
def test_other_ends_are_failures_too(tmp_path: Path, notebook_writer, cell: str, name: str, message: str, capfd):
    notebook = notebook_writer(tmp_path / "n.ipynb", cell, "print('never')", parameters="x: int = 1")
    run = run_report(notebook, {}, tmp_path / "out", cell_timeout=1 if "Timeout" in name else 60)
    assert run.status == "failed"
    assert (run.failure.cell, run.failure.error_name) == (2, name)
    assert message in run.failure.message
    assert name in run.html.read_text()
    assert capfd.readouterr() == ("", "")


def test_a_kernel_that_cannot_start_is_not_the_users_mistake(tmp_path: Path, notebook_writer, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(UnavailableError, match="no kernel could be started"):
        run_report(notebook_writer(tmp_path / "n.ipynb", parameters="x: int = 1"), {}, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_neither_kernel_nor_file(tmp_path: Path, notebook_writer, number: signal.Signals):
    mark = tmp_path / "pid"
    cell = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(120)"
    notebook = notebook_writer(tmp_path / "n.ipynb", cell, parameters="x: int = 1")
    command = [sys.executable, "-m", "workbench", "report", "--notebook", str(notebook), "-o", str(tmp_path / "out")]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while not (mark.exists() and mark.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        started.send_signal(number)
        out, err = started.communicate(timeout=30)
    finally:
        started.kill()
    assert (started.returncode, out, err) == (128 + number, b"", b"")
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert not list((tmp_path / "out").iterdir())


# ---- files -------------------------------------------------------------------------------------------------------------


def test_nothing_half_written_is_left_when_the_disk_fills(monkeypatch, tmp_path: Path):
    def full(path: Path, *arguments: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with store.scratch_folder(tmp_path) as scratch, pytest.raises(UnavailableError, match="No space left on device"):
        store.publish(scratch, tmp_path, "name", {".json": "{}", ".ipynb": "{}", ".html": "<p>"})
    assert not list(tmp_path.iterdir())


def test_the_page_appears_last(monkeypatch, tmp_path: Path):
    order: list[str] = []
    monkeypatch.setattr(store.os, "replace", lambda source, target: order.append(Path(target).suffix))
    with store.scratch_folder(tmp_path) as scratch:
        store.publish(scratch, tmp_path, "name", {".html": "<p>", ".json": "{}", ".ipynb": "{}"})
    assert order[-1] == ".html" and len(order) == 3


def test_leftovers_of_killed_runs_are_removed_after_a_day_and_not_before(tmp_path: Path):
    old, new = tmp_path / ".workbench-old", tmp_path / ".workbench-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "run.ipynb").write_text("")
    os.utime(old, (time.time() - 90_000,) * 2)
    with store.scratch_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [new.name]


# ---- markets that are no files -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def memory_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    posts = sentiment_frame().rename(columns={"twitterLikes": "favourites"})
    market = load_market(posts, prices_frame(), columns={"likes": "favourites"}, start="2022-01-05")
    return render_report(StudyConfig(top_n=2, exclude=["AAA"]), market, tmp_path_factory.mktemp("memory"))


def test_frames_are_kept_beside_the_report_and_give_the_same_numbers(memory_report: Path):
    inputs = memory_report.with_name(f"{memory_report.stem}-inputs")
    assert sorted(path.name for path in inputs.iterdir()) == ["prices.parquet", "sentiment.parquet"]
    posts = sentiment_frame().rename(columns={"twitterLikes": "favourites"})
    market = load_market(posts, prices_frame(), columns={"likes": "favourites"}, start="2022-01-05")
    content = json.loads(memory_report.with_suffix(".json").read_text())
    assert content["summary"] == run_study(StudyConfig(top_n=2, exclude=["AAA"]), market).summary
    again = load_market(inputs / "sentiment.parquet", inputs / "prices.parquet", start="2022-01-05")
    assert content["summary"] == run_study(StudyConfig(top_n=2, exclude=["AAA"]), again).summary
    assert content["provenance"]["sentiment_sha256"] == sha256_of(inputs / "sentiment.parquet")


def test_what_was_left_out_of_frames_is_the_same_in_the_page_and_in_the_json_file(tmp_path: Path):
    posts = sentiment_frame()
    posts.loc[100, "twitterLikes"] = None
    closes = prices_frame()
    closes.loc[3, "QQQ"] = None
    market = load_market(posts, closes, start="2022-01-05", end="2022-04-20")
    html = render_report(StudyConfig(top_n=2), market, tmp_path)
    losses = json.loads(html.with_suffix(".json").read_text())["losses"]
    assert [item["kind"] for item in losses[:4]] == [
        "empty_count",
        "outside_bounds",
        "outside_bounds",
        "off_calendar_price",
    ]
    inputs = html.with_name(f"{html.stem}-inputs")
    kept = load_market(inputs / "sentiment.parquet", inputs / "prices.parquet", start="2022-01-05", end="2022-04-20")
    assert [loss.to_dict() for loss in kept.losses] == losses[:4] == [loss.to_dict() for loss in market.losses]
    page = html.read_text()
    for item in losses[:4]:
        assert f">{item['kind']}</th>" in page and f">{item['reason']}</td>" in page


def test_render_report_raises_when_a_cell_fails(tmp_path: Path, monkeypatch, notebook_writer, small_market):
    notebook = notebook_writer(tmp_path / "n.ipynb", "1 / 0", parameters=find_parameters())
    monkeypatch.setattr(run_module, "DEFAULT_NOTEBOOK", str(notebook))
    with pytest.raises(
        CheckError, match=r"cell 3 stopped with ZeroDivisionError: division by zero; see .*-failed\.html"
    ):
        render_report(StudyConfig(top_n=2), load_market(*map(str, small_market)), tmp_path / "out")


def find_parameters() -> str:
    """Return the parameters cell of the portfolio report."""
    notebook = nbformat.read(find_notebook("portfolio_report"), as_version=4)
    return next(cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))


def test_an_address_is_downloaded_once_and_kept(tmp_path: Path, notebook_writer, small_market, monkeypatch):
    sentiment, prices = small_market
    asked: list[str] = []

    def serve(address: str, shown: str) -> bytes:
        asked.append(address)
        return sentiment.read_bytes()

    monkeypatch.setattr("workbench.market.files._download", serve)
    notebook = notebook_writer(tmp_path / "n.ipynb", "print(sentiment)")
    address = "https://example.org/data/posts.csv?raw=1"
    run = run_report(notebook, {"sentiment": address, "prices": str(prices)}, tmp_path / "out")
    kept = tmp_path / "out" / f"{run.html.stem}-inputs" / "posts.csv"
    assert asked == [address]
    assert outputs(run) == f"{kept}\n" and kept.read_bytes() == sentiment.read_bytes()
    (first, _) = json.loads(run.json.read_text())["report"]["inputs"]
    assert (first["name"], first["path"]) == (address, f"{run.html.stem}-inputs/posts.csv")


def test_an_error_in_a_downloaded_table_names_the_address(tmp_path: Path, notebook_writer, small_market, monkeypatch):
    monkeypatch.setattr("workbench.market.files._download", lambda address, shown: b"date,symbol\n")
    with pytest.raises(DataError, match=r"^https://example\.org/posts\.csv: "):
        parameters = {"sentiment": "https://example.org/posts.csv", "prices": str(small_market[1])}
        run_report(notebook_writer(tmp_path / "n.ipynb"), parameters, tmp_path / "out")


def test_the_packaged_data_are_named_and_not_copied(tmp_path: Path, notebook_writer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = notebook_writer(tmp_path / "n.ipynb", "print(sentiment, prices)")
    run = run_report(notebook, {}, "out")
    assert outputs(run) == "sentiment_data.csv simulated\n"
    assert run.html.name.startswith("simulated-n-")
    assert [item["path"] for item in json.loads(run.json.read_text())["report"]["inputs"]] == [
        "package:sentiment_data.csv",
        "package:simulated_prices.parquet",
    ]


def test_a_run_leaves_nothing_in_the_home_folder(tmp_path: Path, notebook_writer, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    run = run_report(notebook_writer(tmp_path / "n.ipynb", "print(1)", parameters="x: int = 1"), {}, tmp_path / "out")
    assert run.status == "done" and outputs(run) == "1\n"
    assert not list((tmp_path / "home").iterdir())


def test_a_home_that_cannot_be_written_is_replaced(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    assert "MPLCONFIGDIR" not in kernel_environment(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    environment = kernel_environment(tmp_path)
    for name in ("MPLCONFIGDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        assert environment[name].startswith(str(tmp_path))
    assert environment["PLOTLY_RENDERER"] == "plotly_mimetype"
    assert "PYTHONDONTWRITEBYTECODE" not in environment


def test_the_slow_grammar_is_not_built():
    code = "import sys, workbench.report.kernel, nbformat as n; n.validate(n.v4.new_notebook())"
    code += "; print(sys.modules['rfc3987_syntax'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_frames_written_as_parquet_read_back_the_same(memory_report: Path):
    inputs = memory_report.with_name(f"{memory_report.stem}-inputs")
    pd.testing.assert_frame_equal(
        pd.read_parquet(inputs / "prices.parquet").drop(columns="date"),
        prices_frame().drop(columns="date")[["AAA", "BBB", "CCC", "NA", "QQQ"]],
    )
