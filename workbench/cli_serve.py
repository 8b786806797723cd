"""`workbench serve`: the HTTP door.

Enters: where to listen. Leaves: a server that runs until it is stopped; its log on stderr, one JSON object a line.
"""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.errors import ConfigError


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            "--host", help="address to listen on; beyond loopback an API key must be set [default: 127.0.0.1]"
        ),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="[default: 8000]")] = None,
    engine: Annotated[str, typer.Option("--engine", metavar="ray|local", help="local: uvicorn, without Ray")] = "local",
) -> None:
    """Serve the HTTP API.

    WORKBENCH_API_KEY or WORKBENCH_API_KEY_FILE set the keys; WORKBENCH_API_BODY_BYTES and the like the limits.
    """
    if engine != "local":
        raise ConfigError(f"engine must be local, got {engine!r}")
    from workbench.api.serve import serve as serve_http
    from workbench.api.settings import Settings

    settings = Settings.from_environment(host=host, port=port)
    typer.echo(f"workbench: serving http://{settings.host}:{settings.port} (uvicorn); Ctrl-C stops it", err=True)
    serve_http(settings)
