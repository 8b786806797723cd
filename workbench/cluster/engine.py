"""Ray, started or joined, and left as it was found.

Enters: nothing, or RAY_ADDRESS. Leaves: a Ray that tasks can be sent to, for as long as a `with` block lasts; what was started here is
shut down after it, what was running before goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# `uv run` would ship the whole working directory to every worker.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")

import ray

from workbench.errors import UnavailableError

_CONNECT_SECONDS = 5.0
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}


def worker_environment(names: Mapping[str, str]) -> dict[str, Any]:
    """Return the runtime environment that gives workers some environment variables.

    Ray starts workers by a shell line in which it does not quote the interpreter: from a folder with a blank in its name none
    would ever start, and every task would wait for ever.
    """
    quoted = shlex.quote(sys.executable)
    interpreter = {} if quoted == sys.executable else {"py_executable": quoted}
    return {"env_vars": dict(names)} | interpreter


def _check_reachable(address: str) -> None:
    """Raise UnavailableError where nobody listens at `host:port`: Ray itself would try for minutes before it says so."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UnavailableError(
            f"no Ray answers at {address} (RAY_ADDRESS): {error}; start one there, or unset RAY_ADDRESS"
        ) from None


@contextlib.contextmanager
def running(num_cpus: int | None = None) -> Iterator[None]:
    """Have Ray within the block: the one initialised here, else the one that RAY_ADDRESS names, else a local one of our own.

    Parameters
    ----------
    num_cpus
        Of a Ray that is started here.

    Raises
    ------
    UnavailableError
        The Ray that RAY_ADDRESS names cannot be reached, or none can be started.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    _check_reachable(address)
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": num_cpus, "include_dashboard": False, "runtime_env": worker_environment({})}
    try:
        ray.init(address=address, **own, **_QUIET)
    except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        hint = "" if address == "local" else "; a cluster that wants a token needs RAY_AUTH_MODE=token here too"
        raise UnavailableError(f"Ray at {address} cannot be used: {first}{hint}") from None
    try:
        yield
    finally:
        ray.shutdown()
