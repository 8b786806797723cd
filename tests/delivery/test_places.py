"""Every door in places where little can be written and nothing has a plain name: it works without a word too many, or refuses in one line.

A place is a folder with a checkout on a machine that is read-only, for a user who may write to `out`, to `state` and to /tmp. Doors that
start a Ray, and all homes with all doors, are tried with WORKBENCH_FULL=1.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import websocket
from boxes import AS_USER, HOME, covering, why_no_mounts
from compose import ROOT
from processes import until
from served import free_port

from workbench import StudyConfig, load_market, run_study
from workbench.client import Client

REASON = why_no_mounts()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
full = pytest.mark.skipif(not os.environ.get("WORKBENCH_FULL"), reason="some minutes: WORKBENCH_FULL=1")

ODD = "my data é ü 日本 #1 100%41"
NOBODY = 54_321  # has no line in /etc/passwd
POSTS = "timestamp,symbol,text,likes,comments,impressions\n2021-03-01T10:00:00Z,AAPL,love $AAPL,3,1,7\n"
MATRIX = "notebook: checkout/notebooks/portfolio_report.ipynb\nparameters:\n  top_n: [3, 5]\n"
STATE = r"must be a folder that can be written, got \S+ \((Read-only file system|Permission denied|No such file or directory)\)"
NO_HOME = rf"the folder of the workbench's state {STATE}; set WORKBENCH_HOME to one"
REFUSED = r"\((Read-only file system|Permission denied)\)"
TICK = r"(workbench: (sweep|matrix): \d of 2 (configurations|reports) after \d+ s\n)*"


@dataclass(frozen=True)
class Place:
    """A folder of some name, with `checkout`, `out`, `home` and `state` in it. Each command has mounts of its own.

    space : where the latter three are on this machine.
    environment : beside the necessary, e.g. HOME; in it `{here}` is the folder.
    user : who runs the commands; no name is needed.
    temporary : /tmp can be written.
    current : the current folder, seen from the place's.
    """

    space: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    name: str = ODD
    user: int = 1000
    temporary: bool = True
    current: str = "."

    @property
    def here(self) -> str:
        return f"/srv/{self.name}"

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs the workbench in the place, as one process."""
        given = {name: value.format(here=self.here) for name, value in self.environment.items()}
        given |= {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONPATH": f"{self.here}/checkout"}
        user = [str(self.user) if word == "1000" else word for word in AS_USER]
        pairs = [f"{name}={value}" for name, value in given.items()]
        program = shlex.join([*user, "env", "-i", *pairs, sys.executable, "-m", "workbench", *arguments])
        return ["unshare", "--mount", "sh", "-ec", "\n".join([*self._mounts(), f"exec {program}"])]

    def _mounts(self) -> list[str]:
        lines = ["mount -n --make-rprivate /", "mount -n -t tmpfs -o mode=755 tmpfs /srv", "cd /srv"]
        folders = {name: self.space / name for name in ("out", "home", "state")} | {"checkout": ROOT}
        for name, outside in folders.items():
            inside = shlex.quote(f"{self.here}/{name}")
            lines.append(f"mkdir -p {inside}; mount -n --bind {shlex.quote(str(outside))} {inside}")
        lines.append(f"mount -n -o remount,bind,ro {inside}")
        lines += covering(
            [
                f"mount -n -t tmpfs -o mode={1777 if self.temporary else 755} tmpfs /tmp",
                f"mkdir -p {HOME}; mount -n -t tmpfs -o mode=755 tmpfs {HOME}",
            ]
        )
        lines += ["mount -n -o remount,bind,ro /", f"cd {shlex.quote(self.here)}", "mkdir gone"]
        return [*lines, f"cd {shlex.quote(self.current)}", f"rmdir {shlex.quote(self.here)}/gone"]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )

    def expect(self, code: int, said: str, *arguments: str) -> str:
        """Run a command, hold it to its exit code and to all that it says on stderr, and return what it prints."""
        done = self.run(*arguments)
        line = f"workbench: {said}\n" if code else said
        assert (done.returncode, bool(re.fullmatch(line, done.stderr))) == (code, True), (
            arguments,
            done.returncode,
            done.stderr,
        )
        return done.stdout

    @contextlib.contextmanager
    def server(self, *arguments: str) -> Iterator[list[str]]:
        """Have a server; give the lines of its stderr, of which one names its address."""
        process = subprocess.Popen(
            self.command(*arguments), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        lines: list[str] = []
        assert process.stderr is not None
        stream = process.stderr
        reader = threading.Thread(target=lambda: lines.extend(iter(stream.readline, "")), daemon=True)
        reader.start()
        try:
            until(lambda: any("http://127.0.0.1" in line for line in lines) or process.poll() is not None, 150)
            assert process.poll() is None, lines
            yield lines
        finally:
            process.terminate()
            process.wait(60)
            reader.join(10)
            stream.close()


def make(tmp_path: Path, **fields: Any) -> Place:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(path.stat().st_mode | 0o055)
    for name in ("out", "home", "state"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "out" / "posts 1%.csv").write_text(POSTS)
    (tmp_path / "out" / "matrix é.yaml").write_text(MATRIX)
    return Place(tmp_path, **fields)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place without a home that can be written: as little as there can be."""
    return make(tmp_path_factory.mktemp("odd"), environment={"HOME": "/nowhere"})


@pytest.fixture(scope="module")
def summary() -> dict[str, float]:
    return dict(run_study(StudyConfig(), load_market("sentiment_data.csv", "simulated")).to_dict()["summary"])


# ---- works: a home that cannot be written, a read-only checkout, and an output folder, all of odd names ----


def test_a_study_needs_no_place_but_that_of_its_files(odd: Place, summary: dict[str, float]):
    odd.expect(0, "", "backtest", "--trades", "out/trades #é.csv", "--export", "out/50%41 é.json")
    assert json.loads((odd.space / "out" / "50%41 é.json").read_text())["summary"] == summary
    assert (odd.space / "out" / "trades #é.csv").stat().st_uid == 1000
    assert "SIM001" in odd.expect(0, "", "stocks", "SIM001")


def test_posts_are_scored(odd: Place):
    said = r"workbench: out/posts 1%\.csv: 1 rows.*\nworkbench: out/daily #\.csv: 1 row.*\n"
    assert odd.expect(0, said, "score", "out/posts 1%.csv", "-o", "out/daily #.csv") == "out/daily #.csv\n"
    assert "2021-03-01,AAPL,1,1,3,7," in (odd.space / "out" / "daily #.csv").read_text()


@full
def test_a_sweep_says_where_its_machine_code_could_be_kept(odd: Place):
    said = r"workbench: compiling the sweep's inner loop, each time, until WORKBENCH_HOME is a folder that can be written: .*\n"
    odd.expect(0, said + TICK, "sweep", "--grid", "top_n=1,2", "-o", "out/rows #é%41.parquet")
    assert (odd.space / "out" / "rows #é%41.parquet").is_file()


def test_a_report_is_made_and_holds(odd: Place, summary: dict[str, float]):
    page = odd.expect(0, "", "report", "-o", "out/reports #é").strip()
    assert page.startswith(f"{odd.here}/out/reports #é/simulated-")
    stem = odd.space / "out" / "reports #é" / Path(page).stem
    stored = json.loads(stem.with_name(f"{stem.name}.json").read_text())
    assert stored["summary"] == summary
    notebook = json.loads(stem.with_name(f"{stem.name}.ipynb").read_text())
    assert notebook["metadata"]["papermill"]["input_path"].startswith(
        f"{odd.here}/checkout/"
    )  # and nothing of elsewhere
    assert "holds" in odd.expect(0, "", "verify", page.removesuffix(".html") + ".ipynb")


class Links(HTMLParser):
    """The files that a page links to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href") or ""
        if tag == "a" and not target.startswith("#"):
            self.names.add(unquote(target.partition("#")[0]))


@full
def test_the_links_of_a_matrix_lead_to_its_reports(odd: Place):
    copied = odd.space / "out" / "study #1 50%41 é.ipynb"
    copied.write_bytes((ROOT / "notebooks" / "portfolio_report.ipynb").read_bytes())
    (odd.space / "out" / "matrix é.yaml").write_text(
        MATRIX.replace("checkout/notebooks/portfolio_report.ipynb", f"'out/{copied.name}'")
    )
    odd.expect(0, TICK, "report", "--matrix", "out/matrix é.yaml", "-o", "out/many #é")
    folder = odd.space / "out" / "many #é"
    links = Links((folder / "index.html").read_text()).names
    assert len(links) == 6 and {path.name for path in folder.iterdir()} == links | {"index.html", "index.json"}


def run_cell(url: str, token: str, code: str) -> str:
    """Run a cell in a new kernel, over the web socket that a browser uses; return all that it prints and raises."""
    headers = {"Authorization": f"token {token}"}
    kernel = httpx.post(f"{url}/api/kernels", headers=headers, json={"name": "python3"}, timeout=60).json()["id"]
    line = websocket.create_connection(
        f"{url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?session_id=one",
        header=[f"Authorization: token {token}"],
        timeout=90,
    )
    with contextlib.closing(line):
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        header = {"msg_id": "one", "msg_type": "execute_request", "session": "one", "username": "", "version": "5.3"}
        request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        line.send(json.dumps(request))
        printed = ""
        while True:
            message = json.loads(line.recv())
            said = message["content"]
            printed += said.get("text", "") + (said.get("evalue") or "")
            if message["parent_header"].get("msg_id") == "one" and said.get("execution_state") == "idle":
                return printed


CELL = """import matplotlib.pyplot as plt
from workbench import StudyConfig, load_market, run_study
plt.figure()
print(run_study(StudyConfig(), load_market("sentiment_data.csv")).summary["total_return"])"""


def test_a_lab_works_on_copies_and_saves_them(odd: Place, summary: dict[str, float]):
    with odd.server("lab", "--no-browser", "--no-ray", "--port", str(free_port()), "out/lab #é%41") as lines:
        assert [line[:11] for line in lines] == ["workbench: "] * len(lines)  # not a word of IPython's or Jupyter's
        assert f"copied into {odd.here}/out/lab #é%41: " in lines[0]
        [line] = [line for line in lines if "JupyterLab is at" in line]
        url, _, token = line.split(" at ")[1].strip().partition("/lab?token=")
        assert run_cell(url, token, CELL) == f"{summary['total_return']}\n"
        name, headers = "05_ray_scaling.ipynb", {"Authorization": f"token {token}"}
        stored = httpx.get(f"{url}/api/contents/{name}", headers=headers, timeout=30).json()
        saved = httpx.put(f"{url}/api/contents/{name}", headers=headers, json=stored, timeout=30)
        assert saved.status_code == 200
    assert (odd.space / "out" / "lab #é%41" / name).stat().st_uid == 1000


def test_a_dashboard_needs_no_home(odd: Place):
    with odd.server("dashboard", "--port", str(free_port())) as lines:
        url = lines[0].split(" is at ")[1].partition(";")[0]
        with contextlib.suppress(httpx.TransportError):
            until(lambda: answers(url), 60)
        assert "<title>" in httpx.get(url, timeout=30).text
        assert len(lines) == 1


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=5).status_code == 200
    return False


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=full)])
def test_an_api_keeps_all_in_its_state_folder(tmp_path: Path, engine: str):
    place = make(tmp_path, environment={"WORKBENCH_HOME": "{here}/state"}, user=NOBODY)
    with place.server("serve", "--engine", engine, "--port", str(free_port())) as lines:
        [line] = [line for line in lines if "serving http" in line]
        url = line.split("serving ")[1].partition(" ")[0]
        until(lambda: answers(f"{url}/health"), 60)
        with Client(url, timeout_seconds=200) as client:
            job = client.wait(client.start_report({"dataset": "default"})["id"])
            assert job["status"] == "done", job
            assert client.page(job["id"]).startswith(b"<!doctype html>")
        assert [line for line in lines if not line.startswith(("workbench: ", "{"))] == []
    assert {path.name for path in (tmp_path / "state").iterdir()} >= {"api", "jobs"}


