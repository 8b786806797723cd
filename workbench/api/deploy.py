"""The application for `serve deploy`: on a cluster that is there, kept by it, with no process of ours that stays.

Enters: the arguments of a Serve config file such as `serve.yaml` beside this module, and the environment of the cluster's head. Leaves: the
application, bound. Its replicas run on the head, where its state lies; a key must be set there: who can reach Serve is not known here.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from workbench.errors import ConfigError
from workbench.market.home import temporary

_EVERYWHERE = "0.0.0.0"
_KNOWN = ("replicas",)


def application(arguments: Mapping[str, Any]) -> Any:
    """Return the application that Ray Serve is to run.

    Parameters
    ----------
    arguments
        `args` of the config file: `replicas`, the number of processes that answer.

    Raises
    ------
    ConfigError
        An argument is unknown or wrong, or neither WORKBENCH_API_KEY nor WORKBENCH_API_KEY_FILE is set.
    """
    from workbench.api.replica import Replica
    from workbench.api.serve import how_on_ray
    from workbench.api.settings import Settings
    from workbench.cluster.deployment import HEAD, deployment
    from workbench.cluster.surroundings import METRICS_VARIABLE, PROXY_METRICS_VARIABLE

    unknown = sorted(set(arguments) - set(_KNOWN))
    if unknown:
        raise ConfigError(f"args must be of {', '.join(_KNOWN)}, got {', '.join(unknown)}")
    replicas = arguments.get("replicas")
    if replicas is not None and (isinstance(replicas, bool) or not isinstance(replicas, int)):
        raise ConfigError(f"replicas must be a whole number, got {replicas!r}")
    settings = Settings.from_environment(host=_EVERYWHERE, replicas=replicas, engine="Ray Serve", job_engine="ray")
    own = temporary() / f"workbench-serve-{uuid.uuid4().hex}"
    metrics = os.environ.get(PROXY_METRICS_VARIABLE) or str(own)
    return deployment(Replica(settings), how_on_ray(settings), HEAD, {METRICS_VARIABLE: metrics})
