"""`workbench lab`: JupyterLab on the notebooks.

Enters: where to listen and what to open. Leaves: a Lab that runs until Ctrl-C; its address, with the token, on stderr.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def lab(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="to work in; the notebooks are copied there [default: those of the checkout, else ./notebooks]",
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", help="port to listen on")] = 8888,
    host: Annotated[str, typer.Option("--host", help="address to listen on")] = "127.0.0.1",
    ray: Annotated[bool, typer.Option("--ray/--no-ray", help="start a Ray for the notebooks beside it")] = True,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="open a browser")] = True,
) -> None:
    """Open JupyterLab on the notebooks, with a Ray that starts in the background.

    The token is that of JUPYTER_TOKEN, or a new one. RAY_ADDRESS names a Ray that is there already.
    """
    from workbench.lab import LabSettings, run_lab

    run_lab(LabSettings(folder, host, port, ray, browser))
