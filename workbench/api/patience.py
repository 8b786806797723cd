"""Where connections are accepted: a time limit for the head of a request, so that a client that sends it by the byte is cut off.

Enters: seconds. Leaves: uvicorn's protocol with the limit, for a server of our own, or put in the place of uvicorn's in the process in
which Ray Serve accepts connections.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HOOK = "workbench.api.patience:install"
"""What Ray Serve has to call where it accepts connections."""
VARIABLE = "WORKBENCH_API_HEADER_SECONDS"


def protocol_with_patience(seconds: float) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with the limit."""

    class PatientProtocol(HttpToolsProtocol):
        _waiting: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._done()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._wait()

        def on_headers_complete(self) -> None:
            self._done()
            super().on_headers_complete()

        def _wait(self) -> None:
            self._done()
            self._waiting = self.loop.call_later(seconds, self.transport.close)

        def _done(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

    return PatientProtocol


def install() -> list[Middleware]:
    """Let every server of this process have the limit; return middleware for what Ray Serve adds to answers."""
    from uvicorn.protocols.http import auto

    auto.AutoHTTPProtocol = protocol_with_patience(float(os.environ.get(VARIABLE, "10")))
    return [Middleware(OneRequestId)]


class OneRequestId:
    """Lets an answer have one `X-Request-Id`, the application's: Ray Serve appends the one that the client gave, whatever it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = [item for item in message["headers"] if item[0].lower() == b"x-request-id"]
                message["headers"] = [item for item in message["headers"] if item not in found[1:] or item is found[0]]
            await send(message)

        await self._app(scope, receive, sending)
