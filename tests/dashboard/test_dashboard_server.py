"""The dashboard as a process: where it may listen, how it ends, what it leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from doors import Dashboard
from processes import alive
from served import ROOT, free_port

from workbench.dashboard.server import check_place, options
from workbench.errors import ConfigError, UnavailableError


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench", "dashboard", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def upgrade(port: int, host: str, origin: str) -> int:
    """Return the status of the answer to a page of `origin`, which reached the dashboard as `host`, opening a session."""
    lines = (
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}",
        f"Origin: {origin}",
        "Connection: Upgrade",
        "Upgrade: websocket",
    )
    key = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall("\r\n".join((*lines, *key, "", "")).encode())
        return int(line.recv(4096).split()[1])


def test_a_port_in_use_is_one_line_and_exit_code_3():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--port", str(port))
    assert (done.returncode, done.stdout) == (3, "")
    why = "cannot be listened on: Address already in use; choose another with --port"
    assert done.stderr == f"workbench: port {port} of 127.0.0.1 {why}\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid"])
def test_beyond_loopback_it_refuses_and_says_why_and_the_way_out(host: str):
    with pytest.raises(ConfigError, match=r"asks for no login.*--allow-remote"):
        check_place(host, 8501, allow_remote=False)


def test_the_refusal_is_one_line_and_exit_code_2():
    done = run("--host", "0.0.0.0", "--port", str(free_port()))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("workbench: host must be a loopback address, got '0.0.0.0'")


def test_beyond_loopback_it_listens_where_that_is_asked_for():
    check_place("0.0.0.0", free_port(), allow_remote=True)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none_is_refused(port: int):
    with pytest.raises(ConfigError, match=f"port must be between 1 and 65535, got {port}"):
        check_place("127.0.0.1", port, allow_remote=False)


def test_a_host_of_another_machine_cannot_be_listened_on():
    with pytest.raises(UnavailableError, match=r"port 8501 of 192\.0\.2\.1 cannot be listened on"):
        check_place("192.0.2.1", 8501, allow_remote=True)


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://user:secret@host"])
def test_an_address_that_is_none_is_refused_before_anything_starts(url: str):
    done = run("--port", str(free_port()), "--url", url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "secret" not in done.stderr


def test_it_asks_nothing_sends_nothing_and_shows_no_traceback():
    chosen = options("127.0.0.1", 8501)
    assert chosen["browser.gatherUsageStats"] is False
    assert chosen["server.headless"] is True and chosen["server.showEmailPrompt"] is False
    assert chosen["client.showErrorDetails"] == "none"
    assert chosen["server.enableXsrfProtection"] is True and chosen["server.enableCORS"] is True
    assert chosen["server.fileWatcherType"] == "none"
    assert "127.0.0.1" in chosen["server.allowedHosts"]
    assert options("0.0.0.0", 8501)["server.allowedHosts"] == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to_and_leaves_nothing_in_the_home_folder(tmp_path: Path, ending: signal.Signals):
    home = tmp_path / "user"
    (home / ".streamlit").mkdir(parents=True)
    # The user's own settings must not switch protection off.
    (home / ".streamlit" / "config.toml").write_text("[server]\nenableXsrfProtection = false\nenableCORS = false\n")
    before = sorted(home.rglob("*"))
    door = Dashboard("http://127.0.0.1:9", tmp_path / "log", HOME=str(home))
    try:
        door.wait_for_answer()
        assert "_streamlit_xsrf" in httpx.get(f"{door.url}/_stcore/health").cookies
        assert upgrade(door.port, f"127.0.0.1:{door.port}", door.url) == 101
        assert upgrade(door.port, f"127.0.0.1:{door.port}", "http://elsewhere.example") == 403
        assert upgrade(door.port, "elsewhere.example", "http://elsewhere.example") == 403
        door.process.send_signal(ending)
        assert door.process.wait(20) == 0
    finally:
        door.process.kill()
    assert not alive(door.process.pid)
    assert sorted(home.rglob("*")) == before
    log = door.log.read_text()
    assert log.startswith(f"workbench: the dashboard of http://127.0.0.1:9 is at {door.url}; Ctrl-C stops it\n")
    assert "Traceback" not in log
