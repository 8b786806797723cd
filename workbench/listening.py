"""Where to listen: whether a host is reached from this machine only, and whether a port is free before something slow starts.

Enters: a host, as a name or an address without brackets, and a port. Leaves: an answer, or an error in one line.
"""

from __future__ import annotations

import ipaddress
import socket

from workbench.errors import UnavailableError


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine's own and reached from nowhere else, whatever the network and its name server say.

    That is the name localhost, and an address of 127.0.0.0/8 (as IPv6 writes it, too) or ::1. Any other name leads where its owner wants;
    `` (all addresses), 0.0.0.0 and :: are reached from everywhere.
    """
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check_port(host: str, port: int) -> None:
    """Listen for a moment.

    Raises
    ------
    UnavailableError
        The port is taken, or the host is not this machine's.
    """
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name such as localhost has an address of each family: others listen to that of IPv4 first of all.
        family, kind, protocol, _, address = min(places, key=lambda place: place[0] != socket.AF_INET)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, ValueError) as error:  # a ValueError: no name at all, but a text with zero bytes, say
        shown = host if host.isprintable() else ascii(host)
        why = getattr(error, "strerror", None) or "there is no such host"
        raise UnavailableError(
            f"port {port} of {shown or 'all addresses'} cannot be listened on: {why}; choose another with --port"
        ) from None
