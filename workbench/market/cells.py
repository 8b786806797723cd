"""The rules of single values, and the one line that says which rule a value breaks.

Enters: the text of one cell. Leaves: a day, a number or a symbol, or a `Fault` (rule and way out) that `complain`
turns into a DataError naming file, line and column. Both readers, of text and of typed columns, go by these rules.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Literal, NamedTuple, NoReturn

from workbench.errors import DataError
from workbench.market.files import show

Kind = Literal["date", "symbol", "count", "number", "price", "extra", "ignored"]

# Outside of these years a date is a slip (0203-01-02), and would make a study of thousands of empty months.
YEARS = (1800, 2200)

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIMED = re.compile(r"\d{4}-\d{2}-\d{2}[T ]+\d", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d{1,3}([, '_\u00a0\u202f]\d{3})+([.,]\d*)?|[+-]?\d+,\d+", re.ASCII)
_BLANKS = " \t"


class Fault(NamedTuple):
    """Why a value is refused: the rule ("be ...") and the way out."""

    rule: str
    way: str


def complain(name: str, place: str, column: str, fault: Fault, got: object) -> NoReturn:
    """Raise the DataError for one value: file, line, column, rule, value got, way out."""
    value = "'" + show(got, 60) + "'" if isinstance(got, str) else show(got, 60)
    raise DataError(f"{name}: {place}, column {show(column)}: must {fault.rule}, got {value}; {fault.way}") from None


def parse_day(text: str) -> dt.date | Fault:
    """Read an ISO day, blanks around it allowed."""
    day = text.strip(_BLANKS)
    if not day:
        return Fault("be an ISO day such as 2023-01-31", "fill it in or delete the row")
    if _TIMED.match(day):
        return Fault("be a day without a time", "cut the time off, in the time zone that your days are meant in")
    if not _DAY.fullmatch(day):
        return Fault("be an ISO day such as 2023-01-31", "write it as YYYY-MM-DD")
    try:
        value = dt.date.fromisoformat(day)
    except ValueError:
        return Fault("be a day of the calendar", "correct it or delete the row")
    return year_fault(value.year) or value


def year_fault(year: int) -> Fault | None:
    """Return the fault of a year out of range, if it is one."""
    if YEARS[0] <= year <= YEARS[1]:
        return None
    return Fault(f"be a day in the years {YEARS[0]} to {YEARS[1]}", "correct it or delete the row")


def parse_number(text: str, kind: Kind) -> float | Fault:
    """Read a decimal number of the given kind, blanks around it allowed; an empty text is NaN."""
    if not text:
        return math.nan
    digits = text.strip(_BLANKS)
    if not _NUMBER.fullmatch(digits):
        if _GROUPED.fullmatch(digits):
            return Fault(f"{_MUST[kind]} without separators", "write 1234.5 for one thousand and so on")
        return Fault(_MUST[kind], _WAYS[kind])
    value = float(digits)
    return number_fault(value, kind) or value


def number_fault(value: float, kind: Kind) -> Fault | None:
    """Return the fault of a number of the given kind, if it has one; NaN stands for no value and is none."""
    out_of_range = (kind == "count" and value < 0) or (kind == "price" and value <= 0)
    return Fault(_MUST[kind], _WAYS[kind]) if math.isinf(value) or out_of_range else None


_MUST: dict[Kind, str] = {
    "count": "be a finite number >= 0",
    "number": "be a finite number",
    "price": "be a finite price > 0",
    "extra": "be a finite number",
}
_WAYS: dict[Kind, str] = {
    "count": "leave it empty where there is no count",
    "number": "leave it empty where there is no value",
    "price": "leave it empty where there is no price",
    "extra": "leave it empty where there is no value",
}


def must_be(kind: Kind) -> Fault:
    """Return the fault of something that is no number at all."""
    return Fault(_MUST[kind], _WAYS[kind])


def symbol_fault(symbol: str) -> Fault | None:
    """Return the fault of a symbol, if it has one. Anything that prints is a symbol: NA, TRUE, 007."""
    if not symbol:
        return Fault("be a symbol", "fill it in or delete the row")
    if symbol != symbol.strip():
        return Fault("have no blanks before or after the symbol", "delete them, as symbols are compared exactly")
    if not symbol.isprintable():
        return Fault("be printable text on one line", "correct the symbol")
    return None