# ---- refuses: in one line that says what to set or to name ----

NOWHERE = [
    (rf"the output folder must be one that can be written, got 'reports' {REFUSED}; name another with -o", "report"),
    (rf"trades must be a file in a folder .*, got 'a\.csv' {REFUSED}; name another", "backtest --trades a.csv"),
    (rf"export must be a file in a folder .*, got 'a\.json' {REFUSED}; name another", "stocks SIM001 --export a.json"),
    (rf"out must be a file in a folder .*, got 'a\.csv' {REFUSED}; name another", "score ../out/posts* -o a.csv"),
    (
        rf"-o must name a file in a folder .*, got 'a\.parquet' {REFUSED}; name another",
        "sweep --grid top_n=1,2 -o a.parquet",
    ),
    (
        rf"FOLDER must be one .*, got .*/notebooks {REFUSED}; name another, for copies of the notebooks",
        "lab --port 65000",
    ),
]


@pytest.mark.parametrize(("said", "words"), NOWHERE, ids=[words.split()[0] for _, words in NOWHERE])
def test_a_file_that_cannot_be_written_here_is_to_be_named_elsewhere(odd: Place, said: str, words: str):
    arguments = ["../out/posts 1%.csv" if "posts" in word else word for word in words.split()]
    replace(odd, current="checkout").expect(2, said, *arguments)


