"""Values that nobody means, in every field, grid and parameter of a report: each can be written, or is refused in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_market import write_small_market

from workbench import StudyConfig, load_market, run_sweep
from workbench.config import LARGEST
from workbench.errors import ConfigError, WorkbenchError
from workbench.market.tables import Market
from workbench.report.parameters import check_parameters
from workbench.report.run import run_report
from workbench.sweep.grid import as_grid

FIELDS = tuple(StudyConfig.model_fields)
HALF = "\ud800"  # of a character
DIGITS, TOO_MANY = 10**400, 10**5000  # beyond a float, and beyond what Python writes
LONGEST = 500  # characters of a line that says what is wrong


class Unwritable:
    def __repr__(self) -> str:
        raise ZeroDivisionError


ODD: dict[str, Any] = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a huge float": 1e308,
    "a number beyond int64": 2**63,
    "a number beyond a float": DIGITS,
    "a negative one": -DIGITS,
    "a number that cannot be written": TOO_MANY,
    "such a one in a list": [TOO_MANY],
    "true": True,
    "none": None,
    "nothing": "",
    "a blank": " ",
    "a comma": ",",
    "half a character": HALF,
    "half a character in a list": ["A", HALF],
    "a zero byte": "A\0B",
    "a zero byte in a set": {"A\0B"},
    "two lines": "A\nB",
    "writing from right to left": "\u202eA",
    "a very long text": "x" * 100_000,
    "thousands of digits": "9" * 5_000,
    "a text that is infinite": "1e999",
    "bytes": b"ab",
    "a bytearray": bytearray(b"ab"),
    "an empty list": [],
    "a list of numbers": [3, 5],
    "a list of a list": [["A"]],
    "a list of both": ["A", 1],
    "a mapping": {"a": 1},
    "a set of numbers": {1},
    "a complex number": 1j,
    "a fraction": Fraction(1, 3),
    "numpy's whole number": np.int64(3),
    "numpy's number": np.float64(0.5),
    "numpy's long number": np.longdouble(3),
    "numpy's true": np.bool_(True),
    "numpy's text": np.str_("equal"),
    "numpy's day": np.datetime64("2024-01-01"),
    "an array without dimensions": np.array(3),
    "an array": np.array([3, 5]),
    "a table": np.arange(40).reshape(20, 2),
    "a path": Path("x"),
    "a type": int,
    "an object that cannot be written": Unwritable(),
}


def refusal(call: Callable[[], object], kind: type[WorkbenchError] = ConfigError) -> str | None:
    """Return the line with which a call refuses its input, None if it does not; any other error is a fault."""
    try:
        call()
    except kind as error:
        line = str(error)
        assert line.isprintable() and len(line) <= LONGEST, ascii(line[:LONGEST])
        return line
    return None


def as_json(content: object) -> bytes:
    """Return JSON as files have it."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("what", ODD)
def test_a_field_takes_a_value_that_can_be_written_or_says_what_it_must_be(what: str):
    for name in FIELDS:
        line = refusal(lambda name=name: StudyConfig(**{name: ODD[what]}))
        if line is not None:
            assert line.startswith(f"{name} must ") and ", got " in line
            continue
        config = StudyConfig(**{name: ODD[what]})
        assert StudyConfig(**json.loads(as_json(config.to_dict()))) == config
        assert (repr(config) + config._repr_html_()).encode()
        value = getattr(config, name)
        assert not isinstance(value, int) or -LARGEST <= value <= LARGEST
        assert not type(value).__module__.startswith("numpy")
        assert name == "signal" or len(config.config_id) == 12


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("form", ["a value", "a list of values", "a list of configurations"])
def test_a_grid_takes_it_or_says_what_it_must_be(form: str, what: str):
    for name in FIELDS:
        forms = {"a value": {name: ODD[what]}, "a list of values": {name: [ODD[what]]}}
        given_grid = forms.get(form, [{name: ODD[what]}])
        if refusal(lambda given_grid=given_grid: as_grid(given_grid)) is None:
            grid = as_grid(given_grid)
            assert len(grid.grid_id) == 16 and repr(grid)
            assert as_json([grid.describe(row) for row in range(len(grid))])


