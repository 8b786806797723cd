"""What is on view, as the query of an address, so that it can be shared.

Enters: query parameters, which anybody may have written. Leaves: a `View`, with a complaint for each value that cannot be used and is
left out; and back. Only what differs from the defaults is in the address.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from workbench.config import StudyConfig, nearest
from workbench.errors import ConfigError
from workbench.market.files import show
from workbench.report.parameters import convert, study_parameters
from workbench.sweep.result import DATES, SUMMARY

TABS = ("portfolio", "stocks", "sweep", "reports", "system")
DEFAULT_NUMBER = "sharpe_ratio"
FIRST_DAY, LAST_DAY = dt.date(1900, 1, 1), dt.date(2100, 12, 31)
LONGEST = 4_000  # characters of a value; browsers and servers do not carry much more

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
JOB_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class View:
    """What is on view.

    tab : one of `TABS`.
    run : whether the study (or the stocks) of the view are to be computed when it is opened.
    dataset, prices, benchmark : names, None for the API's own choice; start, end : ISO days.
    knobs : fields of StudyConfig that are not at their defaults, `exclude` as a text "A,B".
    symbols : of the stocks; grid, number : of the sweep, and what is drawn of it; sweep, report : ids of jobs.
    """

    tab: str = TABS[0]
    run: bool = False
    dataset: str | None = None
    prices: str | None = None
    benchmark: str | None = None
    start: str | None = None
    end: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    symbols: tuple[str, ...] = ()
    grid: str = ""
    number: str = DEFAULT_NUMBER
    sweep: str | None = None
    report: str | None = None

    def data(self) -> dict[str, str]:
        """Return the data fields of a request, those that are chosen."""
        names = ("dataset", "prices", "benchmark", "start", "end")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def changed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values of StudyConfig's fields that are not the defaults."""
    return {
        name: values[name]
        for name, parameter in study_parameters().items()
        if name in values and values[name] != parameter.default
    }


def write_address(view: View) -> dict[str, str]:
    """Return the query parameters of a view."""
    query = {} if view.tab == TABS[0] and not view.run else {"tab": view.tab}
    query |= view.data() | {name: _text(value) for name, value in view.knobs.items()}
    if view.symbols:
        query["symbols"] = ",".join(view.symbols)
    if view.number != DEFAULT_NUMBER:
        query["number"] = view.number
    return query | {name: value for name in ("grid", "sweep", "report") if (value := getattr(view, name))}


def read_address(query: Mapping[str, str]) -> tuple[View, list[str]]:
    """Return the view that query parameters describe, and what is wrong with them, a line each.

    A study is run on opening where the address says `tab=portfolio` (`stocks`), or where it has anything but says no tab.
    """
    values: dict[str, Any] = {"knobs": {}}
    complaints = []
    for name, text in query.items():
        try:
            _read(name, text, values)
        except ConfigError as error:
            complaints.append(f"{error}; it is left out")
    tab = values.setdefault("tab", TABS[0])
    asked = "tab" in query or len(values) > 2 or bool(values["knobs"])
    values["run"] = asked and (tab == TABS[0] or (tab == "stocks" and "symbols" in values))
    if values.get("start", "") > values.get("end", "9999-12-31"):
        complaints.append(
            f"start must not lie after end, got {values.pop('start')} and {values.pop('end')}; both are left out"
        )
    return View(**values), complaints


def _read(name: str, text: str, values: dict[str, Any]) -> None:
    """Read one query parameter into `values`; ConfigError where it cannot be used."""
    if len(text) > LONGEST or not text.isprintable():
        raise ConfigError(f"{show(name)} must be printable text of at most {LONGEST} characters")
    schema = study_parameters()
    if name in schema:
        value = convert(schema[name], text)
        plain = getattr(StudyConfig(**{name: value}), name)
        plain = ",".join(plain) if isinstance(plain, tuple) else plain
        if plain != schema[name].default:
            values["knobs"][name] = plain
        return
    if name not in _READERS:
        raise ConfigError(f"unknown parameter {show(name)!r}{nearest(name, (*schema, *_READERS))}")
    values[name] = _READERS[name](name, text)


def _one_of(allowed: tuple[str, ...]) -> Any:
    def read(name: str, text: str) -> str:
        if text not in allowed:
            raise ConfigError(f"{name} must be one of the known ones, got {show(text)!r}{nearest(text, allowed) or ''}")
        return text

    return read


def _matching(pattern: re.Pattern[str], rule: str) -> Any:
    def read(name: str, text: str) -> str:
        if not pattern.fullmatch(text):
            raise ConfigError(f"{name} must be {rule}, got {show(text)!r}")
        return text

    return read


def _day(name: str, text: str) -> str:
    try:
        day = dt.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ConfigError(f"{name} must be a day like 2022-01-31, got {show(text)!r}") from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ConfigError(f"{name} must be from {FIRST_DAY} to {LAST_DAY}, got {show(text)}")
    return day.isoformat()


def split_symbols(text: str) -> tuple[str, ...]:
    """Return the symbols of a text "A, B", each once, in order."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _symbols(name: str, text: str) -> tuple[str, ...]:
    return split_symbols(text)


def _any_text(name: str, text: str) -> str:
    return text


NUMBERS = tuple(name for name in SUMMARY if name not in DATES)
"""What a sweep can be drawn by."""

_READERS = {
    "tab": _one_of(TABS),
    "dataset": _matching(_NAME, "the name of a registered table"),
    "prices": _matching(_NAME, "simulated, snapshot:ID or the name of a registered table"),
    "benchmark": _any_text,
    "start": _day,
    "end": _day,
    "symbols": _symbols,
    "grid": _any_text,
    "number": _one_of(NUMBERS),
    "sweep": _matching(JOB_ID, "the id of a job"),
    "report": _matching(JOB_ID, "the id of a job"),
}
assert set(_READERS) | {"knobs", "run"} == {item.name for item in fields(View)}


def _text(value: Any) -> str:
    """Write a knob so that `convert` reads the same."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)
