"""`%load_ext workbench`: silent, light, and one line of status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.cluster.shared import STARTING, SharedRay, publish
from workbench.magics import status

CODE = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "workbench")
heavy = {"ray", "pandas", "numpy", "pydantic", "plotly", "ipywidgets", "skfolio"} & (set(sys.modules) - before)
print("loaded", sorted(heavy))
shell.run_cell("%workbench")
shell.run_cell("%workbench status")
shell.run_cell("%workbench nonsense")
"""


def test_loading_prints_nothing_and_imports_nothing_heavy(tmp_path: Path):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "WORKBENCH_LAB_RAY")
    }
    environment |= {"IPYTHONDIR": str(tmp_path), "WORKBENCH_HOME": str(tmp_path), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "loaded []"
    assert lines[1] == lines[2]
    assert lines[1].startswith("workbench 0.") and "no Ray; engine auto computes here" in lines[1]
    assert lines[1].endswith(f"home {tmp_path}")
    wrong = " ".join((done.stdout + done.stderr).split())
    assert "%workbench must be followed by nothing, status or doctor, got 'nonsense'" in wrong
    assert "Traceback" not in wrong


def test_status_says_how_far_the_labs_ray_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "ray.json"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("WORKBENCH_LAB_RAY", str(path))
    publish(path, SharedRay(STARTING, os.getpid()))
    assert "Ray is not up (it is starting)" in status()
    publish(path, SharedRay("failed", os.getpid(), reason="no memory"))
    assert "Ray is not up (no memory)" in status()
    path.write_text(json.dumps({"state": "starting", "pid": 2**22 + 1}))
    assert "the Lab that started it has ended" in status()
