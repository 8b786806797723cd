"""Grids: what is accepted, in which order the rows lie, and what a mistake says."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest

from workbench import StudyConfig
from workbench.errors import ConfigError
from workbench.sweep.grid import FIELDS, as_grid, parse_grid, product_grid


def test_a_product_has_its_rows_in_the_order_of_nested_loops():
    axes = {"top_n": [3, 5], "drift": [True, False], "cost_bps": [0.0, 10.0, 25.0]}
    grid = as_grid(axes)
    expected = [StudyConfig(**dict(zip(axes, values, strict=True))) for values in product(*axes.values())]
    assert [grid.config(row) for row in range(len(grid))] == expected
    assert grid.varying == tuple(axes)


def test_codes_of_a_span_are_those_of_its_rows():
    grid = as_grid("top_n=1..7;execution_lag=0..4;cost_bps=0,10")
    for name in FIELDS:
        whole = grid.codes(name, 0, len(grid))
        assert np.array_equal(grid.codes(name, 13, 41), whole[13:41])


def test_a_list_of_configurations_keeps_its_order_and_its_repeats():
    configs = [StudyConfig(top_n=3), StudyConfig(cost_bps=1.0), StudyConfig(top_n=3)]
    grid = as_grid(configs)
    assert [grid.config(row) for row in range(3)] == configs
    assert grid.find(StudyConfig(cost_bps=1.0)) == 1
    assert grid.find(StudyConfig(top_n=3)) == 0
    assert grid.find(StudyConfig(top_n=4)) is None


def test_an_item_that_is_no_configuration_is_a_row_with_its_reason():
    grid = as_grid([{"top_n": 3}, {"top_n": 0}, {"topn": 3}, 7])
    assert {row: reason for row, (_, reason) in grid.invalid.items()} == {
        1: "top_n must be at least 1, got 0",
        2: "unknown parameter 'topn'; did you mean top_n?",
        3: "a configuration must be a StudyConfig or a mapping, got int",
    }
    assert grid.config(0) == StudyConfig(top_n=3)
    with pytest.raises(ConfigError, match="top_n must be at least 1"):
        grid.config(1)


def test_the_text_of_a_command_line_is_read_field_by_field():
    assert parse_grid("top-n=1..3, 7 ; cost_bps=0..1:0.25;drift=true,no;exclude=A+B,C") == {
        "top_n": [1, 2, 3, 7],
        "cost_bps": [0.0, 0.25, 0.5, 0.75, 1.0],
        "drift": [True, False],
        "exclude": [("A", "B"), ("C",)],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a grid must be like"),
        ("top_n", "a grid must be like"),
        ("top_n=", "a grid must be like"),
        ("topn=3", "unknown parameter 'topn'; did you mean top_n"),
        ("top_n=3;top_n=4", "must name top_n once"),
        ("top_n=3,3", "must name each value once, got 3 twice"),
        ("top_n=3,x", "top_n must be a whole number, got 'x'"),
        ("top_n=0", "top_n must be at least 1, got 0"),
        ("top_n=5..1", "a range of top_n must be like 1..20"),
        ("top_n=1..9:0", "a range of top_n must be like 1..20"),
        ("cost_bps=0..inf", "a range of cost_bps must be like 1..20"),
        ("cost_bps=0..1000:0.0001", "at most 100,000 values"),
        ("signal=a..b", "a range of signal must be like 1..20"),
        ("drift=false..true", "a range of drift must be like 1..20"),
    ],
)
def test_a_wrong_grid_is_refused_in_one_line(text: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        as_grid(text)
    assert "\n" not in str(caught.value)


def test_an_empty_list_and_an_empty_axis_are_refused():
    with pytest.raises(ConfigError, match="at least one entry"):
        as_grid([])
    with pytest.raises(ConfigError, match="top_n must have at least one value"):
        as_grid({"top_n": []})


def test_numbers_of_numpy_are_taken_as_numbers():
    assert as_grid({"top_n": np.arange(1, 4)}).values["top_n"] == (1, 2, 3)


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(IndexError, match="row must be between 0 and 1, got 2"):
        as_grid("top_n=1,2").config(2)


def test_ids_differ_where_values_order_or_base_differ():
    grids = [
        as_grid("top_n=1,2"),
        as_grid("top_n=2,1"),
        as_grid("top_n=1,2;drift=true"),
        product_grid({"top_n": [1, 2]}, StudyConfig(cost_bps=0.0)),
        as_grid([StudyConfig(top_n=1), StudyConfig(top_n=2)]),
        as_grid([StudyConfig(top_n=2), StudyConfig(top_n=1)]),
    ]
    assert len({grid.grid_id for grid in grids}) == len(grids) - 1  # a stated default changes no row
    assert as_grid("top_n=1,2").grid_id == grids[0].grid_id


def test_a_million_configurations_cost_no_memory_to_name():
    grid = as_grid({"top_n": range(1, 101), "min_likes": range(100), "execution_lag": range(100)})
    assert len(grid) == 1_000_000
    assert grid.config(999_999) == StudyConfig(top_n=100, min_likes=99, execution_lag=99)
    assert grid.find(grid.config(123_456)) == 123_456


def test_a_row_that_is_no_configuration_is_never_found():
    assert as_grid([{"top_n": 0}, {}]).find(StudyConfig()) == 1
    assert as_grid([{"top_n": 0}]).find(StudyConfig()) is None


def test_one_configuration_is_a_list_of_one():
    assert [as_grid(StudyConfig(top_n=3)).config(0)] == [StudyConfig(top_n=3)]
    assert repr(as_grid(StudyConfig())) == "1 configuration"
    assert as_grid({"top_n": np.array(3)}).values["top_n"] == (3,)


@pytest.mark.parametrize("given", [5, None])
def test_what_is_no_grid_is_refused_in_one_line(given):
    with pytest.raises(ConfigError, match=r"a grid must be text like .* a mapping or a list of configurations, got"):
        as_grid(given)


def test_a_long_axis_is_checked_for_repeats_in_no_time():
    start = time.perf_counter()
    assert len(as_grid("cost_bps=0..999:0.02")) == 49_951
    assert time.perf_counter() - start < 15  # each value against each other: three times as long
