"""What could stand in the way, checked before it does: this machine, its environment, and every node of a cluster.

Enters: the environment. Leaves: one finding after the other, with what to do where it is bad. Ray is neither imported nor started unless a
cluster is named, or wanted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from platform import python_version
from typing import Any

import workbench
from workbench.cluster import session
from workbench.cluster.address import VARIABLE
from workbench.errors import ConfigError
from workbench.execution import usable_cpus
from workbench.market.home import VARIABLE as HOME
from workbench.market.home import home, temporary

LEAST_DISK_BYTES = 2**30
LEAST_STORE_BYTES = 2**28
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` says what to do where it is not `ok`."""

    ok: bool
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{'ok    ' if self.ok else 'FAILED'}  {self.what}" + (f"; {self.advice}" if self.advice else "")


def examine(engine: str = "auto") -> Iterator[Finding]:
    """Yield what is found on this machine, then of the cluster in use.

    Parameters
    ----------
    engine
        "local": this machine alone; "ray": the cluster too, a local one if there is no other; "auto": the cluster if there is one.

    Raises
    ------
    ConfigError
        There is no such engine, or RAY_ADDRESS has the wrong form.
    UnavailableError
        The cluster cannot be reached, or refuses this process.
    """
    if engine not in ("auto", "local", "ray"):
        raise ConfigError(f"engine must be one of auto, local, ray, got {engine!r}")
    yield from _machine()
    present = session.in_use()
    if engine == "local" or (engine == "auto" and present is None):
        yield Finding(
            True, f"cluster: none asked for ({VARIABLE} is not set)" if present is None else "cluster: not asked for"
        )
        return
    with session.connected():
        yield from _cluster()


def _machine() -> Iterator[Finding]:
    versions = [f"Python {python_version()}", f"workbench {workbench.__version__}"]
    for name in ("ray", "pandas", "numpy"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            yield Finding(False, f"{name}: not installed", "install the workbench with its dependencies")
    yield Finding(True, f"versions: {', '.join(versions)}")
    yield Finding(True, f"processors: {usable_cpus()} of {os.cpu_count()} may be used")
    for folder, name in ((home, HOME), (temporary, "temporary files")):
        try:
            yield _room(folder(), name)
        except ConfigError as error:
            yield Finding(False, str(error))
    if SHARED_MEMORY.is_dir():
        yield _room(
            SHARED_MEMORY, "shared memory", "Ray keeps shared inputs there; in a container give it --shm-size=2g"
        )
    ray = find_spec("ray")
    if ray is not None and not os.path.exists(ray.cached or ""):
        advice = "unset PYTHONDONTWRITEBYTECODE, and compile it: python -m compileall -q " + os.path.dirname(
            ray.origin or ""
        )
        yield Finding(False, "Ray is not byte-compiled: its start takes three times as long, and may time out", advice)


def _room(folder: Path, name: str, advice: str = "free some space, or name another folder") -> Finding:
    free = shutil.disk_usage(folder).free
    enough = free >= LEAST_DISK_BYTES
    return Finding(
        enough, f"{name}: {folder} can be written and has {free / 2**30:.1f} GiB free", "" if enough else advice
    )


def _cluster() -> Iterator[Finding]:
    from workbench.cluster.nodes import Node, own_versions, status, status_text

    found, own = status(), own_versions()
    yield Finding(True, status_text(found))
    for entry in found["nodes"]:
        yield _node(Node(**entry), own)
    yield _store(found)


def _node(node: Any, own: Mapping[str, str]) -> Finding:
    from workbench.cluster.nodes import differences

    wrong = differences(node, own)
    if not wrong:
        return Finding(True, f"node {node.name} ({node.address}): the versions of this process")
    advice = "see its load and its logs in the dashboard" if node.problem else ""
    if not node.problem:
        wanted = " ".join(f"{name}=={version}" for name, version in own.items() if node.versions.get(name) != version)
        advice = f"install {wanted} there, from the same requirements.lock, and start its Ray again"
    return Finding(False, f"node {node.name} ({node.address}): {'; '.join(wrong)}", advice)


def _store(found: Mapping[str, Any]) -> Finding:
    free, size = found["object_store_bytes_free"], found["object_store_bytes"]
    what = f"object store: {free / 2**30:.1f} of {size / 2**30:.1f} GiB free"
    if free >= LEAST_STORE_BYTES:
        return Finding(True, what)
    return Finding(False, what, "end jobs that hold it, or start the nodes with a larger --object-store-memory")
