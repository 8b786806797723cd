"""The dashboard as a process: where it listens, and Streamlit's settings.

Enters: a host, a port, the address of an API. Leaves: a server that runs until SIGTERM or Ctrl-C. Nothing is asked, sent or written
anywhere: no telemetry, no e-mail prompt, nothing in the home folder; the user's own Streamlit settings cannot undo that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workbench.address import URL
from workbench.errors import ConfigError
from workbench.listening import check_port, is_loopback
from workbench.market.files import show
from workbench.report.figures import PORTFOLIO

ALLOW_REMOTE = "WORKBENCH_DASHBOARD_ALLOW_REMOTE"
SCRIPT = Path(__file__).parent / "script" / "workbench_dashboard.py"


def check_place(host: str, port: int, allow_remote: bool) -> None:
    """Refuse a place where the dashboard must not, or cannot, listen.

    Raises
    ------
    ConfigError
        The port is none, or the host is beyond loopback and `allow_remote` is not said.
    UnavailableError
        The port is in use, or the host is not this machine's.
    """
    if not 1 <= port <= 65_535:
        raise ConfigError(f"port must be between 1 and 65535, got {port}")
    if not allow_remote and not is_loopback(host):
        raise ConfigError(
            f"host must be a loopback address, got {show(host)!r}: the dashboard asks for no login, and whoever reaches it uses the "
            f"API with its key; put a proxy with a login before it, or say --allow-remote ({ALLOW_REMOTE}=1)"
        )
    check_port(host, port)


def options(host: str, port: int) -> dict[str, Any]:
    """Return Streamlit's settings; they go before those of any file or variable."""
    known = ["127.0.0.1", "localhost", "::1"] if is_loopback(host) else []
    return {
        "browser.gatherUsageStats": False,
        "browser.serverAddress": host,
        "browser.serverPort": port,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "viewer",
        "global.developmentMode": False,
        "logger.hideWelcomeMessage": True,
        "logger.level": "warning",
        "runner.magicEnabled": False,
        "server.address": host,
        # A page of another name that leads here must not use the session: the answer to rebinding of names.
        "server.allowedHosts": known,
        "server.enableCORS": True,
        "server.enableStaticServing": False,
        "server.enableXsrfProtection": True,
        "server.fileWatcherType": "none",
        "server.headless": True,
        "server.port": port,
        "server.runOnSave": False,
        "server.showEmailPrompt": False,
        "theme.light.primaryColor": PORTFOLIO,
        "theme.dark.primaryColor": PORTFOLIO,
    }


def serve(host: str, port: int, url: str) -> None:
    """Serve the dashboard of the API at `url` until SIGTERM or Ctrl-C; see `check_place`."""
    os.environ[URL] = url  # for the sessions, which are threads of this process
    from streamlit.web import bootstrap

    given = options(host, port)
    bootstrap.load_config_options(given)
    bootstrap.run(str(SCRIPT), False, [], given)
