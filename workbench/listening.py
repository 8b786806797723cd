"""Whether a port can be listened on, asked before something slow starts that would find it out late.

Enters: a host and a port. Leaves: nothing, or an error in one line.
"""

from __future__ import annotations

import socket

from workbench.errors import UnavailableError


def check_port(host: str, port: int) -> None:
    """Listen for a moment.

    Raises
    ------
    UnavailableError
        The port is taken, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise UnavailableError(
                f"port {port} of {host} cannot be listened on: {why}; choose another with --port"
            ) from None
