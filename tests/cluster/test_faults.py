"""What a user sees when things die: nothing, if it can be helped, and nothing is left behind.

Each scenario is a process of its own, since Ray is started, and ended, in it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import alive, until

import workbench

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FULL = pytest.mark.skipif(
    "WORKBENCH_FULL" not in os.environ, reason="starts another Ray, half a minute: WORKBENCH_FULL=1 runs it"
)


def environment() -> dict[str, str]:
    names = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return names | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE.parent)])}


def scenario(tmp_path: Path, how: signal.Signals) -> tuple[int, str, str]:
    """Run crash.py until its workers sleep, end it; return how it ended and what it printed, when nothing of it is left."""
    command = [sys.executable, str(HERE / "crash.py"), str(tmp_path)]
    driver = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = tmp_path / "log"
    try:
        until(lambda: driver.poll() is not None or (log.exists() and log.read_text().count("\n") == 2), 120)
        assert driver.poll() is None, driver.communicate()
        if how is signal.SIGINT:
            os.killpg(driver.pid, how)  # a terminal's Ctrl-C reaches every process of the group
        else:
            driver.send_signal(how)
        output, errors = driver.communicate(timeout=60)
    finally:
        driver.kill()
    family = json.loads((tmp_path / "family").read_text())
    assert len(family) >= 6  # gcs, raylet, its two agents, two monitors
    pids = [int(pid) for pid in (tmp_path / "log").read_text().split()]
    # Ray's own: where the driver could not say goodbye, the agents try for a minute to report that the raylet is gone.
    pids += [pid for pid, name in family if how is not signal.SIGKILL or not name.endswith("Agent")]
    until(lambda: not any(map(alive, pids)), 20)
    return driver.returncode, output, errors


def test_crashes_are_silent_and_ctrl_c_leaves_nothing_running(tmp_path: Path):
    code, output, errors = scenario(tmp_path, signal.SIGINT)
    assert output == ""
    assert code == -signal.SIGINT
    assert errors.startswith("Traceback")
    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")
    assert "(raylet)" not in errors


@FULL
def test_a_killed_driver_leaves_nothing_running(tmp_path: Path):
    assert scenario(tmp_path, signal.SIGKILL) == (-signal.SIGKILL, "", "")


@FULL
def test_a_terminated_driver_leaves_nothing_running(tmp_path: Path):
    assert scenario(tmp_path, signal.SIGTERM) == (128 + signal.SIGTERM, "", "")


HEADLESS = """
import psutil
import chunk_work as work
from workbench.engines import choose
with choose("ray") as engine:
    results = engine.map(work.own_pid, range(10_000), shared=(0.1,))
    next(results)
    [head] = [child for child in psutil.Process().children() if child.name() == "gcs_server"]
    head.kill()
    for _ in results:
        pass
"""


@FULL
def test_a_cluster_whose_head_dies_is_an_error_and_no_sudden_end():
    done = subprocess.run(
        [sys.executable, "-c", HEADLESS], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("workbench.errors.UnavailableError: the Ray at ")
    assert "no longer answers; start it again" in done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What lose_node.py saw."""
    folder = tmp_path_factory.mktemp("visits")
    other = folder / "other" / "workbench"
    shutil.copytree(ROOT / "workbench", other, ignore=shutil.ignore_patterns("__pycache__", "_*"))
    source = (ROOT / "workbench" / "__init__.py").read_text(encoding="utf-8")
    changed = source.replace(f'__version__ = "{workbench.__version__}"', '__version__ = "9.9.9"')
    assert changed != source
    (other / "__init__.py").write_text(changed, encoding="utf-8")
    command = [sys.executable, str(HERE / "lose_node.py"), str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "case,words",
    [("no token", "wants a token; set RAY_AUTH_MODE=token"), ("wrong token", "refuses the token given here")],
)
def test_a_cluster_that_wants_a_token_says_so(visits: dict[str, Any], case: str, words: str):
    code, _, errors = visits[case]
    assert code == 3
    assert words in errors
    assert errors.count("\n") == 1


def test_a_node_with_another_workbench_is_named_and_the_cluster_is_not_used(visits: dict[str, Any]):
    code, output, errors = visits["another version"]
    here = f"workbench 9.9.9, here {workbench.__version__}"
    [line] = [line for line in output.splitlines() if line.startswith("FAILED")]
    assert f"{here}; install workbench=={workbench.__version__} there" in line
    assert output.count("the versions of this process") == 1
    found, refused = errors.splitlines()
    assert found == "1 check failed, named above"
    assert refused.startswith("the Ray node ")
    assert f"has {here}; install the same versions there" in refused
    assert "an engine was given" not in output
    assert code == 3


def test_the_workers_of_a_killed_driver_end_by_themselves(visits: dict[str, Any]):
    assert visits["workers of a killed driver"] == [False, False]


def test_a_node_lost_in_the_middle_of_a_sweep_changes_no_byte(visits: dict[str, Any]):
    assert visits["sweep"] == {"parts": 14, "failed rows": 56, "same bytes": True}
    account = visits["account"]
    assert account["why"].startswith("named")
    assert (account["nodes"], account["cpus"], account["tasks"]) == (2, 2, 14)


def why_no_namespace() -> str | None:
    """Return why no network namespace can be made here, or None where one can."""
    if "WORKBENCH_FULL" not in os.environ:
        return "a second host takes most of a minute: WORKBENCH_FULL=1 runs it"
    if shutil.which("ip") is None:
        return "there is no ip command"
    made = subprocess.run(["ip", "netns", "add", f"try-{os.getpid()}"], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", f"try-{os.getpid()}"], check=True)
    return None


def test_a_second_host_lost_in_the_middle_of_a_map_changes_no_byte():
    reason = why_no_namespace()
    if reason:
        pytest.skip(reason)
    command = [sys.executable, str(HERE / "lose_host.py")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "hosts 2, {'parts': 14, 'failed rows': 56, 'same bytes': True}\n",
        "",
    )
