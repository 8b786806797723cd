"""What every container runs first, and the question how it is: the scripts themselves, without a container."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from compose import ROOT
from served import free_port

SCRIPTS = ROOT / ".ci/container"


def run(*command: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), str(SCRIPTS), "/usr/bin", "/bin"])
    return subprocess.run(
        command,
        env={"PATH": path, "HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_gets_the_token_of_the_file_and_a_home(tmp_path: Path):
    (tmp_path / "token").write_text("0123456789abcdef\n")
    home = tmp_path / "not there" / "yet"
    show = ["sh", "-c", 'echo "$JUPYTER_TOKEN"; test -d "$HOME" && exit 7']
    done = run("enter", *show, home=home, JUPYTER_TOKEN_FILE=str(tmp_path / "token"))
    assert (done.returncode, done.stdout, done.stderr) == (7, "0123456789abcdef\n", "")


@pytest.mark.parametrize("variable", ["JUPYTER_TOKEN_FILE", "RAY_AUTH_TOKEN_PATH"])
@pytest.mark.parametrize("content", [None, ""], ids=["absent", "empty"])
def test_a_secret_that_is_not_there_is_one_line(tmp_path: Path, variable: str, content: str | None):
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    done = run("enter", "echo", "ran", home=tmp_path, **{variable: str(file)})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"workbench: {variable} must name a file with a token")
    assert done.stderr.count("\n") == 1 and str(file) in done.stderr


def test_a_ray_that_is_not_there_is_one_line(tmp_path: Path):
    join = {"RAY_JOIN_OBJECT_STORE_BYTES": "400000000"}
    done = run("enter", "echo", "ran", home=tmp_path, **join)
    assert done.returncode == 2 and "RAY_ADDRESS must be set" in done.stderr
    done = run("enter", "echo", "ran", home=tmp_path, RAY_ADDRESS=f"127.0.0.1:{free_port()}", **join)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no Ray answers at" in done.stderr and done.stderr.count("\n") == 1


def test_no_command_is_said(tmp_path: Path):
    done = run("enter", home=tmp_path)
    assert done.returncode == 2 and "COMMAND must be given" in done.stderr


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_healthy_is_who_answers_200_at_every_place(server: str, tmp_path: Path):
    assert run("healthy", f"{server}/200", home=tmp_path).returncode == 0
    # Not by a proxy, whatever the environment says.
    proxy = {"http_proxy": f"http://127.0.0.1:{free_port()}"}
    assert run("healthy", f"{server}/200", home=tmp_path, **proxy).returncode == 0
    for places in ([f"{server}/503"], [f"{server}/200", f"{server}/404"], [f"http://127.0.0.1:{free_port()}/"]):
        done = run("healthy", *places, home=tmp_path)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert places[-1] in done.stderr
