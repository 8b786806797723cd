"""What the doctor says of this machine, and of the cluster in use; of other versions and tokens see test_faults.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cluster import doctor
from workbench.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent


def words(findings: list[doctor.Finding]) -> str:
    return "\n".join(map(str, findings))


def test_this_machine_is_sound_and_ray_is_neither_started_nor_imported():
    code = """
import sys
from workbench.cluster.doctor import examine
for finding in examine("auto"):
    print(finding)
print("ray" in sys.modules)
"""
    names = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=names, capture_output=True, text=True, check=True)
    *lines, imported = done.stdout.splitlines()
    assert imported == "False"
    assert all(line.startswith("ok      ") for line in lines)
    assert lines[0].startswith("ok      versions: Python ")
    assert lines[-1] == "ok      cluster: none asked for (RAY_ADDRESS is not set)"


@pytest.mark.parametrize("found,code", [("home", 0), ("file/home", 1)])
def test_the_command_ends_with_what_was_found(tmp_path: Path, found: str, code: int):
    (tmp_path / "file").touch()
    names = dict(os.environ, WORKBENCH_HOME=str(tmp_path / found))
    command = [sys.executable, "-m", "workbench", "doctor", "--engine", "local"]
    done = subprocess.run(command, cwd=ROOT, env=names, capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == ("workbench: 1 check failed, named above\n" if code else "")
    assert done.stdout.count("FAILED") == code


def test_a_home_that_cannot_be_written_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "file"))
    failed = [finding for finding in doctor.examine("local") if not finding.ok]
    assert len(failed) == 1
    assert str(failed[0]).startswith("FAILED  WORKBENCH_HOME must be a folder that can be written, got ")


def test_too_little_room_is_found_with_the_way_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "LEAST_DISK_BYTES", 2**60)
    failed = [finding for finding in doctor.examine("local") if not finding.ok]
    assert "temporary files: " in words(failed)
    assert "GiB free; free some space, or name another folder" in words(failed)
    if doctor.SHARED_MEMORY.is_dir():
        assert "--shm-size=2g" in words(failed)


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError, match="engine must be one of auto, local, ray, got 'spark'"):
        list(doctor.examine("spark"))


def test_the_cluster_in_use_is_shown_and_sound(ray_with_two_workers):
    text = words(list(doctor.examine("auto")))
    assert "FAILED" not in text
    assert ": 2 of 2 CPUs free, " in text
    assert "dashboard off" in text
    assert text.count("the versions of this process") == 1
    assert "object store: " in text


def test_a_full_object_store_is_found(ray_with_two_workers, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "LEAST_STORE_BYTES", 2**60)
    failed = [finding for finding in doctor.examine("ray") if not finding.ok]
    assert len(failed) == 1
    assert "--object-store-memory" in str(failed[0])


def test_a_status_is_for_programs_too(ray_with_two_workers):
    import json

    from workbench.cluster.nodes import own_versions, status

    found = status()
    assert (found["cpus"], found["dashboard"], len(found["nodes"])) == (2.0, None, 1)
    node = found["nodes"][0]
    assert node["versions"] == own_versions()
    assert node["cpus"] == 2.0
    assert 0 < node["object_store_bytes"] == found["object_store_bytes"]
    assert json.loads(json.dumps(found)) == found
