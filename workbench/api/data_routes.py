"""`GET /datasets` and `POST /datasets`: the tables that requests can name.

Enters: the bytes of a table. Leaves: a registered name.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from workbench.api.bodies import LONGEST_SYMBOL
from workbench.api.datasets import NAME, Dataset, Registry
from workbench.api.problems import Refusal, documented
from workbench.api.server import server_of
from workbench.errors import ConfigError

router = APIRouter(tags=["data"])

# None of these can be sent by a page in a browser without asking first, as text/plain could.
TYPES = ("text/csv", "application/gzip", "application/vnd.apache.parquet", "application/octet-stream")
_BINARY = {"type": "string", "format": "binary"}


class DatasetAnswer(BaseModel):
    """A registered name.

    The hashes are of the files' bytes, null where there is no file. `about` is what was found when the table was uploaded; null for the
    operator's own.
    """

    name: str
    has_sentiment: bool
    has_prices: bool
    prices: str | None
    benchmark: str | None
    columns: dict[str, str] | None
    sentiment_sha256: str | None
    prices_sha256: str | None
    about: dict[str, Any] | None


class DatasetsAnswer(BaseModel):
    """All registered names."""

    datasets: list[DatasetAnswer]


@router.get("/datasets", summary="List the tables", responses=documented())
async def list_datasets(request: Request) -> DatasetsAnswer:
    """List the names that `dataset` and `prices` can have."""
    return DatasetsAnswer(datasets=await asyncio.to_thread(_entries, server_of(request).registry))


def _entries(registry: Registry) -> list[DatasetAnswer]:
    return [_entry(registry, dataset) for dataset in registry.all()]


def _entry(registry: Registry, dataset: Dataset) -> DatasetAnswer:
    return DatasetAnswer(**dataset.to_dict(), **registry.hashes(dataset))


@router.post(
    "/datasets",
    summary="Upload a table",
    status_code=201,
    responses=documented(409, 415, 422, 507),
    openapi_extra={"requestBody": {"required": True, "content": {kind: {"schema": _BINARY} for kind in TYPES}}},
)
async def upload_dataset(
    request: Request,
    name: str = Query(description="the new name", json_schema_extra={"pattern": f"^{NAME}$"}),
    kind: str = Query(
        "sentiment", description="sentiment or prices", json_schema_extra={"enum": ["sentiment", "prices"]}
    ),
    benchmark: str | None = Query(None, description="the benchmark where a request names none"),
    columns: str | None = Query(None, description="your own column names, as likes=favourites,symbol=ticker"),
) -> DatasetAnswer:
    """Send a CSV, CSV.gz or Parquet table as the body; it is read once to check it, and registered only if all of it is right."""
    server = server_of(request)
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in TYPES:
        raise Refusal(415, f"Content-Type must be one of {', '.join(TYPES)}")
    if benchmark is not None and not 0 < len(benchmark.strip()) <= LONGEST_SYMBOL:
        raise ConfigError(f"benchmark must be a symbol of 1 to {LONGEST_SYMBOL} characters, got {benchmark!r}")
    server.uploads.check(name, kind, columns)
    dataset = await server.uploads.take(request.stream(), name, kind, benchmark, columns)
    return await asyncio.to_thread(_entry, server.registry, dataset)
