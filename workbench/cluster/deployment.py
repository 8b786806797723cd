"""An ASGI application as a deployment of Ray Serve: how many processes answer, where, and what they know of their Ray.

Enters: a function that makes the application, how it is to be served, the node that its replicas run on. Leaves: what `serve.run` or
`serve deploy` take. Replicas run on one node, so that files and folders are one machine's; they hold no CPU, which jobs on the same Ray
would wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import serve
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from workbench.cluster.address import VARIABLE as ADDRESS
from workbench.cluster.nodes import cluster_address
from workbench.cluster.surroundings import METRICS_VARIABLE, adopt, surroundings, worker_environment

NAME = "workbench"
QUIET = LoggingConfig(log_level="ERROR", enable_access_log=False)
_KILLS_CHILDREN = "RAY_kill_child_processes_on_worker_exit"
HEAD = "node:__internal_head__"
"""The resource that the head of a cluster has, and no other node."""


@dataclass(frozen=True)
class Serving:
    """How an application is served; times in seconds.

    replicas : processes that answer.
    ongoing : requests that a replica has in hand at most.
    queued : requests that wait for one; more are refused with 503.
    request_seconds : that a request may take, its body included.
    stop_seconds : that requests in hand are waited for at the end.
    proxy_variables : environment of the process that accepts connections.
    replace : an application of this name that the Ray serves already, such as one left over by a process that was killed, is ended first.
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
    replace: bool = False


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


def deployment(
    make_app: Callable[[ServedCluster], Any],
    how: Serving,
    node: str,
    variables: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
) -> serve.Application:
    """Return an application, bound, that is not served yet.

    Parameters
    ----------
    make_app
        Called in each replica; it and what it holds must pickle. It should import what is heavy, or reads the environment, when called.
    how
        See `Serving`.
    node
        A resource that one node has: `node:ADDRESS`, or `HEAD`.
    variables
        Environment of the replicas; the folder that `METRICS_VARIABLE` names is made where they run.
    settings
        Ray's own settings for their processes, as environment variables.
    """
    given, own, address = surroundings(), _own_variables(), cluster_address()

    def build() -> Any:
        adopt(given)
        os.environ.update(variables)
        os.makedirs(variables[METRICS_VARIABLE], exist_ok=True)
        added = frozenset(os.environ) - own
        os.environ[ADDRESS] = address
        return make_app(ServedCluster(added))

    made = serve.deployment(
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
        logging_config=QUIET,
        ray_actor_options={
            "num_cpus": 0,
            "resources": {node: 0.001},
            # Jobs are processes of their own, which live on when a replica ends in good order.
            "runtime_env": {**(worker_environment() or {}), "env_vars": {_KILLS_CHILDREN: "0", **(settings or {})}},
        },
    )(serve.ingress(build)())
    return made.bind()


def _own_variables() -> frozenset[str]:
    """Return the names of this process's variables; in a worker, where `serve deploy` calls, without those that Ray gave it."""
    is_worker = ray.get_runtime_context().worker.mode == ray.WORKER_MODE
    given = {name for name in os.environ if is_worker and name.startswith("RAY_") and not name.startswith("RAY_AUTH_")}
    return frozenset(os.environ) - given
