"""The application: routes, errors, the gate before them.

Enters: settings. Leaves: a FastAPI application, the same for uvicorn and for Ray Serve. All of its state is in `app.state.server`; what
several processes share lies in files, so that any number of these applications can serve the same folder.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from workbench import __version__
from workbench.api import data_routes, job_routes, study_routes, system_routes
from workbench.api.gate import Gate
from workbench.api.problems import LONGEST, answer_error, answer_refusal
from workbench.api.server import Cluster, Server
from workbench.api.settings import Settings
from workbench.errors import WorkbenchError
from workbench.market.files import show

_ROUTERS = (system_routes.router, data_routes.router, study_routes.router, job_routes.router)


def create_app(settings: Settings, cluster: Cluster | None = None) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    settings
        See `Settings.from_environment`.
    cluster
        What `/health` and `/status` ask about Ray; None where there is none.
    """
    server = Server(settings, cluster)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.jobs.start()
        try:
            yield
        finally:
            server.close()

    # The pages of /docs load scripts from elsewhere; the document itself is at /openapi.json.
    app = FastAPI(
        title="workbench",
        version=__version__,
        summary="Portfolio studies from a table of social-media engagement",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        separate_input_output_schemas=False,
    )
    app.state.server = server
    # Not included but taken over: an included router is one more look-up for every request.
    app.router.routes.extend(route for router in _ROUTERS for route in router.routes)
    app.add_middleware(Gate, settings=settings, metrics=server.metrics)
    app.add_exception_handler(HTTPException, answer_refusal)
    app.add_exception_handler(WorkbenchError, answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    return app


def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a query that is wrong: the first complaint, in one line."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    if first["type"] == "missing":
        return JSONResponse({"detail": f"{field} must be given"}, 422)
    rule = f"be one of {first['ctx']['expected']}" if first["type"] == "literal_error" else "have the right type"
    return JSONResponse({"detail": show(f"{field} must {rule}, got {first.get('input')!r}", LONGEST)}, 422)
