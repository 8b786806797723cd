"""The bodies of requests: the fields of `StudyConfig`, and which data they are about.

Enters: the bytes of a JSON object. Leaves: a checked request, or a ConfigError in one line. A field that is unknown is refused, and one of
an older interface with the name that it has now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.api.datasets import DEFAULT, NAME
from workbench.config import StudyConfig, describe_error, nearest
from workbench.errors import ConfigError
from workbench.market.files import show

LONGEST_SYMBOL = 64
LARGEST_NUMBER = 2**53  # of whole numbers: beyond it, floats are no longer exact

RENAMED = {"top_n_stocks": "top_n", "start_date": "start", "end_date": "end", "benchmark_ticker": "benchmark"}
_ADDRESSES = ("sentiment_url", "prices_url", "url")

_DATASET = Field(
    DEFAULT,
    description="a registered sentiment table; GET /datasets lists them",
    json_schema_extra={"pattern": f"^{NAME}$"},
)
_PRICES = Field(
    None, description="a registered price table, simulated, or snapshot:ID; left out: those of the data set"
)
_BENCHMARK = Field(
    None, description="bought once and held; its prices define the trading days; left out: that of the data set"
)
_START = Field(None, description="ISO day: first sentiment day used (for stocks: first price day)")
_END = Field(None, description="ISO day: last sentiment day used (for stocks: last price day)")


class AnalyzeRequest(StudyConfig):
    """A study: the fields of StudyConfig, and its data."""

    dataset: str = _DATASET
    prices: str | None = _PRICES
    benchmark: str | None = _BENCHMARK
    start: str | None = _START
    end: str | None = _END

    def study(self) -> StudyConfig:
        """Return the configuration among the fields."""
        return StudyConfig.from_names(self.model_dump())


class SweepRequest(AnalyzeRequest):
    """Many studies: a grid, and the fields that all of them share."""

    grid: str | dict[str, Any] = Field(
        description='all combinations of some fields: "top_n=3,5,10;cost_bps=0,10", or {"top_n": [3, 5, 10], "cost_bps": [0, 10]}'
    )


class StocksRequest(BaseModel):
    """Single stocks, and the prices to measure them on."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    symbols: list[str] = Field(description="as written in the price table", json_schema_extra={"minItems": 1})
    dataset: str = _DATASET
    prices: str | None = _PRICES
    benchmark: str | None = _BENCHMARK
    start: str | None = _START
    end: str | None = _END


Request = TypeVar("Request", bound=BaseModel)


def parse_body(model: type[Request], body: bytes, most_symbols: int) -> Request:
    """Return the request that a body holds.

    Parameters
    ----------
    model
        One of the classes above.
    body
        As received.
    most_symbols
        How many symbols a list may name.

    Raises
    ------
    ConfigError
        It is no JSON object, a field is unknown, of the wrong type or out of range.
    """
    content = _parsed(body)
    for name in content:
        if name not in model.model_fields:
            _refuse(name, model.model_fields)
    for name, field in model.model_fields.items():
        if field.is_required() and name not in content:
            raise ConfigError(f"{name} must be given: {field.description}")
    try:
        request = model(**content)
    except ValidationError as error:
        raise ConfigError(
            describe_error(error, model.model_fields).replace("must input should be", "must be")
        ) from None
    _check_limits(request, most_symbols)
    return request


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body, parse_constant=_no_number)
        if b"\\u" in body:
            json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair is no text: an error, now
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        why = (
            show(str(error).partition("; use")[0], 120)
            if not isinstance(error, RecursionError)
            else "it is nested too deeply"
        )
        raise ConfigError(f"the body must be a JSON object, got something that does not read as one ({why})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"the body must be a JSON object, got a JSON {type(content).__name__}")
    return content


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _refuse(name: str, known: Mapping[str, Any]) -> NoReturn:
    if name in RENAMED and RENAMED[name] in known:
        raise ConfigError(f"{name} is called {RENAMED[name]} now; use that name")
    if name in _ADDRESSES:
        raise ConfigError(
            f"{name} is refused: the server fetches no address; upload the table (POST /datasets) and name it in dataset"
        )
    raise ConfigError(f"unknown field {show(name)!r}{nearest(name, known) or '; GET /openapi.json lists them'}")


def _check_limits(request: BaseModel, most_symbols: int) -> None:
    """Refuse what types cannot: whole numbers beyond a float, texts and lists beyond any use."""
    for name in type(request).model_fields:
        value = getattr(request, name)
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise ConfigError(f"{name} must be at most {LARGEST_NUMBER}, got a number of {value.bit_length()} bits")
        if name in ("symbols", "exclude"):
            _check_symbols(name, value, most_symbols)
        if name == "benchmark" and value is not None:
            _check_symbols(name, (value,), 1)


def _check_symbols(name: str, symbols: tuple[str, ...] | list[str], most: int) -> None:
    if len(symbols) > most:
        raise ConfigError(f"{name} must name at most {most} symbols, got {len(symbols)}")
    if not symbols and name == "symbols":
        raise ConfigError("symbols must name at least one symbol, got none")
    for symbol in symbols:
        if not symbol.strip() or len(symbol) > LONGEST_SYMBOL or not symbol.isprintable():
            raise ConfigError(
                f"{name} must hold symbols of 1 to {LONGEST_SYMBOL} printable characters, got {show(symbol)!r}"
            )


EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    AnalyzeRequest: {
        "defaults": {"summary": "All defaults, on the simulated market", "value": {}},
        "knobs": {
            "summary": "Ten symbols, dearer trades",
            "value": {"dataset": DEFAULT, "top_n": 10, "cost_bps": 25.0},
        },
    },
    SweepRequest: {
        "text": {"summary": "Six configurations", "value": {"grid": "top_n=3,5,10;cost_bps=0,10"}},
        "object": {"summary": "The same as an object", "value": {"grid": {"top_n": [3, 5, 10], "cost_bps": [0, 10]}}},
    },
    StocksRequest: {"two": {"summary": "Two simulated stocks", "value": {"symbols": ["SIM001", "SIM002"]}}},
}


def documented_body(model: type[BaseModel]) -> dict[str, Any]:
    """Return the OpenAPI description of a body, for a route that reads it itself."""
    content = {"schema": model.model_json_schema(), "examples": EXAMPLES[model]}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
