"""The API's keys stay with the server: neither the process of a job nor a worker of Ray has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import serving

from workbench.client import Client
from workbench.cluster.surroundings import surroundings

KEY = "a-key-for-this-test-only"
TELL = """
import os, sys
from pathlib import Path
Path(os.environ["TOLD"], str(os.getpid())).write_text("\\n".join([" ".join(sys.argv), *os.environ.values(), *os.environ]))
"""


def test_a_job_has_no_key(tmp_path: Path):
    told = tmp_path / "told"
    told.mkdir()
    (tmp_path / "tell.py").write_text(TELL)
    names = {"WORKBENCH_API_KEY": KEY, "WORKBENCH_PLUGINS": "tell", "PYTHONPATH": str(tmp_path), "TOLD": str(told)}
    with serving(tmp_path, **names) as server, Client(server.url, KEY) as api:
        api.wait(api.start_sweep({"grid": "top_n=1,2"})["id"])
    said = [path.read_text() for path in told.iterdir()]
    jobs = [text for text in said if "--grid" in text.splitlines()[0]]
    assert len(jobs) == 1
    assert KEY not in jobs[0] and "WORKBENCH_API_KEY" not in jobs[0]
    assert any(KEY in text for text in said if text not in jobs)  # the server's own


def test_a_worker_of_ray_is_handed_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WORKBENCH_API_KEY", KEY)
    monkeypatch.setenv("WORKBENCH_API_KEY_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("WORKBENCH_PLUGINS", "tell")
    names = surroundings().names
    assert "WORKBENCH_PLUGINS" in names
    assert not [name for name in names if "KEY" in name]
