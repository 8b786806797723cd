"""A server that answers as a test tells it to: what a real one does only in trouble."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


def answer(status: int, content: Any = None, **headers: str) -> Answer:
    """Return an answer; what is no text is sent as JSON. A header's name is written with _ in the place of -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(content, str | bytes):
        return status, {"Content-Type": "text/html"} | named, content.encode() if isinstance(content, str) else content
    return status, {"Content-Type": "application/json"} | named, json.dumps(content).encode()


class Scripted:
    """The answers by "METHOD /path", the last of a list being repeated; `asked` and `headers` are what came."""

    def __init__(self) -> None:
        self.script: dict[str, list[Answer | str | float]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def handle(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = f"{handler.command} {handler.path.partition('?')[0]}"
        self.asked.append(asked)
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        answers = self.script.get(asked, [answer(404, "<h1>nothing</h1>")])
        item = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(item, float):  # seconds of silence
            time.sleep(item)
            item = answer(200, {})
        if isinstance(item, str):  # raw bytes, then the end of the connection
            handler.wfile.write(item.encode())
            handler.close_connection = True
            return
        status, headers, body = item
        handler.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


@contextlib.contextmanager
def scripted() -> Iterator[Scripted]:
    """Run such a server within the block."""
    about = Scripted()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            pass

        def handle_any(self) -> None:
            about.handle(self)

        do_GET = do_POST = do_DELETE = handle_any

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    about.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield about
    finally:
        server.shutdown()
        server.server_close()
