"""The application behind uvicorn, without Ray.

Enters: settings. Leaves: a server that runs until it is told to stop, then answers what it has begun.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workbench.api.app import create_app
from workbench.api.logs import log_to_stderr
from workbench.api.settings import Settings

_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 1024


def protocol_with_patience(seconds: float) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with a time limit for the head of a request: a client that sends it by the byte is cut off."""

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


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have begun are answered first, jobs run on for the next server."""
    log_to_stderr()
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=protocol_with_patience(settings.header_seconds),
        ws="none",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.stop_seconds) or 1,
    )
    uvicorn.Server(config).run()
