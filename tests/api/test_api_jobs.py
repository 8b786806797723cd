"""Jobs: one folder and one real process each, whatever becomes of the server that started it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from processes import alive, until

import workbench
from workbench import StudyConfig, load_market, run_study
from workbench.api.job_files import JobFolder, new_job
from workbench.api.job_process import NICENESS
from workbench.api.jobs import Jobs
from workbench.api.settings import Settings
from workbench.errors import UnavailableError

ROOT = Path(workbench.__file__).resolve().parents[1]
REPORT = {"dataset": "small", "top_n": 2}
FINAL = ("done", "failed", "cancelled", "lost")
SECONDS = 60.0  # for a process to start and do its work on a busy machine


def submit(client: Any, path: str = "/reports", **body: Any) -> str:
    answer = client.post(path, json=body or REPORT)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    return str(answer.json()["id"])


def wait(client: Any, job: str, *states: str) -> dict[str, Any]:
    """Wait until a job is in one of some states, by default at its end; return what the API says of it."""
    until(lambda: client.get(f"/jobs/{job}").json()["status"] in (states or FINAL), SECONDS)
    return dict(client.get(f"/jobs/{job}").json())


def status_file(home: Path, job: str) -> dict[str, Any]:
    return JobFolder(home / "jobs" / job).read() or {}


def wait_for_process(home: Path, job: str) -> int:
    until(lambda: "pid" in status_file(home, job), SECONDS)
    return int(status_file(home, job)["pid"])


def stop(client: Any) -> None:
    client.__exit__(None, None, None)


def test_a_sweep_is_run_and_gives_what_studies_give(client: Any, home: Path):
    job = submit(
        client, "/sweeps", dataset="small", cost_bps=5.0, drift=False, grid={"top_n": [1, 2], "execution_lag": [1, 2]}
    )
    assert client.get(f"/jobs/{job}/result").status_code == 409
    done = wait(client, job)
    assert (done["status"], done["error"]) == ("done", None)
    assert done["progress"] == {"done": 4, "total": 4, "unit": "configurations"}
    assert done["request"]["grid"] == {"top_n": [1, 2], "execution_lag": [1, 2]}
    rows = client.get(done["result"]).json()
    market = load_market(home.parent / "operator" / "posts.csv", home.parent / "operator" / "closes.csv")
    assert len(rows) == 4
    for row in rows:
        assert (row["config"]["cost_bps"], row["config"]["drift"]) == (5.0, False)
        expected = run_study(StudyConfig(**row["config"]), market).summary
        for name, value in expected.items():
            same = value if not isinstance(value, float) else pytest.approx(value, rel=1e-9)
            assert row["summary"][name] == same, name
    parquet = client.get(done["result"], params={"format": "parquet"})
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet" and parquet.content[:4] == b"PAR1"
    assert client.get(done["result"], params={"format": "xml"}).status_code == 422
    assert client.get(f"/jobs/{job}/html").status_code == 404


def test_a_report_is_made_and_shows_no_path_of_the_server(client: Any, home: Path):
    job = submit(client)
    assert client.get(f"/jobs/{job}/html").status_code == 409
    done = wait(client, job)
    assert (done["status"], done["error"]) == ("done", None)
    page, result = client.get(done["html"]), client.get(done["result"])
    study = client.post("/portfolio/analyze", json=REPORT).json()["study"]
    assert result.json()["summary"] == study["summary"]
    assert page.text.startswith("<!doctype html>") and "small.csv" in page.text
    for text in (page.text, result.text, json.dumps(done)):
        assert str(home) not in text and str(home.parent) not in text
    policy = page.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy and "allow-same-origin" not in policy
    assert "script-src 'unsafe-inline' blob:" in policy and "frame-ancestors 'none'" in policy
    assert client.get(done["result"], params={"format": "parquet"}).status_code == 422
    assert client.delete(f"/jobs/{job}").status_code == 409


def test_a_cancelled_job_ends_with_all_of_its_processes(client: Any, home: Path):
    job, waiting = submit(client), submit(client)
    pid = wait_for_process(home, job)
    assert client.delete(f"/jobs/{waiting}").json()["status"] == "cancelled"
    assert client.delete(f"/jobs/{job}").json()["status"] == "cancelled"
    until(lambda: not alive(pid), SECONDS)
    until(lambda: not JobFolder(home / "jobs" / job).is_alive(), SECONDS)
    assert client.get(f"/jobs/{job}").json()["status"] == "cancelled"
    assert "pid" not in status_file(home, waiting)
    assert client.delete(f"/jobs/{job}").status_code == 409
    for path in ("result", "html"):
        assert client.get(f"/jobs/{job}/{path}").status_code == 409


def test_a_job_that_ignores_the_request_to_end_is_killed(connect: Any, home: Path):
    client = connect(grace_seconds=0.5)
    job = submit(client)
    pid = wait_for_process(home, job)
    os.kill(pid, signal.SIGSTOP)  # it cannot even look at the request
    client.delete(f"/jobs/{job}")
    until(lambda: not alive(pid), SECONDS)


def test_a_killed_process_is_a_failure_that_says_so(client: Any, home: Path):
    job = submit(client)
    os.kill(wait_for_process(home, job), signal.SIGKILL)
    ended = wait(client, job)
    assert ended["status"] == "failed" and "killed by SIGKILL; memory may have run out" in ended["error"]
    assert ended["result"] is None


def test_a_killed_process_is_the_same_failure_whichever_server_is_asked(connect: Any, home: Path):
    clients = [connect(jobs_running=4) for _ in range(2)]
    jobs = [submit(clients[number % 2]) for number in range(4)]
    for job in jobs:
        os.kill(wait_for_process(home, job), signal.SIGKILL)
    seen: dict[str, set[tuple[str, str | None]]] = {job: set() for job in jobs}
    until(lambda: all(wait_once(clients, seen[job], job) for job in jobs), SECONDS)
    for _ in range(20):
        for job in jobs:
            wait_once(clients, seen[job], job)
    killed = ("failed", "its process was killed by SIGKILL; memory may have run out")
    assert set(map(frozenset, seen.values())) <= {frozenset({("running", None), killed}), frozenset({killed})}


def wait_once(clients: list[Any], seen: set[tuple[str, str | None]], job: str) -> bool:
    """Ask every server how a job stands; return whether it is over."""
    answers = [client.get(f"/jobs/{job}").json() for client in clients]
    seen |= {(answer["status"], answer["error"]) for answer in answers}
    return answers[-1]["status"] in FINAL


def test_a_process_that_is_killed_after_the_server_that_started_it_ended_is_a_failure_for_the_others(
    connect: Any, home: Path
):
    first, second = connect(), connect()
    job = submit(first)
    pid = wait_for_process(home, job)
    stop(first)
    os.killpg(pid, signal.SIGKILL)
    ended = wait(second, job)
    assert ended["status"] == "failed"
    assert re.fullmatch(r"its process was killed (by SIGKILL|and nobody was told how); memory may .*", ended["error"])


def test_a_report_that_fails_names_its_cell_and_gives_its_notebook(
    connect: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In the kernel, and nowhere else, the study cannot be imported."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys\nif any('serve_kernel' in part for part in sys.orig_argv):\n    sys.modules['workbench.study'] = None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    client = connect()
    job = submit(client)
    ended = wait(client, job)
    assert ended["status"] == "failed" and (ended["result"], ended["html"]) == (None, None)
    assert re.match(r'cell \d+ \("[^"]+"\) stopped with ModuleNotFoundError: .*workbench\.study', ended["error"])
    answer = client.get(f"/jobs/{job}/result", params={"format": "ipynb"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ipynb+json")
    outputs = [output for cell in answer.json()["cells"] for output in cell.get("outputs", [])]
    (error,) = [output for output in outputs if output["output_type"] == "error"]
    assert error["traceback"] == [f"ModuleNotFoundError: {error['evalue']}"]
    assert nbformat.validate(nbformat.from_dict(answer.json())) is None
    for text in (answer.text, json.dumps(ended)):
        assert not [path for path in (home.parent, ROOT, sys.prefix) if str(path) in text]
    for path in ("result", "html"):
        refused = client.get(f"/jobs/{job}/{path}")
        assert refused.status_code == 409
        assert refused.json()["detail"].endswith(f"failed; its notebook up to there: /jobs/{job}/result?format=ipynb")


def test_a_job_gives_way_to_the_server(client: Any, home: Path):
    job = submit(client)
    process = psutil.Process(wait_for_process(home, job))
    expected = min(19, psutil.Process().nice() + NICENESS)
    until(lambda: process.nice() == expected, SECONDS)
    assert client.delete(f"/jobs/{job}").status_code == 200


def test_a_command_that_refuses_is_a_failure_with_its_line(connect: Any, home: Path):
    client = connect(job_engine="nonsense")
    ended = wait(client, submit(client))
    assert ended["status"] == "failed"
    assert ended["error"] == "engine must be one of auto, local, ray, got 'nonsense'"


def test_a_new_server_adopts_a_job_that_runs(connect: Any, home: Path):
    first = connect()
    job = submit(first)
    pid = wait_for_process(home, job)
    stop(first)
    assert alive(pid)
    second = connect()
    assert second.get(f"/jobs/{job}").json()["status"] == "running"
    done = wait(second, job)
    assert (done["status"], done["error"]) == ("done", None)
    assert status_file(home, job)["pid"] == pid
    assert second.get(done["html"]).status_code == 200


def test_a_new_server_cancels_a_job_that_it_did_not_start(connect: Any, home: Path):
    first = connect()
    job = submit(first)
    pid = wait_for_process(home, job)
    stop(first)
    assert connect().delete(f"/jobs/{job}").json()["status"] == "cancelled"
    until(lambda: not alive(pid), SECONDS)


def test_a_job_whose_process_vanished_between_servers_is_lost(connect: Any, home: Path):
    first = connect()
    job = submit(first)
    pid = wait_for_process(home, job)
    stop(first)
    os.killpg(pid, signal.SIGKILL)
    until(lambda: not JobFolder(home / "jobs" / job).is_alive(), SECONDS)
    ended = wait(connect(), job)
    assert ended["status"] == "lost" and "left no result" in ended["error"]


def test_another_process_with_the_same_number_is_neither_the_job_nor_killed(connect: Any, home: Path):
    """After a restart of the machine, a number in an old status may be anybody's."""
    settings = Settings(home)
    jobs = Jobs(settings, lambda: dict(os.environ))
    status = {"kind": "report", "status": "running", "created_at": "2026-01-01T00:00:00+00:00", "finished_at": None}
    status |= {
        "started_at": "2026-01-01T00:00:00+00:00",
        "error": None,
        "request": {},
        "total": None,
        "arguments": [],
        "inputs": {},
    }
    job = new_job(jobs.folder, status | {"pid": os.getpid(), "born": 0.0}, {})
    held = job.lock_for_child()
    try:
        jobs.cancel(job.id)  # the process group of these tests survives it
    finally:
        os.close(held)
    assert (job.read() or {})["status"] == "cancelled"


