"""`workbench serve` on Ray Serve: the answers of the other engine, rude clients, a replica killed, and nothing left behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from processes import until
from served import ANALYZE, Served, free_port, serving, until_closed
from small_home import make_home, register

from workbench import StudyConfig, cli, load_market, run_study
from workbench.api.job_files import JobFolder
from workbench.cluster.deployment import Serving
from workbench.cluster.serving import serving as serve_here
from workbench.market.tables import Market

LIMITS = {"WORKBENCH_API_HEADER_SECONDS": "1", "WORKBENCH_API_BODY_SECONDS": "1"}
OUTAGE_SECONDS = 10.0
STUDY = {"dataset": "small", "top_n": 2}
IS_SHORT = not os.environ.get("WORKBENCH_FULL")
FULL = pytest.mark.skipif(IS_SHORT, reason="a minute of requests beside those of the other engine: WORKBENCH_FULL=1")
FULL_SERVE = pytest.mark.skipif(IS_SHORT, reason="a Serve that is started for one look at it: WORKBENCH_FULL=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def market(home: Path) -> Market:
    record = json.loads((home / "api" / "datasets" / "small.json").read_text())
    return load_market(record["sentiment"], record["prices"])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    from workbench.cluster import session
    from workbench.cluster.nodes import cluster_address

    with session.running(num_cpus=2):
        yield cluster_address()


@pytest.fixture(scope="module")
def served(home: Path, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("log"), home=home, engine="ray", RAY_ADDRESS=address, **LIMITS)
    try:
        server.wait_for_answer()
        yield server
        assert server.end(signal.SIGTERM) == 128 + signal.SIGTERM
    finally:
        server.process.kill()
        server.process.wait()
    assert "Traceback" not in server.log.read_text()
    assert not replicas()  # it took its own along, and left the Ray to the others


def replicas() -> list[int]:
    """Return the processes that answer, on the Ray that this process started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(part.startswith("ray::ServeReplica:workbench") for part in process.cmdline()):
                found.append(process.pid)
    return found


