"""`workbench dashboard`: the door for people in a browser.

Enters: where to listen, and which API to ask. Leaves: a server that runs until it is stopped.
"""

from __future__ import annotations

from typing import Annotated

import typer


def dashboard(
    port: Annotated[int, typer.Option("--port", help="where it listens")] = 8501,
    host: Annotated[str, typer.Option("--host", help="address to listen on")] = "127.0.0.1",
    url: Annotated[
        str | None,
        typer.Option("--url", help="the API [default: WORKBENCH_URL, else http://127.0.0.1:8000]", show_default=False),
    ] = None,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote",
            envvar="WORKBENCH_DASHBOARD_ALLOW_REMOTE",
            help="listen beyond loopback: there is no login",
        ),
    ] = False,
) -> None:
    """Serve the dashboard, which asks an API for everything.

    WORKBENCH_API_KEY or WORKBENCH_API_KEY_FILE hold the key, where the API wants one.
    """
    from workbench.client import Client
    from workbench.dashboard.server import check_place, serve

    check_place(host, port, allow_remote)
    with Client.from_environment(url) as client:  # what is wrong with address or key is said now
        api = client.url
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"workbench: the dashboard of {api} is at http://{shown}:{port}; Ctrl-C stops it", err=True)
    serve(host, port, api)
