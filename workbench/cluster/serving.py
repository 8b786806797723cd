"""An ASGI application behind Ray Serve.

Enters: a function that makes the application, and how it is to be served. Leaves: a server within a block. Replicas run on the node of this
process, so that files and folders are one machine's; they hold no CPU, which jobs on the same Ray would wait for. What an application logs
through `LOG_VARIABLE` comes out of this process's stderr, line by line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import BackpressureConfig, HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from workbench.cluster.address import VARIABLE as ADDRESS
from workbench.cluster.address import is_alive
from workbench.cluster.nodes import cluster_address
from workbench.cluster.session import running
from workbench.cluster.surroundings import LOG_VARIABLE, METRICS_VARIABLE, adopt, surroundings, worker_environment
from workbench.errors import UnavailableError

NAME = "workbench"
PROXY_HOOK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Names, in the process that accepts connections, a function that is called before it does, and returns middleware."""

_CHECK_SECONDS, _LOST_CHECKS = 5.0, 3
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Serving:
    """How an application is served; times in seconds.

    replicas : processes that answer.
    ongoing : requests that a replica has in hand at most.
    queued : requests that wait for one; more are refused with 503.
    request_seconds : that a request may take, its body included.
    stop_seconds : that requests in hand are waited for at the end.
    proxy_variables : environment of the process that accepts connections.
    """

    host: str
    port: int
    replicas: int
    ongoing: int
    queued: int
    retry_after_seconds: int
    request_seconds: float
    stop_seconds: float
    proxy_variables: Mapping[str, str] = field(default_factory=dict)


class ServedCluster:
    """What an application may know of the Ray that serves it.

    Parameters
    ----------
    added
        Names of the environment variables that this process has and the one that serves does not.
    """

    def __init__(self, added: frozenset[str] = frozenset()) -> None:
        self._added = added

    def initialized(self) -> bool:
        """Tell whether Ray is up."""
        return bool(ray.is_initialized())

    def status(self) -> dict[str, Any]:
        """Return the nodes and what all of them offer; versions would cost a task on each, `workbench doctor` has them."""
        nodes = [
            {"name": entry["NodeManagerHostname"], "alive": entry["Alive"], "resources": _amounts(entry["Resources"])}
            for entry in ray.nodes()
        ]
        free = {f"{name}_free": amount for name, amount in _amounts(ray.available_resources()).items()}
        return {"nodes": nodes, "resources": _amounts(ray.cluster_resources()) | free}

    def job_environment(self) -> dict[str, str]:
        """Return the environment for a process that is no worker: without what Ray gave this one, with where Ray is."""
        return {name: value for name, value in os.environ.items() if name not in self._added}


def _amounts(resources: Mapping[str, float]) -> dict[str, float]:
    """Return what people count among Ray's resources."""
    return {name: float(resources.get(name, 0.0)) for name in ("CPU", "memory", "object_store_memory")}


@contextlib.contextmanager
def serving(make_app: Callable[[ServedCluster], Any], how: Serving) -> Iterator[str]:
    """Serve an application within the block, on the Ray that `running` finds or starts.

    Parameters
    ----------
    make_app
        Called in each replica; it and what it holds must pickle. It should import what is heavy, or reads the environment, when called.
    how
        See `Serving`.

    Yields
    ------
    str
        The address of the Ray.

    Raises
    ------
    ConfigError, UnavailableError
        Ray cannot be used, it serves something else already, the port is taken, or the application cannot be made.
    """
    _check_port(how.host, how.port)
    with running(), tempfile.TemporaryDirectory(prefix="workbench-serve-", ignore_cleanup_errors=True) as folder:
        _check_free()
        with _shown(Path(folder) / "log"):
            try:
                _deploy(make_app, how, Path(folder))
                yield cluster_address()
            finally:
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


def _check_port(host: str, port: int) -> None:
    """Say that a port is taken before Ray takes half a minute to find it out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UnavailableError(
                f"port {port} of {host} cannot be listened on: {error.strerror}; choose another with --port"
            ) from None


def _check_free() -> None:
    found = serve.status()
    if found.proxies or found.applications:
        raise UnavailableError(
            f"the Ray at {cluster_address()} serves {', '.join(sorted(found.applications)) or 'something'} already, and there is "
            "one Serve to a cluster; use that one, end it with `serve shutdown`, or serve with --engine local"
        )


def _deploy(make_app: Callable[[ServedCluster], Any], how: Serving, folder: Path) -> None:
    node = ray.get_runtime_context().get_node_id()
    entry = next(entry for entry in ray.nodes() if entry["NodeID"] == node)
    is_head = any(name.startswith("node:__internal_head__") for name in entry["Resources"])
    given, own, address = surroundings(), frozenset(os.environ), cluster_address()
    metrics = folder / "metrics"
    metrics.mkdir()
    served = {LOG_VARIABLE: str(folder / "log"), METRICS_VARIABLE: str(metrics)}

    def build() -> Any:
        adopt(given)
        os.environ.update(served)
        added = frozenset(os.environ) - own
        os.environ[ADDRESS] = address
        return make_app(ServedCluster(added))

    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # of this process; those of the others follow
    quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)
    deployment = serve.deployment(
        name=NAME,
        num_replicas=how.replicas,
        max_ongoing_requests=how.ongoing,
        max_queued_requests=how.queued,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=how.retry_after_seconds),
        graceful_shutdown_timeout_s=how.stop_seconds,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=2.0,
        health_check_timeout_s=10.0,
        max_constructor_retry_count=3,
        logging_config=quiet,
        ray_actor_options={
            "num_cpus": 0,
            "resources": {f"node:{entry['NodeManagerAddress']}": 0.001},
            **({"runtime_env": worker_environment()} if worker_environment() else {}),
        },
    )(serve.ingress(build)())
    try:
        serve.start(
            proxy_location=ProxyLocation.HeadOnly if is_head else ProxyLocation.EveryNode,
            http_options=HTTPOptions(
                host=how.host, port=how.port, request_timeout_s=how.request_seconds, keep_alive_timeout_s=30
            ),
            logging_config=quiet,
            controller_options={"runtime_env": {"env_vars": dict(how.proxy_variables)}},
        )
        serve.run(deployment.bind(), name=NAME, route_prefix="/", logging_config=quiet)
    except (RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[-_LONGEST_REASON:]
        raise UnavailableError(f"the application could not be served on the Ray at {address}: {reason}") from None


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
        os.write(pipe, b"\0")
        thread.join(5.0)
        os.close(pipe)