def log_of(server: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def finished(server: Served, job: str, seconds: float = 120.0) -> dict[str, Any]:
    def status() -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{server.url}/jobs/{job}", timeout=30).json()
        return answer

    until(lambda: status()["status"] not in ("queued", "running"), seconds)
    return status()


def niceness(*kinds: str) -> set[int]:
    """Return how much nicer than this process Ray's processes of some kinds are."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(part.startswith(kinds) for part in process.cmdline()):
                found.add(process.nice() - psutil.Process().nice())
    return found


@FULL_SERVE
def test_replicas_of_a_ray_that_was_started_to_serve_are_as_prompt_as_any_process(address: str):
    """Before the server of the other tests: there is one Serve to a cluster."""

    def make_app(cluster: Any) -> Any:
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        return Starlette(routes=[Route("/", lambda request: PlainTextResponse("here"))])

    limits = {"ongoing": 4, "queued": 4, "retry_after_seconds": 1, "request_seconds": 30.0, "stop_seconds": 1.0}
    how = Serving(host="127.0.0.1", port=free_port(), replicas=1, **limits)
    with serve_here(make_app, how) as where:
        assert where == address
        assert httpx.get(f"http://127.0.0.1:{how.port}", timeout=30).text == "here"
        assert niceness("ray::ServeReplica:workbench") == {0}
        assert niceness("ray::ProxyActor", "ray::HTTPProxy") == {0}


def test_replicas_on_a_ray_of_others_have_the_priority_of_its_other_workers(served: Served):
    assert niceness("ray::ServeReplica:workbench") == {min(15, 19 - psutil.Process().nice())}


def test_it_says_that_it_is_ray(served: Served):
    assert httpx.get(served.url).json()["engine"] == "Ray Serve"
    assert httpx.get(f"{served.url}/health").json()["ray_initialized"] is True
    status = httpx.get(f"{served.url}/status", timeout=30).json()
    assert status["nodes"][0]["alive"] and status["resources"]["CPU"] == 2.0


def test_its_answers_are_those_of_a_call_in_process_and_replicas_share_them(served: Served, market: Market):
    expected = run_study(StudyConfig(top_n=2), market).to_dict()
    answers = [httpx.post(f"{served.url}/portfolio/analyze", json=STUDY, timeout=60) for _ in range(20)]
    assert [answer.headers["X-Cache"] for answer in answers] == ["miss"] + ["hit"] * 19
    assert {answer.content for answer in answers} == {answers[0].content}
    study = answers[0].json()["study"]
    for name in ("config", "summary", "selection", "weights", "pending", "losses"):
        assert study[name] == expected[name], name
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 20
    text = httpx.get(f"{served.url}/metrics").text
    assert 'workbench_cache_total{outcome="hit"} 19.0' in text  # of both replicas, whichever answers
    assert 'workbench_requests_total{method="POST",route="/portfolio/analyze",status="200"} 20.0' in text


def test_rude_clients_are_refused_in_time(served: Served):
    started = time.monotonic()
    assert served.answer_to(ANALYZE % 10_000_000_000).startswith(b"HTTP/1.1 413 ")
    unfinished = served.many(ANALYZE % 1000 + b"{", 300)  # more than replicas take
    with unfinished as drips, served.many(b"GET / HTTP/1.1\r\nHost: loc", 20) as heads:
        assert httpx.get(f"{served.url}/health", timeout=5).status_code == 200
        assert all(until_closed(line).startswith(b"HTTP/1.1 408 ") for line in drips)
        assert all(until_closed(line) == b"" for line in heads)
    assert time.monotonic() - started < 10
    for body in (b"\xff\xfe", b"[]", b'{"start": "9999-12-31"}', b'{"sentiment_url": "http://127.0.0.1/"}'):
        answer = httpx.post(
            f"{served.url}/portfolio/analyze", content=body, headers={"Content-Type": "application/json"}, timeout=30
        )
        assert answer.status_code == 422, answer.text
    # Replicas never saw these: they were counted and logged where they were refused.
    text = httpx.get(f"{served.url}/metrics", timeout=30).text
    assert 'workbench_requests_total{method="POST",route="/portfolio/analyze",status="408"} 300.0' in text
    until(lambda: len([line for line in log_of(served) if line.get("status") == 408]) == 300, 5.0)
    odd = httpx.get(served.url, headers={"X-Request-Id": "not one of ours!"})
    assert len(odd.headers.get_list("X-Request-Id")) == 1 and "!" not in odd.headers["X-Request-Id"]


def test_a_head_without_end_is_refused(served: Served):
    answer = served.answer_to_a_head_without_end()
    assert answer[:12] in (b"HTTP/1.1 431", b"")  # cut off, whether its words arrive or not
    assert httpx.get(f"{served.url}/health", timeout=5).status_code == 200


@pytest.mark.parametrize(
    "name",
    [b"x-request-id", b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve_multiplexed_model_id"],
)
@pytest.mark.parametrize("value", [b"\xff\xfe", b"0.000001", b"-1", b"?1"])
def test_no_header_gives_ray_orders(served: Served, name: bytes, value: bytes):
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s: %s\r\n\r\n" % (name, value)
    assert served.answer_to(request).startswith(b"HTTP/1.1 200 ")


def test_serves_own_pages_are_not_shown(served: Served):
    assert httpx.get(f"{served.url}/-/routes").status_code == 404
    assert httpx.get(f"{served.url}/-/healthz").status_code == 200
    answer = httpx.get(f"{served.url}/-/routes", headers={"X-Request-Id": "no-such-page"})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers.get_list("X-Request-Id") == ["no-such-page"]
    until(lambda: [line["status"] for line in log_of(served) if line.get("request_id") == "no-such-page"] == [404], 5.0)
    text = httpx.get(f"{served.url}/metrics", timeout=30).text
    assert 'workbench_requests_total{method="GET",route="unmatched",status="404"} 2.0' in text


def test_the_log_of_the_replicas_is_this_process_stderr(served: Served):
    httpx.get(f"{served.url}/status", headers={"X-Request-Id": "find-me"}, timeout=30)
    entry = served.entry("find-me")
    assert (entry["path"], entry["status"], entry["level"]) == ("/status", 200, "info")


def test_a_replica_killed_under_load_costs_no_wrong_answer_no_job_and_no_long_outage(served: Served):
    expected = httpx.post(f"{served.url}/portfolio/analyze", json=STUDY, timeout=60).json()["study"]["summary"]
    body = {"dataset": "small", "grid": "top_n=1..4;weighting=equal,inverse_volatility;cost_bps=0,5,10"}
    job = httpx.post(f"{served.url}/sweeps", json=body, timeout=60).json()["id"]
    stop, moments, wrong, refused = threading.Event(), [time.monotonic()], [], []

    def load(number: int) -> None:
        turn = 0
        with httpx.Client(base_url=served.url, timeout=30) as client:
            while not stop.is_set():
                turn += 1
                seed = number * 10_000 + turn if turn % 10 == 0 else 0  # every tenth is computed anew
                try:
                    answer = client.post("/portfolio/analyze", json=STUDY | {"seed": seed})
                except httpx.TransportError as error:
                    refused.append(type(error).__name__)
                    continue
                if answer.status_code != 200:
                    refused.append(str(answer.status_code))
                elif answer.json()["study"]["summary"] != expected:
                    wrong.append(answer.text[:200])
                else:
                    moments.append(time.monotonic())

    threads = [threading.Thread(target=load, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(2.0)
        before = replicas()
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(set(replicas()) - {before[0]}) == 2, 60.0)
        time.sleep(2.0)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    moments.append(time.monotonic())
    assert wrong == []
    assert max(later - earlier for earlier, later in itertools.pairwise(moments)) < OUTAGE_SECONDS
    assert len(refused) <= 8, refused  # what the killed one had in hand, at most two rounds of it
    assert finished(served, job)["status"] == "done"
    rows = httpx.get(f"{served.url}/jobs/{job}/result", timeout=30).json()
    assert len(rows) == 24


def test_the_study_of_the_real_data_is_the_same_through_every_door(
    served: Served,
    home: Path,
    real_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """The dashboard shows what the API answers, which its own tests hold against `run_study` on the same data."""
    files = {"sentiment": str(real_data / "sentiment_data.csv"), "prices": str(real_data / "prices.csv.gz")}
    summary = json.loads(json.dumps(run_study(StudyConfig(), load_market(**files)).summary))
    options = [text for name, value in files.items() for text in (f"--{name}", value)]

    def command_line(*more: str) -> dict[str, Any]:
        assert cli.run(["backtest", "--json", *options, *more]) == 0
        found: dict[str, Any] = json.loads(capfd.readouterr().out)["summary"]
        return found

    def http(url: str, dataset: str) -> dict[str, Any]:
        answer = httpx.post(f"{url}/portfolio/analyze", json={"dataset": dataset}, timeout=60).json()
        found: dict[str, Any] = answer["study"]["summary"]
        return found

    monkeypatch.delenv("WORKBENCH_URL", raising=False)
    register(home, "real", *map(Path, files.values()))
    assert command_line() == summary
    assert http(served.url, "real") == summary
    assert command_line("--url", served.url) == summary
    with serving(tmp_path) as other:
        register(other.home, "real", *map(Path, files.values()))
        assert httpx.get(other.url).json()["engine"] == "uvicorn"
        assert http(other.url, "real") == summary


def test_a_killed_job_is_the_same_failure_whichever_replica_is_asked(served: Served):
    job = httpx.post(f"{served.url}/reports", json=STUDY, timeout=60).json()["id"]
    folder = JobFolder(served.home / "jobs" / job)
    until(lambda: "pid" in (folder.read() or {}), 60.0)
    os.kill((folder.read() or {})["pid"], signal.SIGKILL)
    seen = set()
    until(lambda: seen.add(answer_on(served, job)) or answer_on(served, job)[0] == "failed", 60.0)
    seen |= {answer_on(served, job) for _ in range(40)}
    killed = ("failed", "its process was killed by SIGKILL; memory may have run out")
    assert seen in ({killed}, {("running", None), killed})


def answer_on(served: Served, job: str) -> tuple[str, str | None]:
    """Ask how a job stands, on a connection of its own."""
    answer = httpx.get(f"{served.url}/jobs/{job}", timeout=30).json()
    return answer["status"], answer["error"]


def test_a_report_whose_kernel_is_killed_names_the_cell_and_gives_its_notebook(served: Served):
    job = httpx.post(f"{served.url}/reports", json=STUDY, timeout=60).json()["id"]
    folder = JobFolder(served.home / "jobs" / job)
    until(lambda: "pid" in (folder.read() or {}), 60.0)
    until(lambda: kill_kernel_in_a_cell((folder.read() or {})["pid"]), 120.0)
    ended = finished(served, job)
    assert ended["status"] == "failed"
    assert re.match(
        r'cell \d+ \("[^"]+"\) stopped with DeadKernelError: the kernel died, killed by SIGKILL', ended["error"]
    )
    answer = httpx.get(f"{served.url}/jobs/{job}/result?format=ipynb", timeout=30)
    statuses = [
        cell["metadata"]["papermill"]["status"] for cell in answer.json()["cells"] if cell["cell_type"] == "code"
    ]
    assert statuses.count("failed") == 1 and statuses[-1] == "pending"
    assert str(served.home.parent) not in answer.text


def kill_kernel_in_a_cell(pid: int) -> bool:
    """Kill a job's kernel where it is at a cell, having begun to import what only cells do; return whether it was."""
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            is_kernel = any("serve_kernel" in part for part in process.cmdline())
            if is_kernel and any("pandas" in part.path for part in process.memory_maps()):
                process.kill()
                return True
    return False


def test_jobs_use_the_ray_that_serves(served: Served):
    job = httpx.post(f"{served.url}/reports", json=STUDY, timeout=60).json()["id"]
    assert finished(served, job, 240.0)["status"] == "done"
    report = httpx.get(f"{served.url}/jobs/{job}/result", timeout=30).json()
    assert report["report"]["execution"]["engine"] == "ray"


def test_a_stopped_server_answers_what_it_began_and_its_jobs_run_on(address: str, served: Served, tmp_path: Path):
    body = {"dataset": "small", "grid": "top_n=1..4;weighting=min_variance,hrp;lookback_days=20..60"}
    job = httpx.post(f"{served.url}/sweeps", json=body, timeout=60).json()["id"]
    folder = JobFolder(served.home / "jobs" / job)
    until(lambda: "pid" in (folder.read() or {}), 60.0)
    table = b"date,symbol,price\n" + b"2022-01-03,AAA,1\n" * 200_000

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(table), len(table) // 20):
            yield table[start : start + len(table) // 20]
            time.sleep(0.15)

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            httpx.post,
            f"{served.url}/datasets?name=slow&kind=prices",
            content=slowly(),
            headers={"Content-Type": "text/csv"},
            timeout=60,
        )
        time.sleep(1.0)
        served.process.send_signal(signal.SIGTERM)
        assert asked.result().status_code == 422  # read to its end: no benchmark in it
    assert served.process.wait(60) == 128 + signal.SIGTERM
    assert folder.is_alive()
    served.start()
    assert finished(served, job, 300.0)["status"] == "done"


def test_a_second_server_and_a_taken_port_are_refused_in_one_line(served: Served, address: str, tmp_path: Path):
    for port, words in ((None, "serves workbench already"), (served.port, "cannot be listened on")):
        second = Served(tmp_path, port=port, engine="ray", RAY_ADDRESS=address)
        assert second.process.wait(60) == 3
        said = [line for line in second.log.read_text().splitlines() if not line.endswith("it takes some 20 s")]
        assert words in said[-1] and "Traceback" not in second.log.read_text(), said


OPERATIONS = [("/datasets", "POST"), ("/portfolio/analyze", "POST"), ("/stocks/analyze", "POST"), ("/sweeps", "POST")]
OPERATIONS += [("/jobs/{job_id}", "GET"), ("/jobs/{job_id}/result", "GET"), ("/status", "GET"), ("/", "GET")]


@FULL
@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_generated_requests_find_nothing_undocumented(served: Served, path: str, method: str, mode: str):
    from hypothesis import HealthCheck, Phase, given, settings

    if mode == "NEGATIVE" and path in ("/status", "/"):
        pytest.skip("it takes nothing that could be wrong")
    schemathesis = pytest.importorskip("schemathesis")
    checks = schemathesis.checks
    chosen = [checks.not_a_server_error, checks.status_code_conformance, checks.response_schema_conformance]
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    strategy = schema[path][method].as_strategy(generation_mode=schemathesis.GenerationMode[mode])

    @given(case=strategy)
    @settings(max_examples=10, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any) -> None:
        # Queues are short here, on purpose: that they are full is an answer too.
        answer = case.call()
        if answer.status_code != 503:
            case.validate_response(answer, checks=chosen)

    ask()
