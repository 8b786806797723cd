"""A matrix is refused before anything runs or run to its end; what is whole is kept, and one report's death is its own."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from fake_yahoo import made_up_bars, running_fake
from small_market import SYMBOLS, write_small_market

from workbench import cli
from workbench.errors import ConfigError, DataError, UnavailableError
from workbench.execution import LocalEngine
from workbench.report import batch as batch_module
from workbench.report.batch import Batch, run_matrix
from workbench.report.inputs import sha256_of
from workbench.report.matrix import MOST_STUDIES, Matrix, read_matrix
from workbench.report.run import run_report

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = """sentiment: str = "sentiment_data.csv"
prices: str | None = None
benchmark: str = "QQQ"
start: str | None = None
top_n: int = 2
exclude: str = ""
cost_bps: float = 10.0
execution_lag: int = 1
seed: int = 0
label: str = ""  # what shall happen
"""
LOAD = "from workbench import StudyConfig, load_market, run_study\nmarket = load_market(sentiment, prices, benchmark, start)"
STUDY = "study = run_study(StudyConfig.from_names(globals()), market)\nprint(round(study.summary['total_return'], 10))"
FULL = bool(os.environ.get("WORKBENCH_FULL"))

# What a study's `label` asks for happens to it; and every notebook notes what its worker, the kernel's parent, holds.
DEEDS = """import os
parent = os.getppid()
if label == "raise": raise ValueError("as asked")
if label == "kill": os.kill(os.getpid(), 9)
if label == "kill the worker": os.kill(parent, 9)
if label.startswith("wait "):
    import subprocess, time
    open(label[5:], "w").write(str(subprocess.Popen(["sleep", "120"]).pid))
    time.sleep(120)"""
HELD = """pages = int(open(f"/proc/{parent}/statm").read().split()[1])
print("worker", parent, "holds", len(os.listdir(f"/proc/{parent}/fd")), "files,", pages * os.sysconf("SC_PAGE_SIZE"), "bytes")"""


class InLine:
    """Runs the chunks here, one after the other, and counts them: the plain loop that every engine stands for.

    stop_after : chunks after which the user presses Ctrl-C.
    """

    name, workers = "local", 1

    def __init__(self, stop_after: int | None = None) -> None:
        self.done, self.stop_after = 0, stop_after

    def map(
        self, function: Callable[..., Any], chunks: Any, *, shared: Any = (), holds_gil: bool = False
    ) -> Iterator[tuple[int, Any]]:
        for position, chunk in enumerate(chunks):
            if self.done == self.stop_after:
                raise KeyboardInterrupt
            self.done += 1
            yield position, function(chunk, *shared)

    def account(self) -> dict[str, Any]:
        return {"engine": "local", "why": "a loop", "tasks": self.done}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory, notebook_writer: Callable[..., Path]) -> Path:
    """Return a notebook that runs the study."""
    path = tmp_path_factory.mktemp("notebook") / "short.ipynb"
    return notebook_writer(path, DEEDS, LOAD, "#md ## The study", STUDY, parameters=PARAMETERS)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, notebook_writer: Callable[..., Path]) -> Path:
    """Return a notebook that leaves the study to the process that runs it."""
    path = tmp_path_factory.mktemp("notebook") / "quick.ipynb"
    return notebook_writer(path, DEEDS, HELD, parameters=PARAMETERS)


@pytest.fixture
def matrix(tmp_path: Path, quick: Path, small_market: tuple[Path, Path]) -> Callable[..., Matrix]:
    """Return a function that writes a matrix of a notebook on the small market and reads it; an option of None is left out."""

    def write(text: str, notebook: Path = quick, **options: Any) -> Matrix:
        file = tmp_path / "m.yaml"
        file.write_text(text, encoding="utf-8")
        given = dict(zip(("sentiment", "prices"), map(str, small_market), strict=True)) | options
        return read_matrix(file, {name: value for name, value in given.items() if value is not None}, notebook)

    return write


def statuses(batch: Batch) -> list[str]:
    return [entry.status for entry in batch.entries]


def printed(path: Path) -> str:
    """Return everything that the cells of a notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def outputs(path: Path) -> list[Any]:
    """Return the outputs of a notebook's cells."""
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


