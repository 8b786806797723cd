"""What stands before Ray Serve, in the process that accepts connections: what Serve itself does not do.

Enters: any request. Leaves: one that is whole, has an id, and has none of the headers by which a client could give Serve orders; answers
that are Serve's own in the words and with the headers of this API. A body that drips holds no place among the requests that a replica has
in hand. What is answered here reaches no replica: it is counted and logged here.
"""

from __future__ import annotations

import asyncio
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.api.gate import SECURITY_HEADERS, UPLOAD_PATH
from workbench.api.metrics import Metrics
from workbench.api.visits import LEFT, UNMATCHED, Visit, begin, record

HEALTH = "/-/healthz"
"""Serve's own, for whoever watches the process that accepts connections."""
ROUTES = (
    "/",
    "/health",
    "/status",
    "/metrics",
    "/datasets",
    "/portfolio/analyze",
    "/stocks/analyze",
    "/sweeps",
    "/reports",
    "/jobs/{job_id}",
    "/jobs/{job_id}/result",
    "/jobs/{job_id}/html",
    "/cache/clear",
)
"""What the counters know by name: the paths of the application, which this process does not import."""

_CLOSE = {"Connection": "close"}
_JOB = re.compile(r"^/jobs/[^/]+")
# By these a client sets Serve's time limits, hides that it has left, chooses a replica, or, with bytes that are no text, breaks it. The id
# that it gave, or another where it is none, is put back.
_ORDERS = re.compile(
    rb"x-request-id|x-request-timeout-seconds|x-request-disconnect-disabled|serve[-_].*|x[-_]session[-_]id"
)


class Threshold:
    """The middleware.

    Parameters
    ----------
    app
        Ray Serve.
    body_bytes, body_seconds
        Of a JSON body. One that claims more, and tables, go through: the application refuses the former and stores the latter.
    retry_after_seconds
        What a client is told that comes while the application starts or stops.
    metrics
        Where the requests that are answered here are counted; None: nowhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        body_bytes: int,
        body_seconds: float,
        retry_after_seconds: int,
        metrics: Metrics | None = None,
    ) -> None:
        self._app, self._bytes, self._seconds, self._retry = app, body_bytes, body_seconds, retry_after_seconds
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is not HTTP goes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = begin(scope)
        kept = [(name, value) for name, value in scope["headers"] if _ORDERS.fullmatch(name) is None]
        scope = {**scope, "headers": [*kept, (b"x-request-id", visit.id.encode())]}
        if scope["path"].startswith("/-/") and scope["path"] != HEALTH:
            answer = JSONResponse({"detail": "Not Found"}, 404, SECURITY_HEADERS)
            await self._answer(answer, visit, scope, receive, send)
            return
        if scope["path"] != UPLOAD_PATH and self._claims_little(scope):
            try:
                whole = await self._whole(receive)
            except TimeoutError:
                detail = f"the body must arrive within {self._seconds:g} s"
                answer = JSONResponse({"detail": detail}, 408, SECURITY_HEADERS | _CLOSE)
                await self._answer(answer, visit, scope, receive, send)
                return
            if whole is None:
                visit.status = LEFT
                record(visit, scope, _route(scope["path"]), self._metrics)
                return
            receive = whole
        await self._app(scope, receive, self._sending(visit, scope, receive, send))

    async def _answer(self, answer: JSONResponse, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the place of Serve and its replicas; count and log it."""
        visit.status = answer.status_code
        answer.headers["X-Request-Id"] = visit.id
        try:
            await answer(scope, receive, send)
        finally:
            record(visit, scope, _route(scope["path"]), self._metrics)

    def _claims_little(self, scope: Scope) -> bool:
        claimed = Headers(scope=scope).get("content-length", "0")
        return claimed.isdecimal() and len(claimed) <= 18 and int(claimed) <= self._bytes

    async def _whole(self, receive: Receive) -> Receive | None:
        """Return a `receive` that has the body already, or more of it than may be; None where the client leaves."""
        messages: list[Message] = []
        received, complete = 0, False
        async with asyncio.timeout(self._seconds):
            while not complete and received <= self._bytes:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                messages.append(message)
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
        messages.reverse()

        async def receiving() -> Message:
            return messages.pop() if messages else await receive()

        return receiving

    def _sending(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> Send:
        """Return a `send` that puts an answer of the API in the place of one that is Serve's own."""
        replaced = False

        async def sending(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                replaced = "x-content-type-options" not in headers and scope["path"] != HEALTH
                if replaced:
                    await self._answer(self._own(message["status"]), visit, scope, receive, send)
                    return
                # Serve appends the id that it was given.
                ids = headers.getlist("x-request-id")
                if len(ids) > 1:
                    headers["x-request-id"] = ids[0]
            if not replaced:
                await send(message)

        return sending

    def _own(self, status: int) -> JSONResponse:
        """Return the answer for one of Serve's."""
        again = SECURITY_HEADERS | {"Retry-After": str(self._retry)}
        match status:
            case 404:  # it knows no application yet, or none any more
                detail = f"the application is starting or stopping; try again in {self._retry} s"
                return JSONResponse({"detail": detail}, 503, again)
            case 503:
                detail = f"the server has as many requests in hand as it can; try again in {self._retry} s"
                return JSONResponse({"detail": detail}, 503, again)
            case 408:
                return JSONResponse({"detail": "the request took too long; ask for less"}, 504, SECURITY_HEADERS)
        return JSONResponse({"detail": "internal error between Ray Serve and its replicas"}, 500, SECURITY_HEADERS)


def _route(path: str) -> str:
    """Return the route of a path, as the application's counters name it."""
    route = _JOB.sub("/jobs/{job_id}", path)
    return route if route in ROUTES else UNMATCHED
