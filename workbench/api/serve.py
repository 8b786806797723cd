"""The application, served: by uvicorn in this process, or by replicas of Ray Serve.

Enters: settings. Leaves: a server that runs until it is told to stop, then answers what it has begun. Jobs run on either way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.api.logs import log_to_stderr
from workbench.api.patience import HOOK, VARIABLE, protocol_with_patience
from workbench.api.replica import Replica
from workbench.api.settings import KEY, KEY_FILE, Settings
from workbench.errors import ConfigError
from workbench.market.files import show

if TYPE_CHECKING:
    from workbench.cluster.deployment import Serving

_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 1024
_ONGOING = 32  # requests that a replica has in hand beyond those that compute or wait for it: answers from the cache


def serve_locally(settings: Settings) -> None:
    """Serve by uvicorn until SIGTERM or Ctrl-C."""
    import uvicorn

    from workbench.api.app import create_app

    log_to_stderr()
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=protocol_with_patience(settings.header_seconds),
        ws="none",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.stop_seconds) or 1,
    )
    uvicorn.Server(config).run()


def check_on_ray(settings: Settings) -> None:
    """Raise what is wrong with serving on Ray, before any of it is started.

    Raises
    ------
    ConfigError
        An API key is set, as it must be beyond loopback, and the Ray that would be started lets everybody in without.
    """
    from workbench.cluster.session import asks_no_token

    if settings.key_hashes and asks_no_token():
        raise ConfigError(
            f"RAY_AUTH_MODE must be token, or not set, where an API key is set, got {show(os.environ['RAY_AUTH_MODE'])!r}: who reaches "
            "the ports of the Ray that is started would need no key; unset it, or serve with --engine local"
        )


def serve_on_ray(settings: Settings, ready: Callable[[str], None], replace: bool = False) -> None:
    """Serve by replicas of Ray Serve until SIGTERM or Ctrl-C.

    Parameters
    ----------
    settings
        `replicas` processes answer; each has the limits of its own.
    ready
        Called with the address of the Ray when the first request can be answered.
    replace
        A workbench that this Ray serves already is ended first.

    Raises
    ------
    ConfigError, UnavailableError
        See `check_on_ray` and `serving`; or the Ray is gone.
    """
    check_on_ray(settings)
    from workbench.cluster.serving import serving, wait_while_alive

    for name in (KEY, KEY_FILE):  # read by now; all processes of a Ray inherit what is in the environment
        os.environ.pop(name, None)
    with serving(Replica(settings), how_on_ray(settings, replace)) as address:
        ready(address)
        wait_while_alive()


def how_on_ray(settings: Settings, replace: bool = False) -> Serving:
    """Return how Ray Serve has to serve the application."""
    from workbench.cluster.deployment import Serving
    from workbench.cluster.serving import PROXY_HOOK

    names = ("header_seconds", "body_seconds", "body_bytes", "retry_after_seconds")
    limits = {name: getattr(settings, name) for name in names}
    return Serving(
        host=settings.host,
        port=settings.port,
        replicas=settings.replicas,
        ongoing=settings.threads + settings.queue + _ONGOING,
        queued=_MOST_CONNECTIONS,
        retry_after_seconds=settings.retry_after_seconds,
        request_seconds=settings.upload_seconds + settings.check_seconds + settings.study_seconds,
        stop_seconds=settings.stop_seconds,
        proxy_variables={PROXY_HOOK: HOOK, VARIABLE: json.dumps(limits)},
        replace=replace,
    )
