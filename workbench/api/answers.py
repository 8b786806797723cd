"""From results to the JSON of answers.

Enters: a result and what was asked. Leaves: the bytes that are sent, and kept in the cache; a schema of each answer for the OpenAPI
document. Fractions are decimal, days ISO, None what is undefined.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from workbench import __version__
from workbench.api.datasets import Data
from workbench.market.load import is_simulated
from workbench.market.tables import PriceTable
from workbench.result import StudyResult
from workbench.stocks import StocksResult

FORM = 1
"""Version of the answers' form: those that are cached in an older one are not used."""


class Analysis(BaseModel):
    """The headline numbers under the names of the published study's interface; METHOD.md has their meaning."""

    total_portfolio_return: float | None
    total_benchmark_return: float | None
    excess_return: float | None
    portfolio_volatility: float | None
    benchmark_volatility: float | None
    sharpe_ratio: float | None
    number_of_periods: int
    unique_stocks_analyzed: int


class Performance(BaseModel):
    """Growth since the first trade, after costs, by trading day."""

    dates: list[str]
    portfolio_cumulative_returns: list[float]
    benchmark_cumulative_returns: list[float]


class AnalyzeAnswer(BaseModel):
    """One study. `study` is what `workbench backtest --json` prints."""

    status: str
    processing_time_seconds: float
    analysis: Analysis
    performance_data: Performance
    portfolio_composition: dict[str, list[str]]
    metadata: dict[str, Any]
    study: dict[str, Any]


class StocksAnswer(BaseModel):
    """Single stocks. `stocks`, `losses` and `provenance` are what `workbench stocks --json` prints."""

    status: str
    processing_time_seconds: float
    stocks: dict[str, dict[str, Any]]
    losses: list[dict[str, Any]]
    provenance: dict[str, Any]
    metadata: dict[str, Any]


def analyze_answer(result: StudyResult, data: Data, seconds: float) -> bytes:
    """Return the answer of `POST /portfolio/analyze`."""
    summary, provenance = result.summary, result.provenance
    analysis = {
        "total_portfolio_return": summary["total_return"],
        "total_benchmark_return": summary["benchmark_total_return"],
        "excess_return": summary["excess_return"],
        "portfolio_volatility": summary["annualized_volatility"],
        "benchmark_volatility": summary["benchmark_annualized_volatility"],
        "sharpe_ratio": summary["sharpe_ratio"],
        "number_of_periods": summary["n_periods"],
        "unique_stocks_analyzed": summary["n_symbols"],
    }
    metadata = _metadata(data) | {
        "title": result.title,
        "config_id": result.config.config_id,
        "benchmark": provenance["benchmark"],
        "data_kind": provenance["data_kind"],
        "timing": provenance["timing"],
        "first_date": summary["first_date"],
        "last_date": summary["last_date"],
    }
    return _json(
        {
            "status": "success",
            "processing_time_seconds": round(seconds, 6),
            "analysis": analysis,
            "performance_data": performance(result.returns),
            "portfolio_composition": {day: list(weights) for day, weights in result.weights.items()},
            "metadata": metadata,
            "study": result.to_dict(),
        }
    )


def performance(returns: pd.DataFrame) -> dict[str, list[Any]]:
    """Return days and cumulative simple returns of the portfolio (net) and of the benchmark: (n) each."""
    net, benchmark = (np.cumprod(1.0 + returns[name].to_numpy()) - 1.0 for name in ("net", "benchmark"))
    return {
        "dates": np.datetime_as_string(returns.index.to_numpy().astype("datetime64[D]")).tolist(),
        "portfolio_cumulative_returns": net.tolist(),
        "benchmark_cumulative_returns": benchmark.tolist(),
    }


def stocks_answer(result: StocksResult, prices: PriceTable, data: Data, seconds: float) -> bytes:
    """Return the answer of `POST /stocks/analyze`."""
    kind = "simulated" if is_simulated(prices.symbols) else "real"
    source = {"prices": prices.source.name, "prices_sha256": prices.source.sha256, "data_kind": kind}
    content = {"status": "success", "processing_time_seconds": round(seconds, 6)}
    return _json(content | result.to_dict() | {"provenance": source, "metadata": _metadata(data)})


def _metadata(data: Data) -> dict[str, Any]:
    prices = None if data.prices is None else data.prices.name
    return {
        "dataset": data.dataset,
        "prices": prices,
        "benchmark": data.benchmark,
        "start": data.start,
        "end": data.end,
        "workbench_version": __version__,
    }


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
