"""The server as a process: sockets, slow and rude clients, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import alive, until
from served import ANALYZE, Served, until_closed
from small_home import make_home

from workbench.api.job_files import JobFolder
from workbench.api.serve import check_on_ray
from workbench.api.settings import Settings
from workbench.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"WORKBENCH_API_HEADER_SECONDS": "2", "WORKBENCH_API_BODY_SECONDS": "1"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def served(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("log"), home=home, **QUICK)
    server.wait_for_answer()
    yield server
    server.end()


def test_the_door_opens_and_many_clients_get_one_answer(served: Served):
    def ask(seed: int) -> tuple[int, Any]:
        answer = httpx.post(
            f"{served.url}/portfolio/analyze", json={"dataset": "small", "top_n": 2, "seed": seed % 5}, timeout=30
        )
        return answer.status_code, answer.json()["study"]["summary"]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(100)))
    assert {status for status, _ in answers} == {200}
    assert all(summary == answers[0][1] for _, summary in answers)


def test_a_claim_of_ten_gigabytes_is_refused_at_once(served: Served):
    for path, kind in (("/portfolio/analyze", b"application/json"), ("/datasets?name=big", b"text/csv")):
        started = time.monotonic()
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 10000000000\r\n\r\n"
        answer = served.answer_to(head % (path.encode(), kind))
        assert answer.startswith(b"HTTP/1.1 413 ") and time.monotonic() - started < 5


def test_a_body_that_drips_is_cut_off_and_others_are_served_meanwhile(served: Served):
    with served.many(ANALYZE % 1000 + b"{", 50) as lines:
        assert httpx.get(f"{served.url}/health", timeout=5).status_code == 200
        answers = [until_closed(line) for line in lines]
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)


def test_a_head_that_drips_is_cut_off(served: Served):
    with served.raw(b"") as silent, served.many(b"GET / HTTP/1.1\r\nHost: loc", 20) as lines:
        for _ in range(8):
            for line in lines:
                with contextlib.suppress(OSError):
                    line.sendall(b"a")
            time.sleep(0.25)
        assert [until_closed(line) for line in (silent, *lines)] == [b""] * 21
    assert httpx.get(f"{served.url}/health", timeout=5).status_code == 200


def test_a_head_without_end_is_refused(served: Served):
    answer = served.answer_to_a_head_without_end()
    assert answer[:12] in (b"HTTP/1.1 431", b"")  # cut off, whether its words arrive or not
    assert httpx.get(f"{served.url}/health", timeout=5).status_code == 200


def test_a_client_that_leaves_in_the_middle_is_no_fault_of_the_server(served: Served):
    head = b"POST /portfolio/analyze HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: left-early\r\n"
    served.raw(head + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{").close()
    entry = served.entry("left-early")
    assert (entry["level"], entry["status"]) == ("info", 499)
    assert "Traceback" not in served.log.read_text()


def test_a_connection_is_used_again_after_it_was_idle(served: Served):
    with httpx.Client(base_url=served.url) as client:
        assert client.get("/").status_code == 200
        time.sleep(2.5)  # longer than a head may take
        assert client.get("/").status_code == 200
        before = served.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert before.recv(4096).startswith(b"HTTP/1.1 200")
        before.close()


def test_what_is_not_http_is_an_error_of_the_client(served: Served):
    for data in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100):
        answer = served.answer_to(data)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert httpx.get(f"{served.url}/health").status_code == 200


def test_the_log_is_json_with_the_requests_id(served: Served):
    httpx.get(f"{served.url}/status", headers={"X-Request-Id": "find-me"})
    entry = served.entry("find-me")
    assert (entry["path"], entry["status"], entry["level"]) == ("/status", 200, "info")


def started(home: Path, folder: Path) -> Served:
    folder.mkdir()
    # On a busy machine the first study with an optimiser takes longer than a server waits at its end.
    server = Served(folder, home=home, WORKBENCH_API_STOP_SECONDS="60")
    server.wait_for_answer()
    return server


def test_a_killed_server_loses_no_job_and_a_stopped_one_answers_what_it_began(home: Path, tmp_path: Path):
    first = started(home, tmp_path / "first")
    job = httpx.post(f"{first.url}/reports", json={"dataset": "small", "top_n": 2}, timeout=30).json()["id"]
    folder = JobFolder(home / "jobs" / job)
    until(lambda: "pid" in (folder.read() or {}), 30.0)
    first.end()
    assert folder.is_alive() and alive((folder.read() or {})["pid"])

    second = started(home, tmp_path / "second")
    until(lambda: httpx.get(f"{second.url}/jobs/{job}").json()["status"] == "done", 60.0)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(
            httpx.post, f"{second.url}/portfolio/analyze", json={"weighting": "min_variance"}, timeout=60
        )
        until(lambda: httpx.get(f"{second.url}/status").json()["computations"]["taken"] == 1 or asked.done(), 30.0)
        second.process.send_signal(signal.SIGTERM)
        assert asked.result().status_code == 200
    assert second.process.wait(60) == 128 + signal.SIGTERM
    assert "Traceback" not in second.log.read_text()


def test_beyond_loopback_without_a_key_it_does_not_start(tmp_path: Path):
    code = "from workbench import cli_serve; cli_serve.serve(host='0.0.0.0', port=1, engine='local')"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WORKBENCH_API")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment | {"WORKBENCH_HOME": str(tmp_path)},
    )
    assert done.returncode != 0
    assert "ConfigError: host must be a loopback address where no API key is set, got 0.0.0.0" in done.stderr


@pytest.mark.parametrize("options", [[], ["--host", "0.0.0.0"]])
def test_a_key_that_rays_own_ports_would_not_ask_for_is_refused_before_anything_starts(
    tmp_path: Path, options: list[str]
):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WORKBENCH_API", "RAY_"))}
    environment |= {
        "WORKBENCH_HOME": str(tmp_path),
        "WORKBENCH_API_KEY": "a-key-for-this-test",
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "serve", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment | {"RAY_AUTH_MODE": "disabled"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "workbench: RAY_AUTH_MODE must be token, or not set, where an API key is set, got 'disabled': who reaches the ports of the "
        "Ray that is started would need no key; unset it, or serve with --engine local\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        ({}, False),
        ({"RAY_AUTH_MODE": "token"}, False),
        ({"RAY_AUTH_MODE": "TOKEN"}, False),
        ({"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "10.0.0.1:6379"}, False),  # its nodes decide
        ({"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "local"}, True),
        ({"RAY_AUTH_MODE": ""}, True),
        ({"RAY_AUTH_MODE": "off"}, True),
    ],
)
def test_only_a_ray_that_is_started_here_without_a_token_is_refused(
    variables: dict[str, str], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings(tmp_path, key_hashes=(b"",))
    with pytest.raises(ConfigError, match="RAY_AUTH_MODE must be token") if refused else contextlib.nullcontext():
        check_on_ray(settings)
    check_on_ray(Settings(tmp_path))  # without a key, on loopback, there is none to go around