# ---- the file ----------------------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str | bytes, options: dict[str, Any] | None = None) -> Matrix:
    file = tmp_path / "m.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_matrix(file, options)


def test_a_grid_is_all_combinations_with_fixed_values_and_defaults(tmp_path: Path):
    text = "defaults: {drift: no, cost_bps: 3}\nparameters:\n  top_n: [3, 5]\n  cost_bps: [0, 10]\n  signal: twitter_sentiment\n"
    found = read(tmp_path, text)
    assert [study.name for study in found.studies] == [f"top_n={n}, cost_bps={bps}" for n in (3, 5) for bps in (0, 10)]
    assert found.varying == ["top_n", "cost_bps"] and found.notebook.stem == "portfolio_report"
    given = {"drift": False, "cost_bps": 0.0, "top_n": 5, "signal": "twitter_sentiment"}
    assert found.studies[2].given == given | {"engine": "local"}
    assert found.studies[2].parameters["rebalance"] == "monthly"


def test_named_studies_share_defaults_and_may_change_nothing(tmp_path: Path):
    found = read(
        tmp_path, "defaults: {top_n: 7}\nstudies:\n  baseline:\n  No costs, ever!: {cost_bps: 0}\n  1: {top_n: 3}\n"
    )
    assert {study.name: study.given for study in found.studies} == {
        "baseline": {"top_n": 7, "engine": "local"},
        "No costs, ever!": {"top_n": 7, "cost_bps": 0.0, "engine": "local"},
        "1": {"top_n": 3, "engine": "local"},
    }
    assert found.varying == ["top_n", "cost_bps"]


def test_values_are_taken_as_written_so_that_a_ticker_stays_a_ticker(tmp_path: Path):
    text = "defaults: {start: 2022-01-31, end: null, columns: }\nparameters: {exclude: [ON, [NO, NA], TRUE, '1.10'], drift: [yes, false]}"
    found = read(tmp_path, text)
    assert [study.given["exclude"] for study in found.studies[::2]] == ["ON", "NA,NO", "TRUE", "1.10"]
    assert found.studies[0].given == {
        "start": "2022-01-31", "end": None, "columns": None, "exclude": "ON", "drift": True, "engine": "local",
    }  # fmt: skip


def test_options_join_the_defaults_and_replace_them(tmp_path: Path):
    text = "defaults: {top_n: 7, cost_bps: 3}\nstudies: {a: , b: {top_n: 9}}"
    found = read(tmp_path, text, {"top_n": "8", "drift": False})
    assert [study.given["top_n"] for study in found.studies] == [8, 9]
    assert {study.given["cost_bps"] for study in found.studies} == {3.0}
    with pytest.raises(ConfigError, match=r"^top_n is set by every study of m.yaml"):
        read(tmp_path, "parameters: {top_n: [3, 5]}", {"top_n": 7})


