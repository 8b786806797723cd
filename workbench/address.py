"""Where an API is, and the key that it asks for.

Enters: what the user or the environment says. Leaves: an address that can be one, a key that a header can hold, or a ConfigError in one
line that shows neither a key nor a password.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from workbench.errors import ConfigError
from workbench.listening import is_loopback

DEFAULT_URL = "http://127.0.0.1:8000"
URL, KEY, KEY_FILE = "WORKBENCH_URL", "WORKBENCH_API_KEY", "WORKBENCH_API_KEY_FILE"

_LONGEST = 600  # characters of a line of somebody else's


def check_url(url: str) -> str:
    """Return an address without its last slash.

    Raises
    ------
    ConfigError
        It is not http:// or https:// with a host, or has a password, a query or a fragment.
    """
    rule = f"url must be like {DEFAULT_URL}"
    try:
        parts = urlsplit(url.strip())
        host, _, user = parts.hostname, parts.port, parts.username
        (host or "").encode("idna")
    except ValueError as error:
        raise ConfigError(f"{rule}, got {one_line(url)!r} ({one_line(error)})") from None
    if user is not None:
        raise ConfigError(f"{rule} and hold no password (host {one_line(host or '')}); set {KEY}")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url.strip():
        hint = f"; write http://{url.strip()}" if url.strip().isprintable() and "://" not in url and url.strip() else ""
        raise ConfigError(f"{rule}, got {one_line(url)!r}{hint}")
    if parts.query or parts.fragment:
        raise ConfigError(f"{rule} without ? and #, got {one_line(url)!r}")
    return url.strip().rstrip("/")


def key_of_environment() -> str | None:
    """Return the API key of the environment: the variable's, else the first one of the file; None where there is none.

    Raises
    ------
    ConfigError
        WORKBENCH_API_KEY_FILE names no file with a key.
    """
    key, file = os.environ.get(KEY, "").strip(), os.environ.get(KEY_FILE)
    if key or not file:
        return key or None
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(f"{KEY_FILE} must name a file that can be read, got {one_line(file)} ({why})") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"{KEY_FILE} must name a file with a key on a line, got none in {one_line(file)}")
    return keys[0]


def check_key(key: str) -> str:
    """Return a key as it is; ConfigError, which does not show it, where a header cannot hold it."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the API key must be of plain characters without blanks, got others; see {KEY}, {KEY_FILE}")
    return key


def is_own_machine(url: str) -> bool:
    """Tell whether an address is one of this machine, reached from nowhere else."""
    return is_loopback(urlsplit(url).hostname or "")


def one_line(text: object) -> str:
    """Return a text of somebody else's as one line of printable characters."""
    line = "".join(char if char.isprintable() else " " for char in str(text))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
