"""`GET /`, `/health`, `/status`, `/metrics` and `DELETE /cache/clear`: the server about itself.

Enters: nothing. Leaves: what is running, and how it is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from workbench import __version__
from workbench.api.metrics import CONTENT_TYPE
from workbench.api.problems import documented
from workbench.api.server import server_of

router = APIRouter(tags=["system"])


class About(BaseModel):
    """What this server is."""

    name: str
    version: str
    engine: str
    endpoints: list[str]


class Health(BaseModel):
    """Whether the server answers, and how many answers its cache holds."""

    status: str
    ray_initialized: bool
    cache_size: int


class Status(BaseModel):
    """Nodes and resources of the cluster, the cache, and what is going on."""

    engine: str
    version: str
    nodes: list[dict[str, Any]]
    resources: dict[str, float]
    cache: dict[str, int]
    computations: dict[str, int]
    jobs: dict[str, int]


class Cleared(BaseModel):
    """How many answers were forgotten."""

    status: str
    removed: int


@router.get("/", summary="What this is", responses=documented())
async def about(request: Request) -> About:
    """Return name, version, engine and endpoints."""
    routes = [route for route in request.app.routes if isinstance(route, APIRoute)]
    endpoints = sorted(f"{method} {route.path}" for route in routes for method in route.methods or ())
    return About(name="workbench", version=__version__, engine=server_of(request).settings.engine, endpoints=endpoints)


@router.get("/health", summary="Whether it is well", responses=documented())
async def health(request: Request) -> Health:
    """Answer; no key is needed."""
    server = server_of(request)
    return Health(status="healthy", ray_initialized=server.cluster.initialized(), cache_size=len(server.cache))


@router.get("/status", summary="What is going on", responses=documented())
async def status(request: Request) -> Status:
    """Return the cluster's nodes and resources, the cache, computations and jobs."""
    server = server_of(request)
    cluster = await asyncio.to_thread(server.cluster.status)
    settings, cache = server.settings, server.cache
    return Status(
        engine=settings.engine,
        version=__version__,
        nodes=cluster["nodes"],
        resources=cluster["resources"],
        cache={"entries": len(cache), "bytes": cache.volume(), "limit_bytes": cache.size},
        computations={"taken": server.pool.taken, "threads": settings.threads, "queue": settings.queue},
        jobs=await asyncio.to_thread(server.jobs.counts),
    )


@router.delete("/cache/clear", summary="Forget all answers", responses=documented())
async def clear_cache(request: Request) -> Cleared:
    """Empty the cache of all server processes of this machine."""
    return Cleared(status="success", removed=await asyncio.to_thread(server_of(request).cache.clear))


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"description": "Prometheus' text form", "content": {"text/plain": {}}}, **documented()},
)
async def metrics(request: Request) -> Response:
    """Return what was counted by all server processes; gauges are those of the one that answers."""
    text = await asyncio.to_thread(server_of(request).metrics.text)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})
