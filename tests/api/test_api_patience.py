"""The protocol that limits heads hands every byte of a body on, however a connection cuts what is sent."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from workbench.api.patience import HEAD_BYTES, protocol_with_patience

BODY = bytes(range(256)) * 1200  # some 300 kB
HEAD = b"POST /datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n" % len(BODY)
PIPELINED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Line(asyncio.Transport):
    """What the protocol writes to; nothing is sent anywhere."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written, self.closed = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def answered(parts: list[bytes]) -> tuple[list[bytes], bytes, bool]:
    """Return the bodies that reach an application which is sent these parts, the answers, and whether the server hung up."""
    bodies: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = Config(app, ws="none", lifespan="off", log_config=None)
    config.load()
    protocol = protocol_with_patience(5.0)(config=config, server_state=ServerState(), app_state={})
    line = Line()
    protocol.connection_made(line)
    for part in parts:
        if not line.closed:
            protocol.data_received(part)
            await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    closed = line.closed
    protocol.connection_lost(None)
    return bodies, line.written, closed


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges) if start < end]


@given(st.lists(st.integers(1, len(HEAD) + len(BODY)), max_size=6))
def test_a_body_arrives_whole_however_it_is_cut(places: list[int]) -> None:
    bodies, written, closed = asyncio.run(answered(cut(HEAD + BODY + PIPELINED, places)))
    assert bodies == [BODY, b""]
    assert written.count(b"HTTP/1.1 200") == 2 and not closed


@pytest.mark.parametrize("size", [HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 1])
def test_a_body_that_comes_with_its_head_in_one_piece_arrives_whole(size: int) -> None:
    head = HEAD.replace(b"Host", b"X-Filler: " + b"x" * (size - len(HEAD) - len(b"X-Filler: \r\n")) + b"\r\nHost")
    assert len(head) == size
    bodies, written, closed = asyncio.run(answered([head + BODY]))
    refused = size > HEAD_BYTES
    assert bodies == ([] if refused else [BODY]) and closed == refused
    assert written.startswith(b"HTTP/1.1 431 " if refused else b"HTTP/1.1 200")


def test_a_head_that_is_no_http_is_refused_once() -> None:
    bodies, written, closed = asyncio.run(answered([b"\x00" * 3 * HEAD_BYTES]))
    assert bodies == [] and closed and written.count(b"HTTP/1.1 400") == 1
