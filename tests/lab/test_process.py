"""`workbench lab` as a process: a token always, one kernel, one line where it cannot listen, and nothing left at the end."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from kernels import LabKernel
from labs import RunningLab, free_port, running_lab, start
from processes import alive, until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the home of somebody who has Jupyter set up, in ways that a Lab of ours must not follow."""
    home = tmp_path_factory.mktemp("home")
    for name in ("python3", "other"):
        spec = home / ".local" / "share" / "jupyter" / "kernels" / name
        spec.mkdir(parents=True)
        kernel = {"argv": ["/bin/false"], "display_name": "Theirs", "language": "python"}
        (spec / "kernel.json").write_text(json.dumps(kernel))
    (home / ".jupyter").mkdir()
    settings = {"IdentityProvider": {"token": ""}, "ServerApp": {"port": 1, "ip": "0.0.0.0"}}
    (home / ".jupyter" / "jupyter_server_config.json").write_text(json.dumps(settings))
    return home


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[RunningLab]:
    folder = home / "folder"
    folder.mkdir()
    with running_lab(home, folder, "--no-ray", "work") as running:
        yield running


def test_it_says_where_it_is_and_what_it_copied(lab: RunningLab, home: Path):
    assert lab.url.startswith("http://127.0.0.1:")
    [copied] = [line for line in lab.lines if "copied into" in line]
    assert str(home / "folder" / "work") in copied and "02_signal.ipynb" in copied
    names = {entry["name"] for entry in lab.get("/api/contents").json()["content"]}
    assert {"01_data_quality.ipynb", "02_signal.ipynb", "portfolio_report.ipynb"} <= names


def test_nobody_without_the_token_gets_in_whatever_the_persons_own_settings_say(lab: RunningLab):
    assert len(lab.token) >= 32
    assert httpx.get(f"{lab.url}/api/contents").status_code == 403
    assert httpx.get(f"{lab.url}/api/contents?token=wrong").status_code == 403
    assert lab.get("/api/contents").status_code == 200
    assert sum(lab.token in line for line in lab.lines) == 1
    # Others can read command lines.
    assert not any(lab.token in word for process in lab.family() for word in process.cmdline())


def test_the_one_kernel_is_this_interpreter(lab: RunningLab):
    found = lab.get("/api/kernelspecs").json()
    assert list(found["kernelspecs"]) == ["python3"]
    assert found["default"] == "python3"
    kernel = LabKernel(lab)
    assert kernel.run("import sys; print(sys.executable)") == sys.executable
    # The token stays with the server, and the notebook's side of a kernel is on no port.
    assert kernel.run("import os; print('JUPYTER_TOKEN' in os.environ)") == "False"
    connection = json.loads((kernel.runtime / f"kernel-{kernel.id}.json").read_text())
    assert connection["transport"] == "ipc"
    assert kernel.run("%load_ext workbench") == ""
    assert "no Ray" in kernel.run("%workbench")
    kernel.end()


def test_it_asks_nothing(lab: RunningLab):
    page = lab.get("/lab").text
    assert '"buildCheck": false' in page
    assert '"news": {"disabled": true}' in page
    assert "@jupyterlab/apputils-extension:announcements" in page


def test_a_taken_port_is_one_line(home: Path, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(home, tmp_path, "--no-ray", "--port", str(port))
        _, said = process.communicate(timeout=30)
    assert process.returncode == 3
    assert said == (
        f"workbench: port {port} of 127.0.0.1 cannot be listened on: Address already in use; choose another with --port\n"
    )


def test_a_port_that_is_none_is_the_users_mistake(home: Path, tmp_path: Path):
    process = start(home, tmp_path, "--port", "70000")
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (2, "workbench: port must be between 1 and 65535, got 70000\n")


def test_beyond_loopback_it_has_a_token_and_says_who_can_come(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with running_lab(home, tmp_path, "--no-ray", "--host", "0.0.0.0", "work") as lab:
        assert any("listening beyond this machine, on 0.0.0.0" in line for line in lab.lines)
        assert httpx.get(f"{lab.url}/api/contents").status_code == 403
        assert lab.get("/api/contents").status_code == 200


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_nothing_is_left_when_it_ends(home: Path, tmp_path: Path, how: signal.Signals, code: int):
    with running_lab(home, tmp_path, "--no-ray", "work") as lab:
        kernel = LabKernel(lab)
        kernel.run("import subprocess; child = subprocess.Popen(['sleep', '600'])")
        processes = [process.pid for process in lab.family()]
        assert len(processes) >= 3  # Lab, the kernel, and what it started
        scratch = kernel.runtime.parent
        assert lab.end(how) == code
    if how is signal.SIGKILL:  # nobody is there to end what a kernel has started; the others follow by themselves
        processes = [pid for pid in processes if pid != child_of(processes)]
    until(lambda: not any(alive(pid) for pid in processes), 20)
    if how is signal.SIGKILL:
        shutil.rmtree(scratch)
    assert not scratch.exists()


def child_of(processes: list[int]) -> int | None:
    """Return the process among them that a kernel had started, and end it."""
    import psutil

    for pid in processes:
        if alive(pid) and psutil.Process(pid).cmdline()[:1] == ["sleep"]:
            psutil.Process(pid).kill()
            return pid
    return None


def test_a_port_is_free_again(home: Path, tmp_path: Path):
    port = free_port()
    for _ in range(2):
        process = start(home, tmp_path, "--no-ray", "--port", str(port), "work")
        assert process.stderr is not None
        while "token=" not in process.stderr.readline():
            pass
        process.terminate()
        process.communicate(timeout=30)
