"""StudyConfig: every knob of a study, validated once, hashed to an id.

Enters: keyword arguments, a mapping, or text from a command line. Leaves: a frozen object whose `config_id` names the study.
Fractions are decimal (0.05 is 5 %), costs are in basis points, look-backs in trading days.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from workbench.errors import ConfigError
from workbench.registry import find_signal
from workbench.shown import html_rows

Rebalance = Literal["monthly", "weekly", "quarterly"]
Weighting = Literal[
    "equal", "signal", "inverse_volatility", "min_variance", "max_sharpe", "risk_parity", "hrp", "min_cvar"
]
Missing = Literal["redistribute", "cash"]

LARGEST = 2**53 - 1
"""Of whole numbers: up to it they are the same in JSON, in floats and in a browser."""

_LONGEST_VALUE = 80  # characters of a value in an error
_LONGEST_NUMBER = 16  # digits of one, as many as LARGEST has


def _symbols(value: Any) -> Any:
    """Accept a comma-separated text or any collection of symbols; order and repeats carry no meaning."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        if not all(item.isprintable() for item in value):
            raise PydanticCustomError("symbols", "name symbols of printable text, as a table's are")
        return tuple(sorted(set(value)))
    return value


def _unicode(text: str) -> str:
    """Refuse a text that no file can hold: one with half a character, as a wrong decoding makes it."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise PydanticCustomError("unicode", "be valid Unicode")
    return text


class StudyConfig(BaseModel):
    """The parameters of one study. METHOD.md says what each of them means. A number of numpy's counts as Python's own.

    Raises
    ------
    ConfigError
        On construction: an unknown name, a wrong type or a value out of range, in one line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    signal: Annotated[str, AfterValidator(_unicode)] = Field("engagement_ratio", description="name of the daily signal")
    min_likes: int = Field(20, ge=-1, le=LARGEST, description="keep a row with more likes than this; -1 keeps all")
    min_comments: int = Field(
        10, ge=-1, le=LARGEST, description="keep a row with more comments than this; -1 keeps all"
    )
    min_observations: int = Field(1, ge=1, le=LARGEST, description="rows a symbol needs in a period to be ranked")
    rebalance: Rebalance = Field("monthly", description="length of a rebalance period")
    exclude: Annotated[tuple[str, ...], BeforeValidator(_symbols)] = Field(
        (), description="symbols that leave the table before ranking"
    )
    top_n: int = Field(5, ge=1, le=LARGEST, description="how many symbols are selected in a period")
    execution_lag: int = Field(
        1, ge=0, le=252, description="trading days between the last one of the period and the trade; 0 looks ahead"
    )
    weighting: Weighting = Field("equal", description="how the selected symbols are weighted")
    lookback_days: int = Field(126, ge=2, le=2520, description="trading days of returns that an estimate uses")
    max_weight: float = Field(1.0, gt=0, le=1, description="highest weight of one symbol; 0.2 is 20 %")
    missing: Missing = Field("redistribute", description="where the weight of a symbol without a price goes")
    drift: bool = Field(True, description="weights move with prices; False returns to target every day, free of charge")
    cost_bps: float = Field(10.0, ge=0, le=1000, description="cost of a trade in basis points of what is traded")
    risk_free_rate: float = Field(0.0, gt=-0.5, lt=1, description="a year's rate as a fraction; 0.04 is 4 %")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of everything random: the bootstrap intervals")

    def __init__(self, **knobs: Any) -> None:
        try:
            super().__init__(**{name: plain(value) for name, value in knobs.items()})
        except ValidationError as error:
            raise ConfigError(describe_error(error, type(self).model_fields)) from None

    @classmethod
    def from_names(cls, names: Mapping[str, Any]) -> StudyConfig:
        """Build a configuration from those entries of a mapping that are fields: a notebook passes its `globals()`."""
        return cls(**{name: names[name] for name in cls.model_fields if name in names})

    def replace(self, **knobs: Any) -> StudyConfig:
        """Return a copy with some parameters changed, validated like a new one."""
        return type(self)(**(self.model_dump() | knobs))

    @property
    def config_id(self) -> str:
        """Twelve hex digits that name this configuration: a hash of all fields and of the signal's version."""
        content = self.model_dump(mode="json") | {"signal_version": find_signal(self.signal).version}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def look_ahead(self) -> bool:
        """True where the trade is done before the signal is complete (`execution_lag=0`)."""
        return self.execution_lag == 0

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, ready for JSON."""
        return self.model_dump(mode="json")

    def _repr_html_(self) -> str:
        rows = [
            (name, ", ".join(value) if isinstance(value, tuple) else str(value), str(field.description))
            for name, field in type(self).model_fields.items()
            for value in [getattr(self, name)]
        ]
        caption = "Configuration"
        with contextlib.suppress(ConfigError):  # of a signal that is not registered here: it has no version
            caption = f"Configuration {self.config_id}"
        return html_rows(caption, rows, ("Parameter", "Value", "Meaning"))


def plain(value: Any) -> Any:
    """Return a number of numpy's as Python's own, which JSON and a notebook can hold; any other value as it is."""
    return value.item() if isinstance(value, np.generic | np.ndarray) and not value.ndim else value


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known name closest to `name`, or an empty text."""
    match = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def value_text(value: object) -> str:
    """Return a value as an error shows it: in one line, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # of a number with more digits than Python writes, or of an object of the user's own
        return f"a value of type {type(value).__name__} that cannot be written"
    if type(value) is int and len(digits := text.lstrip("-")) > _LONGEST_NUMBER:
        return f"a {'negative ' if value < 0 else ''}number of {len(digits)} digits"
    line = text if text.isprintable() else " ".join(text.split())
    return line if len(line) <= _LONGEST_VALUE else line[: _LONGEST_VALUE - 3] + "..."


_LISTED = "; workbench report --help lists them"
_RULES = {
    "int_type": "be a whole number",
    "int_from_float": "be a whole number",
    "int_parsing": "be a whole number",
    "float_type": "be a number",
    "float_parsing": "be a number",
    "finite_number": "be a finite number",
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "string_type": "be text",
    "string_unicode": "be valid Unicode",
    "tuple_type": "be a list of symbols",
}


def describe_error(error: ValidationError, fields: Iterable[str]) -> str:
    """Return a validation error's first complaint in one line: field, rule, value got."""
    first = error.errors(include_url=False, include_input=True)[0]
    field = str(first["loc"][0]) if first["loc"] else "parameters"
    context = first.get("ctx", {})
    kind, got = first["type"], first.get("input")
    if kind == "extra_forbidden":
        return f"unknown parameter {value_text(field)}{nearest(field, fields) or _LISTED}"
    match kind:
        case "float_type" if type(got) is int:
            rule = "be a number up to 1.8e308"
        case "greater_than_equal":
            rule = f"be at least {context['ge']}"
        case "greater_than":
            rule = f"be above {context['gt']}"
        case "less_than_equal":
            rule = f"be at most {context['le']}"
        case "less_than":
            rule = f"be below {context['lt']}"
        case "literal_error":
            rule = f"be one of {context['expected']}".replace("'", "").replace(" or ", ", ")
        case _:
            said = first["msg"].removeprefix("Input should ")
            rule = _RULES.get(kind, said[:1].lower() + said[1:])
    return f"{field} must {rule}, got {value_text(got)}"


def parse_value(name: str, text: str) -> Any:
    """Turn a command line's text into the type of the field `name`.

    Raises
    ------
    ConfigError
        The name is unknown or the text does not read as the field's type.
    """
    fields = StudyConfig.model_fields
    if name not in fields:
        raise ConfigError(f"unknown parameter {value_text(name)}{nearest(name, fields) or _LISTED}")
    kind = fields[name].annotation
    if kind is bool:
        known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.strip().lower() not in known:
            raise ConfigError(f"{name} must be true or false, got {value_text(text)}")
        return known[text.strip().lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            words = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{name} must be {words}, got {value_text(text)}") from None
    return text


def choices(name: str) -> tuple[str, ...]:
    """Return the allowed values of a field that has a fixed list of them, else an empty tuple."""
    return tuple(str(item) for item in get_args(StudyConfig.model_fields[name].annotation))
