"""What is answered before Ray Serve is counted and logged as what the application answers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from workbench.api.app import create_app
from workbench.api.gate import SECURITY_HEADERS, Gate
from workbench.api.metrics import Metrics
from workbench.api.settings import Settings
from workbench.api.threshold import ROUTES, Threshold
from workbench.api.visits import UNMATCHED


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.fields.append(record.__dict__["fields"])


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    logger, handler = logging.getLogger("workbench.api"), Kept()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.fields
    logger.removeHandler(handler)
    logger.setLevel(level)


def answer_of(
    path: str,
    messages: list[dict[str, Any] | None],
    serve_status: int = 200,
    serve_headers: dict[str, str] | None = None,
    request_id: str | None = "mine",
    method: str = "POST",
) -> tuple[dict[str, Any], list[str], str]:
    """Send one request; return the start of the answer, the ids that reached Serve, and what is counted.

    None among the messages is a client that sends no more.
    """
    arrived: list[str] = []

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        arrived.extend(value.decode() for name, value in scope["headers"] if name == b"x-request-id")
        headers = [(name.lower().encode(), value.encode()) for name, value in (serve_headers or {}).items()]
        await send({"type": "http.response.start", "status": serve_status, "headers": headers})
        await send({"type": "http.response.body", "body": b"of Serve"})

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        message = messages.pop(0)
        if message is None:
            await asyncio.sleep(60)
        return message or {}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", b"10")] + ([(b"x-request-id", request_id.encode())] if request_id else [])
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("10.0.0.9", 1)}
    metrics = Metrics({})
    threshold = Threshold(serve, body_bytes=100, body_seconds=0.05, retry_after_seconds=3, metrics=metrics)
    asyncio.run(threshold(scope, receive, send))
    return (sent[0] if sent else {}), arrived, metrics.text().decode()


WHOLE = {"type": "http.request", "body": b"0123456789", "more_body": False}
PART = {"type": "http.request", "body": b"0", "more_body": True}
LEAVES = {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("path", "messages", "serve_status", "route", "status"),
    [
        ("/portfolio/analyze", [PART, None], 200, "/portfolio/analyze", 408),
        ("/portfolio/analyze", [PART, LEAVES], 200, "/portfolio/analyze", 499),
        ("/portfolio/analyze", [WHOLE], 404, "/portfolio/analyze", 503),
        ("/jobs/0123456789abcdef/result", [WHOLE], 503, "/jobs/{job_id}/result", 503),
        ("/jobs/any/thing/else", [WHOLE], 503, UNMATCHED, 503),
        ("/stocks/analyze", [WHOLE], 408, "/stocks/analyze", 504),
        ("/datasets", [], 500, "/datasets", 500),
        ("/-/routes", [], 200, UNMATCHED, 404),
        ("/made/up", [WHOLE], 500, UNMATCHED, 500),
    ],
)
def test_what_is_answered_before_serve_is_counted_and_logged(
    logged: list[dict[str, Any]],
    path: str,
    messages: list[dict[str, Any] | None],
    serve_status: int,
    route: str,
    status: int,
):
    start, _, text = answer_of(path, list(messages), serve_status)
    counted = f'workbench_requests_total{{method="POST",route="{route}",status="{status}"}} 1.0'
    assert counted in text.splitlines()
    assert f'workbench_request_seconds_count{{route="{route}"}} 1.0' in text.splitlines()
    (entry,) = logged
    assert (entry["request_id"], entry["path"], entry["status"], entry["caller"]) == ("mine", path, status, "10.0.0.9")
    if status != 499:  # nobody is there to be answered
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        assert start["status"] == status and headers["x-request-id"] == "mine"
        assert headers["x-content-type-options"] == SECURITY_HEADERS["X-Content-Type-Options"]


def test_what_the_application_answers_is_left_to_it(logged: list[dict[str, Any]]):
    start, arrived, text = answer_of("/health", [WHOLE], serve_headers=SECURITY_HEADERS)
    assert start["status"] == 200 and arrived == ["mine"]
    assert "workbench_requests_total{" not in text and logged == []


@pytest.mark.parametrize("given", [None, "not one of ours!", "x" * 65])
def test_a_request_without_an_id_gets_one_for_its_whole_way(logged: list[dict[str, Any]], given: str | None):
    start, (arrived,), _ = answer_of("/health", [WHOLE], 503, request_id=given)
    assert arrived not in (given, "") and len(arrived) == 16
    assert dict(start["headers"])[b"x-request-id"].decode() == arrived == logged[0]["request_id"]


def test_methods_and_paths_that_clients_make_up_are_one_series(logged: list[dict[str, Any]]):
    for number in range(3):
        _, _, text = answer_of(f"/x{number}", [WHOLE], 503, method=f"MAKE{number}")
        assert 'method="other",route="unmatched"' in text
    assert json.dumps(logged).count("MAKE") == 3


def test_the_routes_that_are_counted_are_those_of_the_application(home: Path):
    app = create_app(Settings(home=home))
    try:
        assert sorted(ROUTES) == sorted({route.path for route in app.routes if isinstance(route, APIRoute)})
    finally:
        app.state.server.close()


def test_a_request_that_serve_cancels_since_its_client_has_left_is_logged_as_such(tmp_path: Path, logged: list[Any]):
    async def computes(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def nothing(*_: Any) -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask() -> None:
        scope = {"type": "http", "method": "GET", "path": "/status", "headers": [(b"host", b"localhost")]}
        asked = asyncio.create_task(Gate(computes, Settings(tmp_path), Metrics({}))(scope, nothing, nothing))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(ask())
    assert [entry["status"] for entry in logged] == [499]
