"""Logs as JSON, one object a line, on stderr.

Enters: log records, whose `fields` are more entries of the object. Leaves: text. Configured by whoever starts a server, never on import.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import Any

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
    logger = logging.getLogger(NAME)
    logger.setLevel(level)
    logger.propagate = False
    if not any(isinstance(handler.formatter, JsonLines) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logger.addHandler(handler)
