"""Where connections are accepted: limits of time and size for the head of a request, which uvicorn does not have.

Enters: seconds. Leaves: uvicorn's protocol with the limits, for a server of our own, or put in the place of uvicorn's in the process in
which Ray Serve accepts connections.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from starlette.middleware import Middleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workbench.cluster.surroundings import METRICS_VARIABLE, PROXY_METRICS_VARIABLE

HOOK = "workbench.api.patience:install"
"""What Ray Serve has to call where it accepts connections."""
VARIABLE = "WORKBENCH_SERVE_LIMITS"
"""Holds the limits there, as a JSON object: header_seconds, and what `Threshold` takes of numbers."""

HEAD_BYTES = 64 << 10
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b'content-length: 52\r\n\r\n{"detail": "the head must have at most 65536 bytes"}'
)


def protocol_with_patience(seconds: float) -> type[HttpToolsProtocol]:
    """Return uvicorn's protocol with the limits."""

    class PatientProtocol(HttpToolsProtocol):
        _waiting: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def data_received(self, data: bytes) -> None:
            if self._waiting is not None:  # a head is on its way
                left = HEAD_BYTES - self._head_bytes
                self._head_bytes += len(data)
                # What comes at once with the end of a head may be its body; one that has not ended by then never will in time.
                if len(data) > left:
                    super().data_received(data[:left])
                    if self._waiting is not None:
                        self._done()
                        self.transport.write(_TOO_LARGE)
                        self.transport.close()
                    if self.transport.is_closing():
                        return
                    data = data[left:]
            super().data_received(data)

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
            self._head_bytes = 0
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

    return PatientProtocol


def install() -> list[Middleware]:
    """Let every server of this process have the limits; return what Ray Serve is to put before itself."""
    from uvicorn.protocols.http import auto

    is_counted = _count_with_the_replicas()  # before anything imports what counts
    from workbench.api.logs import log_to_pipe
    from workbench.api.metrics import Metrics
    from workbench.api.threshold import Threshold

    log_to_pipe()
    limits = json.loads(os.environ[VARIABLE])
    auto.AutoHTTPProtocol = protocol_with_patience(limits.pop("header_seconds"))
    return [Middleware(Threshold, **limits, metrics=Metrics({}) if is_counted else None)]


def _count_with_the_replicas() -> bool:
    """Let what is counted here be added to what the replicas count; return whether it can be.

    It cannot where no folder is named for it, as with `serve deploy` unless the operator does, or where that is another machine's.
    """
    folder = os.environ.get(PROXY_METRICS_VARIABLE, "")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if os.lstat(folder).st_uid != os.getuid():  # it may hold links to files of ours
            return False
    except OSError:
        return False
    if "prometheus_client" not in sys.modules:  # it decides when it is imported
        os.environ[METRICS_VARIABLE] = folder
    return os.environ.get(METRICS_VARIABLE) == folder
