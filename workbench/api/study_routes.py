"""`POST /portfolio/analyze` and `POST /stocks/analyze`: one study, or single stocks, at once.

Enters: a JSON body. Leaves: the answer, from the cache where it was computed before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from workbench.api.answers import AnalyzeAnswer, StocksAnswer
from workbench.api.bodies import AnalyzeRequest, StocksRequest, documented_body, parse_body
from workbench.api.cache import cache_key
from workbench.api.problems import documented
from workbench.api.server import Server, json_body, server_of
from workbench.registry import find_signal

router = APIRouter(tags=["analysis"])
_CACHED = {"X-Cache": {"description": "hit or miss", "schema": {"type": "string", "enum": ["hit", "miss"]}}}


def _responses(answer: type) -> dict[int | str, dict[str, Any]]:
    success = {"model": answer, "description": "Done", "headers": _CACHED}
    return {200: success} | documented(404, 415, 422, 504)


@router.post(
    "/portfolio/analyze",
    summary="Run one study",
    response_class=Response,
    responses=_responses(AnalyzeAnswer),
    openapi_extra=documented_body(AnalyzeRequest),
)
async def analyze_portfolio(request: Request) -> Response:
    """Run the study that the fields describe, METHOD.md says how; the same study again is answered from the cache."""
    server = server_of(request)
    asked = parse_body(AnalyzeRequest, await json_body(request), server.settings.symbols)
    config = asked.study()
    data = server.registry.resolve(asked.dataset, asked.prices, asked.benchmark, asked.start, asked.end)
    version = find_signal(config.signal).version
    key = cache_key("/portfolio/analyze", config.to_dict(), version, data.dataset, data.key)
    return await _answer(server, key, server.analyze, config, data)


@router.post(
    "/stocks/analyze",
    summary="Measure single stocks",
    response_class=Response,
    responses=_responses(StocksAnswer),
    openapi_extra=documented_body(StocksRequest),
)
async def analyze_stocks(request: Request) -> Response:
    """Return total return, annualized volatility and Sharpe ratio of each symbol over the price days from start to end."""
    server = server_of(request)
    asked = parse_body(StocksRequest, await json_body(request), server.settings.symbols)
    data = server.registry.resolve(asked.dataset, asked.prices, asked.benchmark, asked.start, asked.end)
    key = cache_key("/stocks/analyze", asked.symbols, data.dataset, data.key)
    return await _answer(server, key, server.analyze_stocks, asked, data)


async def _answer(server: Server, key: str, compute: Callable[..., bytes], *arguments: Any) -> Response:
    """Return what the cache has, else what is computed."""
    found = server.cache.get(key)
    outcome = "miss" if found is None else "hit"
    server.metrics.looked_up(outcome)
    if found is None:
        found = await server.pool.run(compute, *arguments, key)
    return Response(found, media_type="application/json", headers={"X-Cache": outcome})
