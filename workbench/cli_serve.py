"""`workbench serve`: the HTTP door.

Enters: where to listen. Leaves: a server that runs until it is stopped; its log on stderr, one JSON object a line.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from workbench.errors import ConfigError

_ENGINES = {"ray": "Ray Serve", "local": "uvicorn"}


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            "--host", help="address to listen on; beyond loopback an API key must be set [default: 127.0.0.1]"
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="[default: 8000]")] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="ray|local", help="Ray Serve, or uvicorn without Ray")
    ] = "ray",
    replicas: Annotated[
        int | None, typer.Option("--replicas", help="processes that answer, with --engine ray [default: 2]")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="end the workbench that this Ray serves already, with --engine ray")
    ] = False,
) -> None:
    """Serve the HTTP API.

    WORKBENCH_API_KEY or WORKBENCH_API_KEY_FILE set the keys; WORKBENCH_API_BODY_BYTES and the like the limits.
    """
    if engine not in _ENGINES:
        raise ConfigError(f"engine must be ray or local, got {engine!r}")
    if replicas is not None and engine == "local":
        raise ConfigError("--replicas must come with --engine ray; uvicorn serves from one process")
    if replace and engine == "local":
        raise ConfigError("--replace must come with --engine ray; uvicorn serves from this process alone")
    from workbench.api.serve import check_on_ray, serve_locally, serve_on_ray
    from workbench.api.settings import Settings

    # Jobs outlive this process. A Ray that is started for it does not, and would have the same processors.
    job_engine = "auto" if engine == "ray" and os.environ.get("RAY_ADDRESS") else "local"
    settings = Settings.from_environment(
        host=host, port=port, replicas=replicas, engine=_ENGINES[engine], job_engine=job_engine
    )
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"serving http://{shown}:{settings.port} ({settings.engine}"
    if engine == "local":
        _say(f"{where}); Ctrl-C stops it")
        serve_locally(settings)
    else:
        check_on_ray(settings)
        _say("starting Ray Serve; it takes some 20 s")
        serve_on_ray(settings, lambda address: _say(f"{where} at {address}); Ctrl-C stops it"), replace)


def _say(text: str) -> None:
    typer.echo(f"workbench: {text}", err=True)