def test_a_file_may_name_its_notebook(tmp_path: Path):
    assert read(tmp_path, "notebook: 03_backtest\nparameters: {top_n: 3}").notebook.stem == "03_backtest"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have parameters or studies, got an empty file"),
        ("defaults: {top_n: 3}", "either parameters or studies, got neither"),
        ("parameters: {top_n: 3}\nstudies: {a: }", "either parameters or studies, got both"),
        ("parameters:\n  top_n: [3\n", "line 3: is not YAML: .*expected ',' or ']'"),
        ("parameters: {top_n: 3}\n---\n", "line 2: is not YAML: expected a single document"),
        (b"parameters: {top_n: \xff}", "is not YAML"),
        ("parameters: {top_n: 3\x00}", "is not YAML"),
        ("[" * 9000, "nested too deeply"),
        ("\n- 1", "line 2: the file must be names with values, such as top_n: 5, got a list"),
        ("studies:", "line 1: studies must be names with values, such as top_n: 5, got nothing"),
        ("studies: {}", "line 1: studies must name at least one study"),
        ("parameters: {}", "line 1: parameters must set at least one parameter"),
        ("parameters:\n  top_n: []", "line 2: top_n must list at least one value"),
        ("parameters: {top_n: {a: 1}}", "line 1: top_n must be a value or a list, got a mapping"),
        ("studies: {a: {top_n: [3, 5]}}", "top_n must be one value, got a list; values to combine stand under parameters"),
        ("parameters: {top_n: [[3, 5]]}", "top_n must be one value, got a list"),
        ("studys: {a: }", "line 1: unknown key 'studys'; did you mean studies"),
        ("studies:\n  a:\n  b:\n  a:\n", "line 4: 'a' must be there once, got it twice"),
        ('studies: {"a\\nb": }', "line 1: the name of a study must be printable"),
        ("parameters: {top_n: [3, 5, '3']}", "parameters must list each value once, got top_n=3 twice"),
        ("studies: {a: {topn: 3}}", "study a: portfolio_report has no parameter 'topn'; did you mean top_n"),
        ("parameters: {top_n: [0, 3], cost_bps: [1, 2]}", "m.yaml: parameters: top_n must be at least 1, got 0$"),
        ("defaults: {top_n: 3.5}\nstudies: {a: }", "defaults: top_n must be a whole number, got '3.5'"),
        ("parameters: {risk_free_rate: nan}", "risk_free_rate must be a finite number"),
        ("parameters: {signal: likes}", "signal must be one of"),
        ("notebook: portfolio\nparameters: {top_n: 3}", "did you mean portfolio_report"),
        (f"parameters: {{seed: [{', '.join(map(str, range(MOST_STUDIES + 1)))}]}}", "at most 1,000 reports, got 1,001"),
        ("parameters: &a {top_n: *a}", "got a mapping"),
        ("parameters: {top_n: 3, engine: ray}", "engine must not be a parameter of a study"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str | bytes, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_named_up_to_a_few(tmp_path: Path):
    text = "studies: {a: {top_n: 0}, b: {drift: perhaps}, c: , d: {cost_bps: -1}, e: {seed: x}, f: {missing: never}}"
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert re.findall(r"study (\w)", str(caught.value)) == ["a", "b", "d"]
    assert str(caught.value).endswith("; and 2 more")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    for path in (tmp_path / "no.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"^--matrix {re.escape(str(path))}: cannot be read"):
            read_matrix(path)


# ---- a batch with everything that can happen -----------------------------------------------------------------------------


STUDIES = """studies:
  one: {top_n: 1}
  two: {}
  the same as two: {top_n: 2}
  three: {top_n: 3}
  free: {cost_bps: 0}
  late: {execution_lag: 5}
  early: {execution_lag: 0}
  a cell fails: {label: raise}
  a kernel dies: {label: kill}
  a worker dies: {label: kill the worker}
  refused: {top_n: 5}
  last: {exclude: [AAA]}
"""


@pytest.fixture(scope="module")
def short_temporary_folder() -> Iterator[Path]:
    """Have a temporary folder of our own, near the root: the path of a socket is short."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="wb-") as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", name)
        tempfile.tempdir = None
        try:
            yield Path(name)
        finally:
            tempfile.tempdir = before


@pytest.fixture(scope="module")
def twelve(
    tmp_path_factory: pytest.TempPathFactory,
    notebook: Path,
    small_market: tuple[Path, Path],
    short_temporary_folder: Path,
) -> Iterator[tuple[Batch, Matrix]]:
    folder = tmp_path_factory.mktemp("twelve")
    (folder / "m.yaml").write_text(STUDIES)
    tables = dict(zip(("sentiment", "prices"), map(str, small_market), strict=True))
    matrix = read_matrix(folder / "m.yaml", tables, notebook)
    files, children = open_files(), psutil.Process().children(recursive=True)
    batch = run_matrix(matrix, folder / "out", LocalEngine(2))
    assert open_files() <= files + 2, "the parent keeps files open"
    assert psutil.Process().children(recursive=True) == children, "something still runs"
    assert list(short_temporary_folder.iterdir()) == [], "private folders of kernels are left"
    yield batch, matrix


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_each_study_has_its_own_end(twelve: tuple[Batch, Matrix]):
    batch, _ = twelve
    failed = {entry.name: entry.reason for entry in batch.failed}
    assert [entry.name for entry in batch.entries if entry.status == "done"] == [
        "one", "two", "the same as two", "three", "free", "late", "early", "last",
    ]  # fmt: skip
    assert list(failed) == ["a cell fails", "a kernel dies", "a worker dies", "refused"]
    assert failed["a cell fails"] == "cell 3 stopped with ValueError: as asked"
    assert failed["a kernel dies"].startswith("cell 3 stopped with DeadKernelError: the kernel died, killed by SIGKILL")
    assert re.match("lost with its worker: .*killed by SIGKILL", failed["a worker dies"])
    assert failed["refused"] == f"top_n must be between 1 and {len(SYMBOLS)} (symbols in the table), got 5"


def test_the_folder_holds_whole_reports_and_nothing_else(twelve: tuple[Batch, Matrix]):
    batch, _ = twelve
    folder = batch.index.parent
    stems = {entry.stem for entry in batch.entries if entry.stem}
    assert len(stems) == 9, "seven that are done, one of them for two studies, and two that failed in a cell"
    expected = {f"{stem}{suffix}" for stem in stems for suffix in (".html", ".ipynb", ".json")}
    assert {path.name for path in folder.iterdir()} == expected | {"index.html", "index.json"}
    for entry in batch.entries:
        if entry.stem:
            assert entry.stem.endswith("-failed") == (entry.status == "failed")
            assert json.loads((folder / f"{entry.stem}.json").read_text())["report"]["status"] == entry.status


def test_a_report_of_a_batch_is_the_one_that_a_single_run_makes(
    twelve: tuple[Batch, Matrix], tmp_path: Path, notebook: Path, small_market: tuple[Path, Path]
):
    batch, _ = twelve
    sentiment, prices = map(str, small_market)
    single = run_report(notebook, {"sentiment": sentiment, "prices": prices, "top_n": 3}, tmp_path)
    (entry,) = (entry for entry in batch.entries if entry.name == "three")
    assert single.html.stem == entry.stem
    assert outputs(single.ipynb) == outputs(batch.index.with_name(f"{entry.stem}.ipynb"))
    ours, theirs = (json.loads(path.read_text()) for path in (single.json, batch.index.with_name(f"{entry.stem}.json")))
    for content in (ours, theirs):
        for name in ("created_at", "duration_seconds", "files"):
            del content["report"][name]
    assert ours == theirs


def test_the_index_has_the_numbers_of_the_reports(twelve: tuple[Batch, Matrix]):
    batch, matrix = twelve
    index = json.loads((batch.index.parent / "index.json").read_text())
    assert index["counts"] == {"done": 8, "reused": 0, "failed": 4, "not run": 0}
    assert index["varying"] == ["top_n", "exclude", "cost_bps", "execution_lag", "label"]
    assert [study["name"] for study in index["studies"]] == [study.name for study in matrix.studies]
    for study in index["studies"]:
        if study["files"]:
            content = json.loads((batch.index.parent / study["files"]["json"]).read_text())
            assert study["summary"] == content["summary"]
            assert study["parameters"]["top_n"] == content["config"]["top_n"]
    assert index["trials"]["n_configurations"] == 11
    assert index["engine"]["engine"] == "local" and index["engine"]["tasks"] >= 9


# ---- what is there is kept -----------------------------------------------------------------------------------------------


def test_what_is_whole_and_unchanged_is_not_made_again(matrix, tmp_path: Path, monkeypatch):
    out = tmp_path / "out"
    text = "studies: {a: {top_n: 1}, b: {top_n: 2}}"
    made = InLine()
    first = run_matrix(matrix(text), out, made)
    assert made.done == 2 and statuses(first) == ["done", "done"]
    before = {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith("index")}

    again = InLine()
    renamed = run_matrix(matrix("studies: {x: {top_n: 2}, y: {}, z: {top_n: 1, cost_bps: 10}}"), out, again)
    assert (again.done, statuses(renamed)) == (0, ["reused"] * 3), "names and the way of writing make no difference"
    assert {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith("index")} == before

    page, executed, numbers = (out / f"{first.entries[0].stem}{suffix}" for suffix in (".html", ".ipynb", ".json"))
    damages = (
        lambda: page.write_bytes(page.read_bytes()[:-1]),
        executed.unlink,
        lambda: numbers.write_text(numbers.read_text()[:-9]),
    )
    for damage in damages:
        damage()
        repaired = InLine()
        assert statuses(run_matrix(matrix(text), out, repaired)) == ["done", "reused"]
        assert repaired.done == 1

    refreshed = InLine()
    assert statuses(run_matrix(matrix(text), out, refreshed, refresh=True)) == ["done", "done"]
    monkeypatch.setattr("workbench.report.reuse.report_versions", lambda: {"workbench": "another"})
    other = InLine()
    assert statuses(run_matrix(matrix("studies: {a: {top_n: 1}}"), out, other)) == ["done"]
    assert (refreshed.done, other.done) == (2, 1)


def test_new_data_and_new_cells_make_new_reports(matrix, tmp_path: Path, notebook_writer):
    out = tmp_path / "out"
    tables = dict(zip(("sentiment", "prices"), write_small_market(tmp_path), strict=True))
    short = notebook_writer(tmp_path / "n.ipynb", "print(1)", parameters=PARAMETERS)

    def run() -> Batch:
        text = "studies: {a: {top_n: 1}}"
        return run_matrix(matrix(text, short, **{name: str(path) for name, path in tables.items()}), out, InLine())

    first = run()
    assert statuses(run()) == ["reused"]
    lines = tables["sentiment"].read_text().splitlines(keepends=True)
    tables["sentiment"].write_text("".join(lines[:-1]))
    second = run()
    notebook_writer(tmp_path / "n.ipynb", "print(2)", parameters=PARAMETERS)
    third = run()
    assert [statuses(batch) for batch in (second, third)] == [["done"], ["done"]]
    assert len({batch.entries[0].stem for batch in (first, second, third)}) == 3


def test_a_failed_report_is_tried_again(matrix, tmp_path: Path):
    text = "studies: {a: {label: raise}}"
    assert statuses(run_matrix(matrix(text), tmp_path / "out", InLine())) == ["failed"]
    again = InLine()
    assert statuses(run_matrix(matrix(text), tmp_path / "out", again)) == ["failed"]
    assert again.done == 1


def test_after_an_interruption_the_index_shows_what_is_there_and_the_next_call_makes_the_rest(matrix, tmp_path: Path):
    text, out = "parameters: {top_n: [1, 2, 3]}", tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_matrix(matrix(text), out, InLine(stop_after=1))
    index = json.loads((out / "index.json").read_text())
    assert [study["status"] for study in index["studies"]] == ["done", "not run", "not run"]
    assert "not run" in (out / "index.html").read_text()
    rest = InLine()
    assert statuses(run_matrix(matrix(text), out, rest)) == ["reused", "done", "done"]
    assert rest.done == 2
    time.sleep(1)  # a report says to the second when it was made
    with pytest.raises(KeyboardInterrupt):
        run_matrix(matrix(text), out, InLine(stop_after=1), refresh=True)
    index = json.loads((out / "index.json").read_text())
    assert [study["status"] for study in index["studies"]] == ["done", "not run", "not run"], "the others are old"
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


# ---- inputs --------------------------------------------------------------------------------------------------------------


class Counting(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        pass


@pytest.fixture
def server(small_market: tuple[Path, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve the small market; return the address, and the list of what was asked for."""
    handler = type("Handler", (Counting,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(small_market[0].parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


def test_an_address_is_asked_once_and_every_report_keeps_what_it_read(matrix, server, small_market, tmp_path: Path):
    address, asked = server
    out = tmp_path / "out"
    text = f"""defaults: {{sentiment: {address}/posts.csv}}
studies:
  a: {{top_n: 1}}
  b:
  c: {{start: 2022-01-15}}
  d: {{sentiment: {address}/no.csv}}
  e: {{sentiment: {address}/no.csv, start: 2022-01-15}}
"""
    batch = run_matrix(matrix(text, sentiment=None), out, InLine())
    assert statuses(batch) == ["done", "done", "done", "failed", "failed"]
    assert asked == ["/posts.csv", "/no.csv"]
    assert {entry.reason for entry in batch.failed} == {f"{address}/no.csv: the server answered 404 File not found"}
    for entry in batch.entries[:3]:
        copy = out / f"{entry.stem}-inputs" / "posts.csv"
        about = json.loads((out / f"{entry.stem}.json").read_text())
        assert about["provenance"]["sentiment"] == f"{address}/posts.csv"
        assert about["report"]["inputs"][0]["sha256"] == sha256_of(copy) == sha256_of(small_market[0])
    damaged = out / f"{batch.entries[0].stem}-inputs" / "posts.csv"
    damaged.unlink()
    damaged.write_text("damaged")
    again = run_matrix(matrix(text, sentiment=None), out, InLine())
    assert statuses(again) == ["done", "reused", "reused", "failed", "failed"]


def test_prices_of_yahoo_are_frozen_once_for_all_reports(matrix, tmp_path: Path, monkeypatch):
    with running_fake() as fake:
        fake.add(made_up_bars([*SYMBOLS, "QQQ"], start="2020-06-01", days=700))
        monkeypatch.setenv("WORKBENCH_YAHOO_URL", fake.url)
        monkeypatch.setenv("WORKBENCH_YAHOO_PER_SECOND", "500")
        monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
        batch = run_matrix(matrix("studies: {a: {top_n: 1}, b: }", prices="yfinance"), tmp_path / "out", InLine())
        assert statuses(batch) == ["done", "done"]
        assert fake.chart_requests() == dict.fromkeys((*SYMBOLS, "QQQ"), 1)
        stored = {entry.content["report"]["parameters"]["prices"] for entry in batch.entries}
        assert len(stored) == 1 and stored.pop().startswith("snapshot:")


def test_tables_that_no_study_can_read_are_an_error_before_anything_runs(matrix, tmp_path: Path):
    engine = InLine()
    with pytest.raises(DataError, match=r"^no such\.csv: no such file"):
        run_matrix(matrix("parameters: {top_n: [1, 2]}", sentiment="no such.csv"), tmp_path / "out", engine)
    assert engine.done == 0 and not list((tmp_path / "out").iterdir())


def test_tables_that_some_studies_cannot_read_fail_these(matrix, tmp_path: Path):
    batch = run_matrix(matrix("studies: {a: , b: {benchmark: SPY}}"), tmp_path / "out", InLine())
    assert statuses(batch) == ["done", "failed"]
    assert "must have prices of the benchmark, got none of SPY" in batch.entries[1].reason


# ---- engines and kernels ---------------------------------------------------------------------------------------------------


class Gone(InLine):
    """An engine that is lost after some chunks, for good."""

    def map(self, function: Callable[..., Any], chunks: Any, **options: Any) -> Iterator[tuple[int, Any]]:
        for done in super().map(function, chunks, **options):
            if self.done > 2:
                raise UnavailableError("the cluster went away")
            yield done


def test_an_engine_that_is_gone_ends_the_batch_and_leaves_an_index(matrix, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(batch_module, "make_one", lambda order, place: batch_module.Outcome("failed", "made", None))
    with pytest.raises(UnavailableError, match="the cluster went away"):
        run_matrix(matrix(f"parameters: {{seed: [{', '.join(map(str, range(40)))}]}}"), tmp_path / "out", Gone())
    studies = json.loads((tmp_path / "out" / "index.json").read_text())["studies"]
    assert [study["reason"] for study in studies[:2]] == ["made"] * 2
    assert [study["status"] for study in studies[-20:]] == ["not run"] * 20


def test_a_kernel_that_dies_before_its_first_cell_is_started_once_more(matrix, tmp_path: Path, monkeypatch):
    python, starts = tmp_path / "python", tmp_path / "starts"
    python.write_text(f"""#!/bin/sh
echo start >> '{starts}'
[ $(wc -l < '{starts}') = 1 ] && exit 1
exec '{sys.executable}' "$@"
""")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    batch = run_matrix(matrix("studies: {a: }"), tmp_path / "out", InLine())
    assert statuses(batch) == ["done"]
    assert starts.read_text().count("\n") == 2


def test_many_reports_leave_nothing_behind(matrix, tmp_path: Path, short_temporary_folder: Path):
    """Twelve reports; two hundred with WORKBENCH_FULL=1. Each notebook notes what the worker that runs it holds."""
    number = 200 if FULL else 12
    costs = ", ".join(f"{cost / 2:g}" for cost in range(number))
    wanted, files = matrix(f"parameters: {{cost_bps: [{costs}]}}"), open_files()
    batch = run_matrix(wanted, tmp_path / "out", LocalEngine(2))
    assert statuses(batch) == ["done"] * number
    assert open_files() <= files + 2
    assert list(short_temporary_folder.iterdir()) == [] and kernels_in(short_temporary_folder) == []
    assert len(list((tmp_path / "out").iterdir())) == 3 * number + 2
    held: dict[str, list[tuple[str, int, int]]] = {}
    for entry in batch.entries:
        text = printed(tmp_path / "out" / f"{entry.stem}.ipynb")
        worker, n_files, n_bytes = re.search(r"worker (\d+) holds (\d+) files, (\d+) bytes", text).groups()
        held.setdefault(worker, []).append((entry.content["report"]["created_at"], int(n_files), int(n_bytes)))
    assert len(held) == 2, "a worker that dies is replaced: none did"
    for notes in held.values():
        _, n_files, n_bytes = zip(*sorted(notes), strict=True)
        assert max(n_files) == n_files[0]
        # The first reports pay for imports and caches. Were each of the others to leave a page of HTML, it would be 2 MB.
        assert n_bytes[-1] - n_bytes[2] < 40e6


def kernels_in(folder: Path) -> list[psutil.Process]:
    """Return the kernels whose private folders lie in `folder`, and what they have started."""
    found = psutil.process_iter(["environ"])
    return [one for one in found if (one.info["environ"] or {}).get("IPYTHONDIR", "").startswith(f"{folder}{os.sep}")]


# ---- the command line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], tmp_path: Path, quick: Path, small_market: tuple[Path, Path]) -> Callable:
    """Return a function that runs `workbench report --matrix` on a text; it returns exit code, stdout and stderr."""

    def command(text: str, *options: str) -> tuple[int, str, str]:
        (tmp_path / "m.yaml").write_text(text)
        tables = ("--sentiment", str(small_market[0]), "--prices", str(small_market[1]), "--notebook", str(quick))
        code = cli.run(["report", "--matrix", str(tmp_path / "m.yaml"), "-o", str(tmp_path / "out"), *tables, *options])
        return code, *capfd.readouterr()

    return command


def test_the_command_prints_the_index_and_exits_with_1_where_a_study_failed(call, tmp_path: Path):
    index = f"{tmp_path / 'out' / 'index.html'}\n"
    assert call("studies: {a: {top_n: 1}}", "--cost-bps", "3", "-p", "label=mine", "--engine", "local") == (
        0,
        index,
        "",
    )
    stored = json.loads((tmp_path / "out" / "index.json").read_text())
    assert stored["studies"][0]["parameters"]["cost_bps"] == 3 and stored["studies"][0]["parameters"]["label"] == "mine"
    code, out, err = call(
        "studies: {a: {top_n: 1}, b: {top_n: 5}, c: {top_n: 6}}", "--cost-bps", "3", "-p", "label=mine"
    )
    assert (code, out) == (1, index)
    assert err == (
        "workbench: 2 of 3 studies failed, the first is b: top_n must be between 1 and 4 (symbols in the table), got 5; "
        f"see {index}"
    )
    stored = json.loads((tmp_path / "out" / "index.json").read_text())
    assert stored["counts"] == {"done": 0, "reused": 1, "failed": 2, "not run": 0}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("studies: {a: {topn: 1}}", (), "m.yaml: study a: quick has no parameter 'topn'; did you mean top_n?"),
        (
            "parameters: {top_n: [1, 2]}",
            ("--top-n", "3"),
            "top_n is set by every study of m.yaml, got it on the command line",
        ),
        ("parameters: {top_n: 1}", ("--engine", "rya"), "engine must be one of auto, local, ray, got 'rya'"),
        ("parameters: {top_n: 1}", ("--drift",), "quick has no parameter 'drift'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2_before_anything_runs(
    call, tmp_path: Path, text: str, options: tuple, message: str
):
    code, out, err = call(text, *options)
    assert (code, out) == (2, "") and err.startswith(f"workbench: {message}") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_page_of_something_else_is_not_replaced(call, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("<h1>My site</h1>")
    code, _, err = call("parameters: {top_n: 1}")
    assert code == 2 and "must not hold an index.html of something else" in err
    assert (tmp_path / "out" / "index.html").read_text() == "<h1>My site</h1>"


def test_refresh_needs_a_matrix(capfd: pytest.CaptureFixture[str]):
    assert cli.run(["report", "--refresh"]) == 2
    assert "--refresh must come with --matrix" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_command_leaves_no_kernel_and_the_next_one_goes_on(
    matrix,
    quick: Path,
    small_market: tuple[Path, Path],
    tmp_path: Path,
    short_temporary_folder: Path,
    number: signal.Signals,
):
    child = tmp_path / "child"  # of the kernel, which does not end with it
    text = f"studies: {{quick: {{top_n: 1}}, slow: {{label: wait {child}}}}}"
    (tmp_path / "m.yaml").write_text(text)
    command = [
        sys.executable,
        "-m",
        "workbench",
        "report",
        "--matrix",
        str(tmp_path / "m.yaml"),
        "-o",
        str(tmp_path / "out"),
    ]
    command += ["--sentiment", str(small_market[0]), "--prices", str(small_market[1]), "--notebook", str(quick)]
    # In a group of its own, as a terminal's foreground job: Ctrl-C reaches the workers too.
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0)
    try:
        wait_until(lambda: list((tmp_path / "out").glob("quick-*.html")) and child.exists() and child.read_text())
        os.killpg(started.pid, number) if number == signal.SIGINT else started.send_signal(number)
        out, err = started.communicate(timeout=30)
    finally:
        started.kill()
    code = -number if number == signal.SIGKILL else 128 + number
    assert (started.returncode, out, err) == (code, b"", b"")
    if number == signal.SIGKILL:  # nobody could clean up: workers and kernels find out by themselves
        (left,) = wait_until(lambda: len(found := kernels_in(short_temporary_folder)) == 1 and found)
        assert left.pid == int(child.read_text())
        left.kill()
    else:
        assert kernels_in(short_temporary_folder) == [] and list(short_temporary_folder.iterdir()) == []
        studies = json.loads((tmp_path / "out" / "index.json").read_text())["studies"]
        assert [study["status"] for study in studies] == ["done", "not run"]
    rest = InLine()
    text = text.replace("wait", "did not wait")
    assert statuses(run_matrix(matrix(text), tmp_path / "out", rest)) == ["reused", "done"]
    for left in short_temporary_folder.iterdir():
        shutil.rmtree(left)


def wait_until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until a condition holds; return what it returned."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.05)
    return found