def test_two_servers_run_every_job_once(connect: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every Python that starts notes its command line, so that a second run of a job would be seen."""
    starts = tmp_path / "starts"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        f"import os, sys\nwith open({str(starts)!r}, 'a') as file:\n    file.write(os.getcwd() + ' ' + ' '.join(sys.orig_argv) + '\\n')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    clients = [connect(job_engine="nonsense", jobs_running=2) for _ in range(3)]
    jobs = [submit(clients[i % 3]) for i in range(6)]
    assert {wait(clients[0], job)["status"] for job in jobs} == {"failed"}
    lines = [line for line in starts.read_text().splitlines() if "job_process" in line]
    assert sorted(Path(line.split(" ")[0]).name for line in lines) == sorted(jobs)


def test_no_more_run_than_may_and_no_more_wait_than_may(connect: Any, home: Path):
    client = connect(jobs_running=1, jobs_queued=2)
    first = submit(client)
    wait_for_process(home, first)
    others = [submit(client), submit(client)]
    refused = client.post("/reports", json=REPORT)
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
    assert client.get("/status").json()["jobs"] == {"queued": 2, "running": 1}
    for job in (*others, first):
        assert client.delete(f"/jobs/{job}").status_code == 200
    assert client.get("/status").json()["jobs"] == {"queued": 0, "running": 0}


def test_a_job_that_takes_too_long_is_ended(connect: Any, home: Path):
    client = connect(job_seconds=0.5)
    job = submit(client)
    ended = wait(client, job)
    assert (ended["status"], ended["error"]) == ("failed", "it took more than 0.5 s")
    until(lambda: not JobFolder(home / "jobs" / job).is_alive(), SECONDS)


@pytest.mark.parametrize("failing", [1, 2])  # before its process is there, and before its number is written down
def test_a_disk_that_is_full_as_a_job_starts_leaves_no_process_and_holds_no_place(
    home: Path, monkeypatch: pytest.MonkeyPatch, failing: int
):
    jobs = Jobs(Settings(home), lambda: dict(os.environ))
    status = {"kind": "report", "status": "queued", "created_at": "2026-01-01T00:00:00+00:00", "started_at": None}
    status |= {"finished_at": None, "error": None, "request": {}, "total": None, "inputs": {}}
    job = new_job(jobs.folder, status | {"arguments": ["sweep", "--grid", "top_n=1..200;cost_bps=0..500"]}, {})
    write, written = JobFolder.write, []

    def full_once(self: JobFolder, status: Any) -> None:
        written.append(status["status"])
        if len(written) == failing:
            raise UnavailableError("the disk is full")
        write(self, status)

    monkeypatch.setattr(JobFolder, "write", full_once)
    jobs.look()
    assert (job.read() or {})["status"] == "failed" and "could not be started" in (job.read() or {})["error"]
    until(lambda: not job.is_alive(), SECONDS)
    assert written == ["running"] * failing + ["failed"]


def test_old_jobs_and_those_beyond_the_number_are_removed(home: Path):
    settings = Settings(home, jobs_kept=2, jobs_days=10)
    jobs = Jobs(settings, lambda: dict(os.environ))
    ages = {"2020-01-01T00:00:00+00:00": False, "2026-11-01T00:00:00+00:00": False}
    today = time.strftime("%Y-%m-%dT%H:%M:{}+00:00", time.gmtime(time.time() - 60))
    ages |= {today.format("01"): False, today.format("02"): True, today.format("03"): True}
    made = {}
    for ended in ages:
        status = {"kind": "report", "status": "done", "created_at": ended, "started_at": ended, "finished_at": ended}
        made[ended] = new_job(
            jobs.folder, status | {"error": None, "request": {}, "total": None, "arguments": [], "inputs": {}}, {}
        )
    jobs.look()
    assert {ended: job.path.exists() for ended, job in made.items()} == ages


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/sweeps", {}, "grid must be given"),
        ("/sweeps", {"grid": ""}, "a grid must be like"),
        ("/sweeps", {"grid": 5}, "grid must be"),
        ("/sweeps", {"grid": {}}, "a grid must be like"),
        ("/sweeps", {"grid": {"top_n": []}}, "a grid must be like"),
        ("/sweeps", {"grid": {"top_n": [{"a": 1}]}}, "top_n must be a whole number"),
        ("/sweeps", {"grid": "topn=1,2"}, "unknown parameter 'topn'"),
        ("/sweeps", {"grid": "top_n=1..100000000"}, "a range of top_n must have at most"),
        ("/sweeps", {"grid": "seed=0..99999;top_n=1..100"}, "at most 200,000 configurations"),
        ("/sweeps", {"grid": "top_n=1,2", "top_n": 3}, "top_n must be a field or in the grid"),
        ("/sweeps", {"grid": "signal=engagement_ratio,nope"}, "signal must be one of"),
        ("/sweeps", {"grid": "signal=a\x00b"}, "printable text"),
        ("/sweeps", {"grid": "top_n=" + "1," * 40_000}, "at most 65,536 characters"),
        ("/sweeps", {"grid": {"exclude": [["A,B"], ["C"]]}}, "written as text"),
        ("/sweeps", {"grid": "top_n=1", "out": "/tmp/x.parquet"}, "unknown field 'out'"),
        ("/reports", {"top_n": 5}, "top_n must be between 1 and 4"),
        ("/reports", {"signal": "nope"}, "signal must be one of"),
        ("/reports", {"exclude": ["A,B"]}, "without commas"),
        ("/reports", {"notebook": "/etc/passwd"}, "unknown field 'notebook'"),
        ("/reports", {"dataset": "../x"}, "dataset must be the name"),
        ("/reports", {"start": "9999-01-01"}, "start must be a day in the years"),
        ("/reports", {"prices": "https://x/y"}, "prices must be"),
    ],
)
def test_a_wrong_job_is_refused_before_it_is_one(shared: Any, path: str, body: dict[str, Any], words: str):
    answer = shared.post(path, json={"dataset": "small", **body})
    assert answer.status_code == 422 and words in answer.json()["detail"], answer.text
    assert [entry.name for entry in shared.app.state.server.jobs.folder.iterdir() if entry.is_dir()] == []


@pytest.mark.parametrize("name", ["0123456789abcdef", "x", "%2e%2e%2fapi", "lock", "servers", ".new-0123456789abcdef"])
def test_what_is_no_job_is_not_found(shared: Any, name: str):
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/html")):
        answer = shared.request(method, f"/jobs/{name}{path}")
        assert answer.status_code in (404, 405) and list(answer.json()) == ["detail"]
