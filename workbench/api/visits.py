"""One request on its way: its name for the log, who asks, how it ends.

Enters: an ASGI scope, then the status of the answer. Leaves: counters and one log line, the same for requests that the application answers
and for those that are refused before it.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from workbench.api.metrics import Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
LEFT = 499  # what the log calls a request whose client left before it was whole
UNMATCHED = "unmatched"  # the route of a path that no route has
_LOG = logging.getLogger("workbench.api")


@dataclass
class Visit:
    """A request. `caller` is the client's address until a key is known."""

    id: str
    caller: str
    started: float = field(default_factory=time.perf_counter)
    status: int = 0


def begin(scope: Scope) -> Visit:
    """Return the visit of a request, under the id that its client gives if that is one."""
    given = Headers(scope=scope).get("x-request-id", "")
    client = (scope.get("client") or ("unknown", 0))[0]
    return Visit(given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8), client)


def record(visit: Visit, scope: Scope, route: str, metrics: Metrics | None) -> None:
    """Count and log a request that is over.

    Parameters
    ----------
    visit, scope
        The request; `visit.status` is that of the answer.
    route
        The pattern of its path, for the counters: a path would be a time series of its own.
    metrics
        Where to count; None: nowhere.
    """
    seconds = time.perf_counter() - visit.started
    if metrics is not None:
        # A client may invent methods; each would be a time series of its own.
        method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE") else "other"
        metrics.answered(route, method, visit.status, seconds)
    if _LOG.isEnabledFor(logging.INFO):
        fields: dict[str, Any] = {
            "request_id": visit.id,
            "method": scope["method"],
            "path": scope["path"],
            "status": visit.status,
            "milliseconds": round(1000 * seconds, 3),
            "caller": visit.caller,
        }
        _LOG.info("request", extra={"fields": fields})
