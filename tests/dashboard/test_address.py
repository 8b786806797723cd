"""What is on view goes into an address and comes back; what an address holds may be anybody's."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import StudyConfig, choices
from workbench.dashboard.address import NUMBERS, TABS, View, changed, read_address, write_address
from workbench.registry import signal_names
from workbench.report.parameters import study_parameters

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
SYMBOLS = st.from_regex(r"[A-Z][A-Z0-9.^-]{0,5}", fullmatch=True)
JOBS = st.none() | st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
DAYS = st.dates(dt.date(1990, 1, 1), dt.date(2090, 12, 31)).map(str)


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Return values that a field may have, by StudyConfig's own schema."""
    field = StudyConfig.model_json_schema()["properties"][name]
    if name == "signal":
        return st.sampled_from(signal_names())
    if name == "exclude":
        return st.lists(SYMBOLS, max_size=4).map(lambda names: ",".join(sorted(set(names))))
    if choices(name) and field["type"] == "string":
        return st.sampled_from(choices(name))
    if field["type"] == "boolean":
        return st.booleans()
    low, high = (field.get(bound, field.get(f"exclusive{bound.capitalize()}")) for bound in ("minimum", "maximum"))
    if field["type"] == "integer":
        return st.integers(low, (high or 10_000) - ("exclusiveMaximum" in field))
    sides = {"exclude_min": "exclusiveMinimum" in field, "exclude_max": "exclusiveMaximum" in field}
    return st.floats(low, high, **sides)


KNOBS = st.fixed_dictionaries({}, optional={name: values_of(name) for name in study_parameters()}).map(changed)


@st.composite
def views(draw: st.DrawFn) -> View:
    tab = draw(st.sampled_from(TABS))
    symbols = tuple(draw(st.lists(SYMBOLS, max_size=5, unique=True)))
    start, end = sorted(draw(st.tuples(DAYS, DAYS)))
    return View(
        tab=tab,
        run=draw(st.booleans()) if tab == "portfolio" else tab == "stocks" and symbols != (),
        dataset=draw(st.none() | NAMES),
        prices=draw(st.none() | NAMES | st.just("snapshot:0123abcd")),
        benchmark=draw(st.none() | SYMBOLS),
        start=draw(st.sampled_from([None, start])),
        end=draw(st.sampled_from([None, end])),
        knobs=draw(KNOBS),
        symbols=symbols,
        grid=draw(st.sampled_from(["", "top_n=1,2", "top_n=1..20; cost_bps=0,10"])),
        number=draw(st.sampled_from(NUMBERS)),
        sweep=draw(JOBS),
        report=draw(JOBS),
    )


@given(views())
def test_a_view_comes_back_from_its_address(view: View):
    query = write_address(view)
    found, complaints = read_address(query)
    assert complaints == []
    # An address with anything in it is one to be run: someone shared it.
    asked = view.run or (view.tab == "portfolio" and bool(query))
    assert found == View(**{**view.__dict__, "run": asked})
    assert StudyConfig(**found.knobs) == StudyConfig(**view.knobs)


@given(
    st.dictionaries(st.sampled_from((*study_parameters(), *TABS, "tab", "start", "sweep", "x")) | st.text(), st.text())
)
def test_no_address_is_an_error_and_what_is_left_of_it_is_valid(query: dict[str, str]):
    view, complaints = read_address(query)
    StudyConfig(**view.knobs)
    assert read_address(write_address(view))[1] == []
    assert read_address(write_address(view))[0].knobs == view.knobs
    assert all("\n" not in line for line in complaints)


def test_defaults_leave_the_address_empty():
    assert write_address(View()) == {}
    assert read_address({}) == (View(), [])


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ({"top_n": "0"}, "top_n must be at least 1, got 0"),
        ({"top_n": "many"}, "top_n must be a whole number, got 'many'"),
        ({"min_likes": "9" * 20}, "min_likes must be at most 9007199254740991, got a number of 20 digits"),
        ({"start": "0001-01-01"}, "start must be from 1900-01-01 to 2100-12-31, got 0001-01-01"),
        ({"drift": "perhaps"}, "drift must be true or false, got 'perhaps'"),
        ({"topn": "3"}, "unknown parameter 'topn'; did you mean top_n?"),
        ({"tab": "portfolios"}, "tab must be one of"),
        ({"start": "31.01.2022"}, "start must be a day like 2022-01-31, got '31.01.2022'"),
        ({"start": "2022-02-01", "end": "2022-01-01"}, "start must not lie after end"),
        ({"sweep": "../../etc"}, "sweep must be the id of a job"),
        ({"dataset": "../x"}, "dataset must be the name of a registered table"),
        ({"grid": "x" * 5_000}, "grid must be printable text of at most"),
        ({"number": "sharpe"}, "number must be one of"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line_and_left_out(query: dict[str, str], line: str):
    view, complaints = read_address(query)
    assert [text.startswith(line) for text in complaints] == [True]
    assert view == View(run=view.run)


def test_the_rest_of_an_address_holds_where_a_part_of_it_is_wrong():
    view, complaints = read_address({"top_n": "7", "cost_bps": "-1", "dataset": "real"})
    assert (view.knobs, view.dataset, len(complaints)) == ({"top_n": 7}, "real", 1)
    assert view.run
