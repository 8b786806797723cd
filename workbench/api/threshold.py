"""What stands before Ray Serve, in the process that accepts connections: what Serve itself does not do.

Enters: any request. Leaves: one that is whole and has none of the headers by which a client could give Serve orders; answers that are
Serve's own in the words and with the headers of this API. A body that drips holds no place among the requests that a replica has in hand.
"""

from __future__ import annotations

import asyncio
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.api.gate import REQUEST_ID, SECURITY_HEADERS, UPLOAD_PATH

HEALTH = "/-/healthz"
"""Serve's own, for whoever watches the process that accepts connections."""

_CLOSE = {"Connection": "close"}
# By these a client sets Serve's time limits, hides that it has left, chooses a replica, or, with bytes that are no text, breaks it.
_ORDERS = re.compile(rb"x-request-timeout-seconds|x-request-disconnect-disabled|serve[-_].*|x[-_]session[-_]id")


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
    """

    def __init__(self, app: ASGIApp, body_bytes: int, body_seconds: float, retry_after_seconds: int) -> None:
        self._app, self._bytes, self._seconds, self._retry = app, body_bytes, body_seconds, retry_after_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is not HTTP goes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = {**scope, "headers": [item for item in scope["headers"] if _is_kept(*item)]}
        sending = self._sending(scope, receive, send)
        if scope["path"].startswith("/-/") and scope["path"] != HEALTH:
            await JSONResponse({"detail": "Not Found"}, 404, SECURITY_HEADERS)(scope, receive, send)
            return
        if scope["path"] != UPLOAD_PATH and self._claims_little(scope):
            try:
                whole = await self._whole(receive)
            except TimeoutError:
                detail = f"the body must arrive within {self._seconds:g} s"
                await JSONResponse({"detail": detail}, 408, SECURITY_HEADERS | _CLOSE)(scope, receive, send)
                return
            if whole is None:
                return  # the client has left
            receive = whole
        await self._app(scope, receive, sending)

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

    def _sending(self, scope: Scope, receive: Receive, send: Send) -> Send:
        """Return a `send` that puts an answer of the API in the place of one that is Serve's own."""
        replaced = False

        async def sending(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                replaced = "x-content-type-options" not in headers and scope["path"] != HEALTH
                if replaced:
                    await self._own(message["status"])(scope, receive, send)
                    return
                # Serve appends the id that the client gave, whatever it is.
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


def _is_kept(name: bytes, value: bytes) -> bool:
    if name == b"x-request-id":
        return REQUEST_ID.fullmatch(value.decode("latin-1")) is not None
    return _ORDERS.fullmatch(name) is None
