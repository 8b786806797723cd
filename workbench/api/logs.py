"""Logs as JSON, one object a line, on stderr.

Enters: log records, whose `fields` are more entries of the object. Leaves: text. Configured by whoever starts a server, never on import.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
from collections.abc import Callable
from typing import Any

from workbench.cluster.surroundings import LOG_VARIABLE

NAME = "workbench.api"


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        content: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        content |= getattr(record, "fields", {})
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send the server's log to stderr; calling it again changes the level only."""
    _log_to(logging.StreamHandler, level)


def log_to_pipe() -> None:
    """Send the server's log to the process that serves it; to stderr where there is none, or where it is another machine's."""
    path = os.environ.get(LOG_VARIABLE, "")
    _log_to(lambda: logging.StreamHandler(_Pipe(path) if os.path.exists(path) else None), logging.INFO)


class _Pipe:
    """A pipe that somebody else reads; what finds no reader, or a full pipe, is lost: no request waits for its log."""

    def __init__(self, path: str) -> None:
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(
                self._pipe, text.encode()
            )  # at once where it is short, so that the lines of two processes do not mix

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


def _log_to(make: Callable[[], logging.Handler], level: int) -> None:
    logger = logging.getLogger(NAME)
    logger.setLevel(level)
    logger.propagate = False
    if not any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        handler = make()
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