@pytest.mark.parametrize("bytes_like", [b"ab", bytearray(b"ab"), memoryview(b"ab")])
def test_bytes_are_no_list_of_numbers(bytes_like: object):
    line = refusal(lambda: as_grid({"top_n": bytes_like}))
    assert line is not None and line.startswith("top_n must be a whole number, got ")


NAMES: dict[str, Any] = {"a number": 5, "none": None, "half a character": HALF, "long": "x" * 10_000, "bytes": b"top_n"}
NAMES |= {"a number that cannot be written": TOO_MANY, "a tuple": ("top_n",)}


@pytest.mark.parametrize("what", NAMES)
def test_a_name_that_is_none_is_refused_or_a_row_that_fails(what: str):
    name = NAMES[what]
    line = refusal(lambda: as_grid({name: 1}))
    assert line is not None and line.startswith("unknown parameter ")
    grid = as_grid([{name: 1}])
    why = "parameters must be valid Unicode, got " if name == HALF else "unknown parameter "
    assert grid.invalid[0][1].startswith(why) and len(grid.invalid[0][1]) <= LONGEST
    assert as_json(grid.describe(0)) and grid.grid_id
    line = refusal(lambda: run_report(parameters={name: 1}))
    assert line is not None and line.startswith("portfolio_report has no parameter ")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="module")
def market(files: tuple[Path, Path]) -> Market:
    return load_market(*files)


def test_rows_of_a_sweep_that_are_none_say_so_and_the_others_are_computed(market: Market, tmp_path: Path):
    odd = [{"top_n": value} for value in ODD.values()]
    result = run_sweep([*odd, {HALF: HALF}, {TOO_MANY: TOO_MANY}, {"top_n": 2}], market, engine="local")
    taken = {"numpy's whole number", "an array without dimensions"}
    assert set(result.failures) == {row for row, what in enumerate(ODD) if what not in taken} | {
        len(ODD),
        len(ODD) + 1,
    }
    assert repr(result) and result._repr_html_().encode()
    result.to_frame().to_parquet(tmp_path / "rows.parquet")


VALUES = ["", "nan", "inf", "1e999", "9" * 400, "-" + "9" * 400, "9" * 5_000, HALF, "A\0B", "x" * 10_000, "true..false"]
VALUES += ["1,1", "1,,2", ",", "..", "1..", "1..2..3", "1..3:", "0..1:0", "0..1:-1", "0..1:nan", "0..1:inf", "nan..1"]
VALUES += ["0..inf", f"1..{'9' * 400}", f"-{'9' * 400}..1", f"1..2:{'9' * 400}", f"0..{'9' * 5_000}", "0..1e308:1e-308"]
VALUES += ["-1e308..1e308:1e308", "0..1:5e-324", "0..1:1e-9", f"A+{HALF}", "1=2", "\u0661..\u0663", "0x10", "1_0"]


@pytest.mark.parametrize("what", [*FIELDS, "topn", "", "half a character", "long"])
def test_a_grid_as_text_is_read_or_refused_in_one_line(what: str):
    name = NAMES.get(what, what)
    for text in (f"{name}={value}" for value in VALUES):
        if refusal(lambda text=text: as_grid(text)) is None:
            assert as_grid(text).grid_id


def test_a_text_that_is_no_grid_is_refused_in_one_line():
    for text in ("", ";", "=", ";;=;", HALF, "\0", "x" * 10_000, "top_n", "top_n=1;top_n=2", "=1"):
        assert refusal(lambda text=text: as_grid(text)) is not None, ascii(text)


