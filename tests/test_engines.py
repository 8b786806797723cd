"""From a name to an engine: the rule of "auto", and no Ray where none is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.engines import choose, prepare
from workbench.errors import ConfigError
from workbench.execution import LocalEngine

ROOT = Path(__file__).resolve().parent.parent


def answer(code: str, **variables: str) -> str:
    """Run code in a process of its own, where nobody has initialised Ray; return its last line."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | variables
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.strip().split("\n")[-1]


CHOOSE = """
import sys
from workbench.engines import choose, prepare
from workbench.errors import WorkbenchError
try:
    with prepare({engine!r}), choose({engine!r}, {seconds}) as engine:
        print(engine.account(), "ray" in sys.modules)
except WorkbenchError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize("engine,why", [("auto", "no Ray is in use, and there is little work"), ("local", "named")])
def test_little_work_and_no_ray_means_local_and_ray_is_not_imported(engine: str, why: str):
    said = answer(CHOOSE.format(engine=engine, seconds=60.0 if engine == "auto" else 1e6))
    account = {"engine": "local", "why": why, "nodes": 1, "cpus": LocalEngine().workers, "tasks": 0, "seconds": 0.0}
    assert said == f"{account} False"


def test_more_than_a_minute_of_work_means_ray():
    said = answer("from workbench.engines import _rule; print(_rule(60.0)[0], *_rule(61.0))")
    assert said == "local ray about 61 s of serial work"


@pytest.mark.parametrize("engine", ["auto", "ray"])
def test_an_address_that_does_not_answer_is_an_error_and_never_a_local_run(engine: str):
    said = answer(CHOOSE.format(engine=engine, seconds=0.0), RAY_ADDRESS="127.0.0.1:9")
    assert said.startswith("3 no Ray answers at 127.0.0.1:9 (RAY_ADDRESS): ")
    assert said.endswith("; start one there, or unset RAY_ADDRESS")


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "http://127.0.0.1:8265", "somewhere", ":6379"])
def test_an_address_of_another_form_names_the_right_one(address: str):
    said = answer(CHOOSE.format(engine="auto", seconds=0.0), RAY_ADDRESS=address)
    assert said.startswith(
        f"2 RAY_ADDRESS must be HOST:PORT of a cluster (6379 by default), auto or local, got '{address}'"
    )


def test_local_is_local_whatever_the_address():
    assert answer(CHOOSE.format(engine="local", seconds=0.0), RAY_ADDRESS="127.0.0.1:9").startswith(
        "{'engine': 'local'"
    )


def test_what_listens_but_is_no_ray_is_named():
    import http.server
    import threading

    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        said = answer(CHOOSE.format(engine="auto", seconds=0.0), RAY_ADDRESS=address)
        server.shutdown()
    assert said.startswith(f"3 what listens at {address} (RAY_ADDRESS) is no Ray cluster")


def test_an_unknown_engine_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^engine must be one of auto, local, ray, got 'spark'$"), choose("spark"):
        pass


def test_an_engine_is_given_back_as_it_is():
    engine = LocalEngine(1)
    with prepare(engine), choose(engine, 1e6) as chosen:
        assert chosen is engine


def test_the_number_of_workers_is_handed_on():
    with choose("local", workers=3) as engine:
        assert engine.workers == 3
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"), choose("local", workers=0):
        pass
