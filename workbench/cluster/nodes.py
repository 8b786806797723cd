"""What a cluster is made of: its nodes, their resources and their versions.

Enters: the Ray in use. Leaves: a status for people and programs, and an error where a node has another workbench, Python or Ray than this
process: its results would not be those of this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workbench.cluster.surroundings import worker_environment
from workbench.errors import UnavailableError

PACKAGES = ("python", "ray", "workbench", "pandas", "numpy")
DECISIVE = PACKAGES[:3]
"""Those of which another version is an error; others may differ in the last bits at most."""

_ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Node:
    """One machine of a cluster.

    name : its host name.
    node_id : Ray's, in hex.
    address : its IP address.
    cpus, memory_bytes, object_store_bytes : what it offers to Ray.
    versions : by package; "missing" where it is not installed, empty where the node did not answer.
    problem : why it did not answer, or an empty text.
    """

    name: str
    node_id: str
    address: str
    cpus: float
    memory_bytes: int
    object_store_bytes: int
    versions: Mapping[str, str]
    problem: str = ""


def _versions_function() -> Callable[[], dict[str, str]]:
    """Return the function that asks; as a local one it is sent to the nodes as a whole, which may have no workbench."""

    def versions() -> dict[str, str]:
        import importlib
        import importlib.metadata
        import platform

        found = {"python": platform.python_version()}
        for name in ("ray", "workbench"):  # what would be run, whatever was installed
            try:
                found[name] = str(importlib.import_module(name).__version__)
            except ImportError:
                found[name] = "missing"
        for name in ("pandas", "numpy"):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "missing"
        return found

    return versions


def own_versions() -> dict[str, str]:
    """Return the versions of this process, by package."""
    return _versions_function()()


def nodes(timeout_seconds: float = _ANSWER_SECONDS) -> list[Node]:
    """Return the nodes that are alive, each with its versions, as told by a task that is pinned to it.

    Parameters
    ----------
    timeout_seconds
        After which a node that has not answered is listed with its problem.
    """
    alive = [entry for entry in ray.nodes() if entry["Alive"]]
    ask = ray.remote(num_cpus=0, max_retries=1)(_versions_function())
    asked = [
        ask.options(
            runtime_env=worker_environment(),
            scheduling_strategy=NodeAffinitySchedulingStrategy(entry["NodeID"], soft=False),
        ).remote()
        for entry in alive
    ]
    ray.wait(asked, num_returns=len(asked), timeout=timeout_seconds)
    found = [_node(entry, reference, timeout_seconds) for entry, reference in zip(alive, asked, strict=True)]
    return [node for node in found if node is not None]


def _node(entry: Mapping[str, Any], answer: Any, timeout_seconds: float) -> Node | None:
    resources = entry["Resources"]
    versions, problem = {}, ""
    try:
        versions = ray.get(answer, timeout=1)
    except ray.exceptions.TaskUnschedulableError:
        return None  # it is gone: a node that dies is listed for some seconds more
    except ray.exceptions.GetTimeoutError:
        problem = f"gave no answer within {timeout_seconds:g} s"
    except ray.exceptions.RayError as error:
        problem = "failed a first task: " + " ".join(str(error).split())[:200]
    return Node(
        name=entry["NodeManagerHostname"],
        node_id=entry["NodeID"],
        address=entry["NodeManagerAddress"],
        cpus=float(resources.get("CPU", 0.0)),
        memory_bytes=int(resources.get("memory", 0)),
        object_store_bytes=int(resources.get("object_store_memory", 0)),
        versions=versions,
        problem=problem,
    )


def differences(node: Node, own: Mapping[str, str], packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """Return what differs on a node from this process: "workbench 0.1.0, here 0.2.0"."""
    if node.problem:
        return [node.problem]
    found = ((name, node.versions.get(name, "missing"), own[name]) for name in packages)
    return [f"{name} {there}, here {here}" for name, there, here in found if there != here]


_checked: set[str] = set()


def check_versions() -> None:
    """Hold every node's workbench, Python and Ray against this process's, once per connection.

    Raises
    ------
    UnavailableError
        One differs, or a node does not answer.
    """
    job = ray.get_runtime_context().get_job_id() + cluster_address()
    if job in _checked:
        return
    own = own_versions()
    for node in nodes():
        wrong = differences(node, own, DECISIVE)
        if node.problem:
            raise UnavailableError(
                f"the Ray node {node.name} ({node.address}) {node.problem}; see its logs, or use --engine local"
            )
        if wrong:
            raise UnavailableError(
                f"the Ray node {node.name} ({node.address}) has {'; '.join(wrong)}; install the same versions there "
                "(`workbench doctor` compares all), or use --engine local"
            )
    _checked.add(job)


def cluster_address() -> str:
    """Return host:port of the cluster in use: what RAY_ADDRESS must say for others to share it."""
    return str(ray.get_runtime_context().gcs_address)


def status() -> dict[str, Any]:
    """Return the cluster in use: address, dashboard, totals, what is free of them, and a list of nodes."""
    total, free = ray.cluster_resources(), ray.available_resources()
    found = nodes()
    return {
        "address": cluster_address(),
        "dashboard": _dashboard(),
        "nodes": [vars(node) | {"versions": dict(node.versions)} for node in found],
        "cpus": total.get("CPU", 0.0),
        "cpus_free": free.get("CPU", 0.0),
        "memory_bytes": int(total.get("memory", 0)),
        "memory_bytes_free": int(free.get("memory", 0)),
        "object_store_bytes": int(total.get("object_store_memory", 0)),
        "object_store_bytes_free": int(free.get("object_store_memory", 0)),
    }


def _dashboard() -> str | None:
    """Return where the dashboard is served, such as http://127.0.0.1:8265; None where there is none."""
    node = ray._private.worker.global_worker.node  # Ray tells it to the caller of `init` only
    url = node.address_info.get("webui_url") if node is not None else None
    return f"http://{url}" if url else None


def status_text(found: Mapping[str, Any]) -> str:
    """Return `status` as a table for people."""
    rows = [("node", "address", "CPUs", "memory", "object store", *PACKAGES)]
    for node in found["nodes"]:
        versions = [node["versions"].get(name, "?") for name in PACKAGES]
        sizes = [_gib(node[name]) for name in ("memory_bytes", "object_store_bytes")]
        rows.append((node["name"], node["address"], f"{node['cpus']:g}", *sizes, *versions))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    head = f"Ray at {found['address']}: {found['cpus_free']:g} of {found['cpus']:g} CPUs free, "
    head += f"{_gib(found['object_store_bytes_free'])} of {_gib(found['object_store_bytes'])} object store free; "
    return "\n".join([head + f"dashboard {found['dashboard'] or 'off'}", *lines])


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
