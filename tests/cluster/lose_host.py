"""Run by test_faults.py in a process of its own: a second host joins a cluster, and is lost in the middle of a sweep.

The host is a network namespace: it has its own address, and all its processes are killed at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator

from lossy_sweep import sweep_through


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def second_host() -> Iterator[tuple[str, str]]:
    """Have a namespace, joined to this host by a pair of virtual devices; yield its name and its address."""
    number = os.getpid() % 250
    name, near, far = (f"workbench-{number}", f"wb-near-{number}", f"wb-far-{number}")
    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("addr", "add", f"10.77.{number}.1/24", "dev", near)
        ip("link", "set", near, "up")
        for command in (
            ("addr", "add", f"10.77.{number}.2/24", "dev", far),
            ("link", "set", far, "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", f"10.77.{number}.1"),
        ):
            ip("-netns", name, *command)
        yield name, f"10.77.{number}.2"
    finally:
        kill_all(name)
        ip("netns", "del", name)


def kill_all(host: str) -> None:
    for pid in ip("netns", "pids", host).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), 9)


def main() -> None:
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)  # that another cluster runs on this machine is no matter
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    with second_host() as (host, address):
        join = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        join += [f"--address={cluster.address}", f"--node-ip-address={address}", "--num-cpus=1"]
        subprocess.Popen(["ip", "netns", "exec", host, *join], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run(host, cluster)
    cluster.shutdown()


def run(host: str, cluster) -> None:
    import ray

    from workbench.cluster.engine import RayEngine
    from workbench.cluster.nodes import nodes
    from workbench.cluster.session import running

    with running():
        while ray.cluster_resources().get("CPU", 0) < 2:
            time.sleep(0.2)
        hosts = {node.address for node in nodes()}
        with RayEngine.open() as engine:
            sweep = sweep_through(engine, lambda: kill_all(host))
        print(f"hosts {len(hosts)}, {sweep}")


if __name__ == "__main__":
    main()
