"""The Ray of a Lab: one for all of its kernels, started beside them.

Enters: a file that WORKBENCH_LAB_RAY names, in which the process that keeps the Ray says how far it is. Leaves: the same for the kernels,
which join that Ray instead of starting one each. The file may hold the cluster's token: it lies in a folder that only its owner can read.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

from workbench.errors import UnavailableError
from workbench.market.durable import write_file

VARIABLE = "WORKBENCH_LAB_RAY"
STARTING, UP, FAILED = "starting", "up", "failed"

_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 0.5
_AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class SharedRay(NamedTuple):
    """How far a Lab's Ray is.

    state : "starting", "up" or "failed".
    pid : of the `workbench lab` that it ends with.
    address : host:port, once it is up.
    reason : why it failed.
    authentication : the variables by which its token is found.
    """

    state: str
    pid: int
    address: str = ""
    reason: str = ""
    authentication: dict[str, str] = {}  # noqa: RUF012  # never written to


def publish(path: Path, shared: SharedRay) -> None:
    """Tell the kernels how far the Ray is."""
    write_file(path, json.dumps(shared._asdict()).encode(), durable=False, advice="")


def authentication() -> dict[str, str]:
    """Return this process's variables by which Ray finds its token."""
    return {name: os.environ[name] for name in _AUTHENTICATION if name in os.environ}


def read() -> SharedRay | None:
    """Return how far the Ray of this Lab is; None where this is no process of a Lab that has one."""
    path = os.environ.get(VARIABLE)
    if not path:
        return None
    try:
        shared = SharedRay(**json.loads(Path(path).read_bytes()))
    except (OSError, ValueError, TypeError):  # the folder goes with the Lab
        return SharedRay(FAILED, 0, reason="the Lab that started it has ended")
    if shared.state != FAILED and not _runs(shared.pid):
        return shared._replace(state=FAILED, reason="the Lab that started it has ended")
    if shared.state == UP and not _answers(shared.address):
        return shared._replace(state=FAILED, reason=f"it no longer answers at {shared.address}")
    return shared


def check() -> None:
    """Raise what `wait_until_up` would raise at once."""
    shared = read()
    if shared is not None and shared.state == FAILED:
        raise _unusable(shared)


def wait_until_up(given_up: threading.Event) -> SharedRay:
    """Return the Lab's Ray as soon as it is up.

    Raises
    ------
    UnavailableError
        It failed, has ended, or nobody waits any more.
    """
    while True:
        shared = read()
        if shared is None or given_up.is_set():
            raise UnavailableError(f"the Ray of this Lab is not waited for: {VARIABLE} was unset, or nobody needs it")
        if shared.state == UP:
            return shared
        if shared.state == FAILED:
            raise _unusable(shared)
        time.sleep(_POLL_SECONDS)


def _unusable(shared: SharedRay) -> UnavailableError:
    return UnavailableError(
        f'the Ray of this Lab cannot be used: {shared.reason}; use engine="local", or start `workbench lab` again '
        "(with --no-ray each notebook starts its own)"
    )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's: the number was given anew
        return False
    return True


def _answers(address: str) -> bool:
    """Return whether somebody listens, in a fraction of a millisecond."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, ValueError):
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
        return True
    return False
