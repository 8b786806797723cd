"""From errors to answers: which status an error has, and what of it a client may read.

Enters: an exception. Leaves: a status, one line of detail without paths or tracebacks, and headers. Unknown exceptions have no detail
but the request's id, under which the log has the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from workbench.errors import ConfigError, DataError, UnavailableError, WorkbenchError
from workbench.market.files import show

LONGEST = 600  # characters of a detail

STATUSES: dict[int, str] = {
    400: "the request cannot be read, or its Host is not this server",
    401: "the API key is missing or wrong",
    404: "there is no such thing",
    408: "the body did not arrive in time",
    409: "the thing is in a state that does not allow this",
    413: "the body is too large",
    415: "the body must be JSON, or a table",
    422: "something in the request is wrong: field, rule, value got, way out",
    429: "too many requests; Retry-After says when to come back",
    500: "a fault of the server; the log has it under the request's id",
    503: "the server is busy (Retry-After says when to come back), or something that it needs is not there",
    504: "the computation took too long",
    507: "the server keeps as many uploaded tables as it may",
}


class Refusal(HTTPException):
    """An answer other than success, decided on purpose."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, show(detail, LONGEST), dict(headers or {}))


def busy(what: str, seconds: int, status: int = 503) -> Refusal:
    """Return the refusal of something that may be tried again."""
    return Refusal(status, f"{what}; try again in {seconds} s", {"Retry-After": str(seconds)})


def status_of(error: WorkbenchError) -> int:
    """Return the status of an error that the workbench raised on purpose."""
    if isinstance(error, ConfigError | DataError):
        return 422
    return 503 if isinstance(error, UnavailableError) else 500


def answer_refusal(request: Request, error: Exception) -> JSONResponse:
    """Answer an HTTPException, our own or the framework's."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Answer a WorkbenchError: its line, with the server's paths taken out."""
    assert isinstance(error, WorkbenchError)
    if status_of(error) == 500:
        raise error
    return JSONResponse({"detail": show(request.app.state.server.hide_paths(str(error)), LONGEST)}, status_of(error))


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of what a route can answer besides success; what the gate can answer is always among them."""
    detail = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
    content = {"application/json": {"schema": detail}}
    every = sorted({*statuses, 400, 401, 413, 408, 429, 500, 503})
    return {status: {"description": STATUSES[status], "content": content} for status in every}
