"""What every request passes: a name for the log, who asks, how often, how much, how slowly; and the headers of every answer.

Enters: any ASGI request. Leaves: refusals in one line, or the application's answer with security headers and `X-Request-Id`; a log line
and counters for each. It is ASGI itself, since the framework's own middleware costs as much as a cached answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workbench.api.limiter import RateLimit
from workbench.api.metrics import Metrics
from workbench.api.problems import Refusal
from workbench.api.settings import Settings
from workbench.api.visits import LEFT, UNMATCHED, Visit, begin, record
from workbench.listening import is_loopback

OPEN_PATHS = ("/health",)  # for load balancers and containers; it says nothing of the data
UPLOAD_PATH = "/datasets"

_LOG = logging.getLogger("workbench.api")
_CLOSE = {"Connection": "close"}  # what is left of the body is not read

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Gate:
    """The middleware.

    Parameters
    ----------
    app, settings, metrics
        What it stands before, its limits, and what it counts in.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._rate = RateLimit(settings.rate_per_second, settings.rate_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; what is not HTTP goes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, visit = Headers(scope=scope), begin(scope)
        sending = self._sending(visit, send)
        try:
            self._admit(scope, headers, visit)
            await self._app(scope, self._receiving(scope, headers, receive), sending)
        except Refusal as refusal:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)
            await answer(scope, receive, sending)
        except ClientDisconnect:
            visit.status = visit.status or LEFT
        except asyncio.CancelledError:  # so does Ray Serve where the client leaves while the answer is computed
            visit.status = visit.status or LEFT
            raise
        except Exception:
            _LOG.exception("unexpected", extra={"fields": {"request_id": visit.id, "path": scope["path"]}})
            if visit.status:
                raise  # the answer has begun: only breaking the connection tells the client
            detail = f"internal error; the server's log has it under request {visit.id}"
            await JSONResponse({"detail": detail}, 500)(scope, receive, sending)
        finally:
            record(visit, scope, getattr(scope.get("route"), "path", UNMATCHED), self._metrics)

    def _admit(self, scope: Scope, headers: Headers, visit: Visit) -> None:
        """Raise a Refusal where the request may not go on."""
        if not self._settings.key_hashes:
            # A page in a browser could reach a server on loopback by a name of its own that leads there.
            if not is_loopback(_host_name(headers.get("host", ""))):
                raise Refusal(400, "the Host header must name a loopback address where no API key is set")
        elif scope["path"] not in OPEN_PATHS:
            key = _key_number(headers, self._settings.key_hashes)
            if key is None:
                self._check_rate(visit.caller)
                raise Refusal(
                    401,
                    "an API key must be given: Authorization: Bearer KEY, or X-API-Key",
                    {"WWW-Authenticate": "Bearer"},
                )
            visit.caller = f"key {key}"
        self._check_rate(visit.caller)

    def _check_rate(self, caller: str) -> None:
        wait = self._rate.take(caller)
        if wait:
            seconds = max(1, math.ceil(wait))
            raise Refusal(429, f"too many requests; try again in {seconds} s", {"Retry-After": str(seconds)})

    def _receiving(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """Return a `receive` that counts bytes and seconds."""
        upload = scope["path"] == UPLOAD_PATH
        settings = self._settings
        most = settings.upload_bytes if upload else settings.body_bytes
        seconds = settings.upload_seconds if upload else settings.body_seconds
        claimed = headers.get("content-length", "0")
        if not claimed.isdecimal() or len(claimed) > 18 or int(claimed) > most:
            raise Refusal(413, f"the body must have at most {most:,} bytes, got a claim of {claimed}", _CLOSE)
        until = asyncio.get_running_loop().time() + seconds
        received, complete = 0, False

        async def receiving() -> Message:
            nonlocal received, complete
            if complete:  # what follows the body is the client's leaving, for which there is no time limit
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise Refusal(408, f"the body must arrive within {seconds:g} s", _CLOSE) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > most:
                raise Refusal(413, f"the body must have at most {most:,} bytes", _CLOSE)
            return message

        return receiving

    def _sending(self, visit: Visit, send: Send) -> Send:
        """Return a `send` that adds the headers."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = visit.id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        return sending


def _host_name(host: str) -> str:
    """Return a Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _key_number(headers: Headers, hashes: tuple[bytes, ...]) -> int | None:
    """Return the position of the key that a request carries; every key is compared, in constant time."""
    given = headers.get("x-api-key", "")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given = token.strip()
    digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).digest()
    matches = [hmac.compare_digest(digest, known) for known in hashes]
    return matches.index(True) if any(matches) else None