@pytest.mark.parametrize("what", ODD)
def test_a_report_takes_a_parameter_or_says_what_is_wrong_before_a_kernel_starts(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    monkeypatch.setitem(sys.modules, "workbench.report.kernel", None)
    monkeypatch.chdir(tmp_path)
    fixed = {"sentiment": str(files[0]), "prices": str(files[1]), "top_n": 2}
    for name in ("sentiment", "prices", "benchmark", "start", "columns", "allow_mixed_data", "engine", *FIELDS):
        parameters = fixed | {name: ODD[what]}
        try:
            line = refusal(lambda parameters=parameters: run_report(parameters=parameters, out="out"), WorkbenchError)
        except ImportError:  # the study was computed, and the kernel is what comes next
            assert what != "a list of numbers"
            continue
        assert line is not None


def test_a_name_that_no_notebook_can_have_is_refused():
    for name in (HALF, "a\0b", "x" * 300 + ".ipynb", "~there_is_no_such_user/n.ipynb", "~\0/n.ipynb"):
        line = refusal(lambda name=name: run_report(name))
        assert line is not None and line.startswith("notebook must be a file or one of ")


WORDS: list[tuple[dict[str, Any], str]] = [
    ({"min_likes": DIGITS}, "min_likes must be at most 9007199254740991, got a number of 401 digits"),
    ({"min_likes": -DIGITS}, "min_likes must be at least -1, got a negative number of 401 digits"),
    ({"cost_bps": DIGITS}, "cost_bps must be a number up to 1.8e308, got a number of 401 digits"),
    ({"exclude": [HALF]}, f"exclude must name symbols of printable text, as a table's are, got {HALF!r}"),
    ({"signal": HALF}, f"signal must be valid Unicode, got {HALF!r}"),
    ({"top_n": [3, 5]}, "top_n must be a whole number, got [3, 5]"),
    ({"top_n": ["3"]}, "top_n must be a whole number, got ['3']"),
    ({"exclude": ["A", 1]}, "exclude must be a list of symbols, got ['A', 1]"),
]


def test_what_is_wrong_is_said_in_words():
    for parameters, line in WORDS:
        assert refusal(lambda parameters=parameters: run_report(parameters=parameters)) == line


STORED: list[tuple[str, Any, str | None]] = [
    ("0.5", float("nan"), "a finite number that JSON can hold, got nan"),
    ("0.5", "1e999", "a finite number that JSON can hold, got inf"),
    ("0.5", DIGITS, "a number up to 1.8e308, got a number of 401 digits"),
    ("1", TOO_MANY, "a finite number that JSON can hold, got a value of type int that cannot be written"),
    ("1", 2**80, None),
    ("'a'", HALF, f"valid Unicode, got {HALF!r}"),
    ("1e999", 0.5, None),
]


def test_a_parameter_of_ones_own_notebook_can_be_stored(tmp_path: Path):
    def own(default: str) -> Path:
        cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": f"share = {default}"}
        path = tmp_path / "own.ipynb"
        path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        return path

    for default, value, line in STORED:
        path = own(default)
        found = refusal(lambda value=value, path=path: check_parameters(path, {"share": value}))
        assert found == (line and f"share must be {line}")
    found = refusal(lambda: check_parameters(own("1e999"), {}))
    assert found == "share must be a finite number that JSON can hold, got inf"


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary()
ANYTHING = LEAVES | st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))


@given(st.sampled_from(FIELDS), ANYTHING)
def test_any_value_is_taken_and_can_be_written_or_refused_in_one_line(name: str, value: object):
    if refusal(lambda: StudyConfig(**{name: value})) is None:
        config = StudyConfig(**{name: value})
        assert StudyConfig(**json.loads(as_json(config.to_dict()))) == config
    for grid in ({name: value}, [{name: value}]):
        if refusal(lambda grid=grid: as_grid(grid)) is None:
            assert as_grid(grid).grid_id


@given(
    st.sampled_from(["", "top_n=", "cost_bps=", "exclude=", "drift=", "signal="]),
    st.text("0123456789.:,;+-=eEnaif AB\0\ud800"),
)
def test_any_text_is_a_grid_or_refused_in_one_line(start: str, rest: str):
    refusal(lambda: as_grid(start + rest))