HOMES = {
    "a home that cannot be written": ({"HOME": "/nowhere"}, 1000, NO_HOME),
    "an empty HOME": ({"HOME": ""}, 1000, NO_HOME),
    "no HOME, and a user without a name": ({}, NOBODY, NO_HOME),
    "a WORKBENCH_HOME that cannot be written": (
        {"HOME": "{here}/home", "WORKBENCH_HOME": "/etc/workbench"},
        1000,
        f"WORKBENCH_HOME {STATE}; set WORKBENCH_HOME to another",
    ),
}


@pytest.mark.parametrize("case", HOMES)
def test_a_state_folder_that_cannot_be_written_is_named(odd: Place, case: str):
    environment, user, said = HOMES[case]
    place = replace(odd, environment=environment, user=user)
    place.expect(2, said, "prices", "status")
    found = place.expect(1, "1 check failed, named above", "doctor")
    assert re.search(rf"^FAILED  {said}$", found, flags=re.M)


@full
@pytest.mark.parametrize("case", HOMES)
def test_what_keeps_no_state_works_in_every_home(tmp_path: Path, case: str):
    environment, user, said = HOMES[case]
    place = make(tmp_path, environment=environment, user=user)
    place.expect(2, said, "serve", "--engine", "local", "--port", str(free_port()))
    place.expect(2, said, "prices", "fetch", "--symbols", "A")
    place.expect(0, "", "backtest")
    place.expect(0, rf"workbench: compiling [^\n]*\n{TICK}", "sweep", "--grid", "top_n=1,2")
    place.expect(0, TICK, "report", "--matrix", "out/matrix é.yaml", "-o", "out/many")
    page = place.expect(0, "", "report", "-o", "out", "--notebook", "04_parameter_sweep").strip()
    place.expect(0, "", "verify", page.removesuffix(".html") + ".ipynb")
    with place.server("dashboard", "--port", str(free_port())) as lines:
        until(lambda: answers(lines[0].split(" is at ")[1].partition(";")[0]), 60)
        assert len(lines) == 1
    with place.server("lab", "--no-browser", "--no-ray", "--port", str(free_port()), "out/lab") as lines:
        assert [line[:11] for line in lines] == ["workbench: "] * len(lines)


