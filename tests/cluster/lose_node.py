"""Run by test_faults.py in a process of its own: a protected cluster of two nodes, visited by others, then one of the nodes is lost.

Argument: a folder, in which `other` holds a workbench of another version for the second node. Prints one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

DOCTOR = """
import sys
from workbench.cli_ray import doctor
from workbench.cluster import session
from workbench.engines import choose
from workbench.errors import CheckError, WorkbenchError
try:
    with session.connected():
        try:
            doctor()
        except CheckError as error:
            print(error, file=sys.stderr)
        with choose("auto"):
            print("an engine was given")
except WorkbenchError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
SLEEP = """
import sys
import chunk_work
from workbench.engines import choose
with choose("auto") as engine:
    list(engine.map(chunk_work.sleep_long, range(2), shared=(sys.argv[1],)))
"""


def visit(folder: Path, code: str, **variables: str) -> tuple[int, str, str]:
    """Run something that uses the cluster; return its exit code and what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")} | variables
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def main(folder: Path) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    os.environ |= token
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)  # that another cluster runs on this machine is no matter
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    found: dict[str, Any] = {
        "no token": visit(folder, DOCTOR, HOME=str(folder)),
        "wrong token": visit(folder, DOCTOR, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 32),
    }
    node = cluster.add_node(num_cpus=1)
    found["workers of a killed driver"] = kill_driver(folder)
    found |= lose(cluster, node)
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(folder / "other")})
    found["another version"] = visit(folder, DOCTOR, **token)
    cluster.shutdown()
    print(json.dumps(found))


def kill_driver(folder: Path) -> list[bool]:
    """Kill a driver while two workers sleep for it; return for each whether it is still there some seconds later."""
    log = folder / "log"
    driver = subprocess.Popen([sys.executable, "-c", SLEEP, str(log)])
    while not log.exists() or log.read_text().count("\n") < 2:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    workers = [psutil.Process(int(pid)) for pid in log.read_text().split()]
    _, left = psutil.wait_procs(workers, timeout=20)
    return [worker in left for worker in workers]


def lose(cluster: Any, node: Any) -> dict[str, Any]:
    """Lose a node in the middle of a sweep, ungracefully, with all that it was doing."""
    from lossy_sweep import sweep_through

    from workbench.cluster.engine import RayEngine

    with RayEngine.open() as engine:
        sweep = sweep_through(engine, lambda: cluster.remove_node(node, allow_graceful=False))
        return {"sweep": sweep, "account": engine.account()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
