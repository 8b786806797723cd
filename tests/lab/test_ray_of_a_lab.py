"""One Ray for all kernels of a Lab: found up, never waited for by "auto", and gone with it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from kernels import LabKernel
from labs import running_lab
from processes import alive, until

from workbench.cluster import session, shared
from workbench.cluster.shared import FAILED, STARTING, UP, SharedRay, publish
from workbench.engines import choose
from workbench.errors import UnavailableError

AUTO = "from workbench import Session; session = Session('auto'); print(session.engine.name, '|', session.account()['why'])"
NAMED = "from workbench import Session; named = Session('ray'); print(named.engine.name, named.engine.address)"
MAP = "print(sorted(session.engine.map(len, ['a', 'bb', 'ccc'])))"


def test_kernels_find_the_labs_ray_up_and_nothing_is_left_of_it(tmp_path: Path):
    with running_lab(tmp_path / "home", tmp_path, "work") as lab:
        first, second = LabKernel(lab), LabKernel(lab)
        published = Path(lab.server().environ()["WORKBENCH_LAB_RAY"])
        assert json.loads(published.read_text())["state"] == STARTING
        assert published.parent.stat().st_mode & 0o077 == 0  # it may hold a token

        # "auto" does not wait for a Ray that starts; "ray" waits for that one and starts no other.
        assert first.run(AUTO, 10) == "local | the Ray of this Lab is not up: it is starting"
        printed = first.run(NAMED)
        assert len(printed.split()) == 2, (printed, lab.lines)
        name, address = printed.split()
        found = json.loads(published.read_text())
        assert (name, found["state"], found["address"]) == ("ray", UP, address)

        # Another kernel shares it, and so does the session that had been local. Nothing is printed by Ray.
        assert second.run(AUTO) == "ray | Ray is initialised in this process"
        assert second.run("print(session.engine.address)") == address
        assert second.run(MAP) == "[(0, 1), (1, 2), (2, 3)]"
        assert first.run(MAP.replace("len", "str")) == "[(0, 'a'), (1, 'bb'), (2, 'ccc')]"
        assert second.run("%load_ext workbench\n%workbench").startswith("workbench 0.")
        assert sum("raylet/raylet" in word for child in lab.family() for word in child.cmdline()[:1]) == 1

        # It stays when a kernel goes.
        first.end()
        assert second.run(MAP) == "[(0, 1), (1, 2), (2, 3)]"

        # Where it is lost, "auto" is local again, "ray" says so in a line, and the kernel lives on.
        [head] = [child for child in lab.family() if "gcs_server" in child.name()]
        head.send_signal(signal.SIGKILL)
        until(lambda: json.loads(published.read_text())["state"] == FAILED, 40)
        until(lambda: second.run("print(session.engine.name)") == "local", 60)
        assert second.run(MAP) == "[(0, 1), (1, 2), (2, 3)]"
        said = second.run("from workbench import Session; Session('ray').engine")
        assert said.startswith("ERROR UnavailableError: the Ray of this Lab cannot be used: ") and "\n" not in said

        processes = [process.pid for process in lab.family()]
        lab.end(signal.SIGTERM)
    until(lambda: not any(alive(pid) for pid in processes), 20)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_ray_that_starts_ends_with_the_lab(tmp_path: Path, how: signal.Signals):
    with running_lab(tmp_path / "home", tmp_path, "work") as lab:
        until(lambda: any("gcs_server" in child.name() for child in lab.family()), 60)
        processes = [process.pid for process in lab.family()]
        lab.end(how)
    until(lambda: not any(alive(pid) for pid in processes), 20)
    assert not [child for child in psutil.process_iter(["environ"]) if str(tmp_path) in str(child.info["environ"])]


def test_the_users_own_address_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_LAB_RAY", str(tmp_path / "ray.json"))
    publish(tmp_path / "ray.json", SharedRay(FAILED, os.getpid(), reason="no memory"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert session.in_use() == "RAY_ADDRESS names 127.0.0.1:1"
    assert session.not_up() is None
    with pytest.raises(UnavailableError, match=r"no Ray answers at 127\.0\.0\.1:1"):
        session.check()


@pytest.mark.parametrize(
    ("ray", "why"),
    [
        (SharedRay(STARTING, os.getpid()), "it is starting"),
        (SharedRay(FAILED, os.getpid(), reason="no memory"), "no memory"),
        (SharedRay(UP, 2**22 + 1, "127.0.0.1:1"), "the Lab that started it has ended"),
        (SharedRay(UP, os.getpid(), "127.0.0.1:1"), "it no longer answers at 127.0.0.1:1"),
    ],
)
def test_auto_is_local_whatever_the_work_while_the_labs_ray_is_not_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray: SharedRay, why: str
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("WORKBENCH_LAB_RAY", str(tmp_path / "ray.json"))
    publish(tmp_path / "ray.json", ray)
    with choose("auto", serial_seconds=1e6) as engine:
        assert engine.name == "local"
        assert engine.account()["why"] == f"the Ray of this Lab is not up: {why}"
    if ray.state != STARTING:
        with pytest.raises(UnavailableError, match=f"^the Ray of this Lab cannot be used: {why}; use engine"):
            session.check()


def test_a_file_that_is_gone_is_a_lab_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_LAB_RAY", str(tmp_path / "ray.json"))
    found = shared.read()
    assert found is not None and found.reason == "the Lab that started it has ended"
