"""An ASGI application behind Ray Serve.

Enters: a function that makes the application, and how it is to be served. Leaves: a server within a block. Replicas run on the node of this
process; what an application logs through `LOG_VARIABLE` comes out of this process's stderr, line by line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation

from workbench.cluster.address import is_alive
from workbench.cluster.deployment import HEAD, NAME, QUIET, ServedCluster, Serving, deployment
from workbench.cluster.nodes import cluster_address
from workbench.cluster.session import is_own, running
from workbench.cluster.surroundings import LOG_VARIABLE, METRICS_VARIABLE, PROXY_METRICS_VARIABLE
from workbench.errors import UnavailableError
from workbench.listening import check_port
from workbench.market.home import temporary

PROXY_HOOK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Names, in the process that accepts connections, a function that is called before it does, and returns middleware."""

_NICENESS = "RAY_worker_niceness"
"""Of Ray's workers, 15 by default. In a Ray that serves and does nothing else there is nothing that answers would have to wait for."""

_CHECK_SECONDS, _LOST_CHECKS = 5.0, 3
_LETTING_GO_SECONDS = 20.0
_LONGEST_REASON = 300


@contextlib.contextmanager
def serving(make_app: Callable[[ServedCluster], Any], how: Serving) -> Iterator[str]:
    """Serve an application within the block, on the Ray that `running` finds or starts.

    Parameters
    ----------
    make_app, how
        As `deployment` takes them.

    Yields
    ------
    str
        The address of the Ray.

    Raises
    ------
    ConfigError, UnavailableError
        Ray cannot be used, it serves something else already, the port is taken, or the application cannot be made.
    """
    if not how.replace:
        check_port(how.host, how.port)
    with (
        running(),
        tempfile.TemporaryDirectory(prefix="workbench-serve-", dir=temporary(), ignore_cleanup_errors=True) as folder,
    ):
        _check_free(how)
        with _shown(Path(folder) / "log"):
            try:
                _deploy(make_app, how, Path(folder))
                yield cluster_address()
            finally:
                with contextlib.suppress(ray.exceptions.RayError, RuntimeError):  # the Ray may be gone
                    serve.delete(NAME)  # replicas answer what they have begun, while there is still a way to the client
                serve.shutdown()


def wait_while_alive(stop: threading.Event | None = None) -> None:
    """Return when `stop` is set.

    Raises
    ------
    UnavailableError
        The Ray that serves is gone.
    """
    address, lost, stop = cluster_address(), 0, stop or threading.Event()
    while not stop.wait(_CHECK_SECONDS):
        lost = 0 if is_alive(address) else lost + 1
        if lost >= _LOST_CHECKS:
            raise UnavailableError(f"the Ray at {address} answers no more; start it, then serve again")


def _check_free(how: Serving) -> None:
    found = serve.status()
    if how.replace and set(found.applications) <= {NAME}:
        serve.shutdown()
        _wait_for_port(how)
        return
    if found.proxies or found.applications:
        raise UnavailableError(
            f"the Ray at {cluster_address()} serves {', '.join(sorted(found.applications)) or 'something'} already, and there is "
            "one Serve to a cluster; use that one, end it with --replace, or serve with --engine local"
        )


def _wait_for_port(how: Serving) -> None:
    """Wait until those who served before have let go of the port."""
    until = time.monotonic() + _LETTING_GO_SECONDS
    while True:
        try:
            check_port(how.host, how.port)
            return
        except UnavailableError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _deploy(make_app: Callable[[ServedCluster], Any], how: Serving, folder: Path) -> None:
    node = ray.get_runtime_context().get_node_id()
    entry = next(entry for entry in ray.nodes() if entry["NodeID"] == node)
    is_head = any(name.startswith(HEAD) for name in entry["Resources"])
    log, metrics = str(folder / "log"), str(folder / "metrics")
    variables = {LOG_VARIABLE: log, METRICS_VARIABLE: metrics}
    settings = {_NICENESS: os.environ.get(_NICENESS, "0")} if is_own() else {}
    proxy = {**settings, **how.proxy_variables, LOG_VARIABLE: log, PROXY_METRICS_VARIABLE: metrics}
    application = deployment(make_app, how, f"node:{entry['NodeManagerAddress']}", variables, settings)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # of this process; those of the others follow
    try:
        serve.start(
            proxy_location=ProxyLocation.HeadOnly if is_head else ProxyLocation.EveryNode,
            http_options=HTTPOptions(
                host=how.host, port=how.port, request_timeout_s=how.request_seconds, keep_alive_timeout_s=30
            ),
            logging_config=QUIET,
            # Serve's controller hands its environment on to the processes that accept connections.
            controller_options={"runtime_env": {"env_vars": proxy}},
        )
        serve.run(application, name=NAME, route_prefix="/", logging_config=QUIET)
    except (RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[-_LONGEST_REASON:]
        raise UnavailableError(
            f"the application could not be served on the Ray at {cluster_address()}: {reason}"
        ) from None


@contextlib.contextmanager
def _shown(path: Path) -> Iterator[None]:
    """Copy to stderr what is written to a new pipe within the block."""
    os.mkfifo(path, 0o600)
    # Open for writing too: the pipe never ends while replicas come and go.
    pipe = os.open(path, os.O_RDWR)

    def copy() -> None:
        while (part := os.read(pipe, 65536)) != b"":
            if part.endswith(b"\0"):
                part, over = part[:-1], True
            else:
                over = False
            with contextlib.suppress(OSError):  # nobody reads the log any more
                os.write(sys.stderr.fileno(), part)
            if over:
                return

    thread = threading.Thread(target=copy, name="serve-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        time.sleep(0.1)  # what the last replica wrote
        os.set_blocking(pipe, False)
        with contextlib.suppress(
            BlockingIOError
        ):  # full, since nobody reads the log: its thread ends with this process
            os.write(pipe, b"\0")
            thread.join(5.0)
            os.close(pipe)