@pytest.mark.parametrize("words", ["backtest", "report -o {here}/out", "lab --port 65000", "dashboard --port 65000"])
def test_a_current_folder_that_was_removed_is_to_be_left(odd: Place, words: str):
    said = "the current folder must exist, got one that was removed; change to another with cd"
    arguments = words.split()
    replace(odd, current="gone").expect(2, said, *(word.format(here=odd.here) for word in arguments))


@pytest.mark.parametrize("words", ["report -o out", "report -o out --matrix matrix", "lab --port 65000 out/lab"])
def test_without_a_folder_for_temporary_files_one_is_to_be_named(odd: Place, words: str):
    said = "TMPDIR must be a folder that can be written where /tmp cannot, got /nowhere; set TMPDIR to one"
    place = replace(odd, environment=odd.environment | {"TMPDIR": "/nowhere"}, temporary=False)
    place.expect(2, said, *("out/matrix é.yaml" if word == "matrix" else word for word in words.split()))


# ---- with a Ray ----


@full
@pytest.mark.parametrize(
    "folder", ["/tmp", "/nowhere", "{here}/out/a-folder-for-temporary-files-é-with-a-path-too-long-for-sockets"]
)
def test_ray_needs_neither_a_home_nor_a_short_name_for_temporary_files(odd: Place, folder: str):
    (odd.space / "out" / Path(folder).name).mkdir(exist_ok=True)
    (odd.space / "out" / Path(folder).name).chmod(0o777)
    place = replace(odd, environment=odd.environment | {"TMPDIR": folder})
    page = place.expect(0, "", "report", "--engine", "ray", "-o", "out/on ray #é").strip()
    stored = odd.space / "out" / "on ray #é" / f"{Path(page).stem}.json"
    assert json.loads(stored.read_text())["report"]["execution"]["engine"] == "ray"


@full
def test_a_lab_has_its_ray_there(odd: Place):
    ask = "import time, workbench\nfrom workbench.cluster import shared\n"
    ask += "while shared.read().state == shared.STARTING: time.sleep(1)\nprint(shared.read().state)"
    with odd.server("lab", "--no-browser", "--port", str(free_port()), "out/lab with ray") as lines:
        [line] = [line for line in lines if "JupyterLab is at" in line]
        url, _, token = line.split(" at ")[1].strip().partition("/lab?token=")
        assert run_cell(url, token, ask) == "up\n"
        assert [line[:11] for line in lines] == ["workbench: "] * len(lines)
