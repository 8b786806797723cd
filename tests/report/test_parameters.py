"""Parameters are checked before a kernel starts, and one schema serves notebooks, options and StudyConfig."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.config import StudyConfig
from workbench.errors import ConfigError, DataError
from workbench.report.parameters import (
    DATA,
    NOTEBOOKS,
    check_parameters,
    find_notebook,
    notebook_parameters,
    study_parameters,
)


@pytest.fixture
def notebook(tmp_path: Path, notebook_writer) -> Path:
    return notebook_writer(tmp_path / "study.ipynb")


def test_the_schema_has_every_field_of_a_study_with_its_default():
    schema = study_parameters()
    assert list(schema) == list(StudyConfig.model_fields)
    assert StudyConfig(**{name: item.default for name, item in schema.items()}) == StudyConfig()
    assert all(item.help for item in (*schema.values(), *DATA.values()))


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebooks_have_parameters_of_the_schema_with_its_defaults(path: Path):
    schema = DATA | study_parameters()
    for name, parameter in notebook_parameters(path).items():
        if name in schema:  # a notebook has some of its own too
            assert parameter.default == schema[name].default, name


def test_the_report_has_all_parameters():
    assert set(notebook_parameters(find_notebook("portfolio_report"))) == {*DATA, *study_parameters(), "engine"}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("top_n", "10", 10),
        ("cost_bps", "2.5", 2.5),
        ("drift", "false", False),
        ("drift", "yes", True),
        ("prices", "none", None),
        ("prices", "", None),
        ("prices", "bars.csv", "bars.csv"),
        ("exclude", "B,A", "B,A"),
        ("label", "5", "5"),
    ],
)
def test_text_is_read_as_the_type_of_the_parameter(notebook: Path, name: str, text: str, value: object):
    assert check_parameters(notebook, {name: text}) == {name: value}


@pytest.mark.parametrize(
    ("given", "injected"),
    [
        ({"exclude": ["B", "A", "B"]}, {"exclude": "A,B"}),
        ({"exclude": ()}, {"exclude": ""}),
        ({"cost_bps": 5}, {"cost_bps": 5.0}),
        ({"prices": None}, {"prices": None}),
        ({}, {}),
    ],
)
def test_values_become_what_a_cell_holds(notebook: Path, given: dict, injected: dict):
    assert check_parameters(notebook, given) == injected
    assert [type(value) for value in check_parameters(notebook, given).values()] == [
        type(value) for value in injected.values()
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"topn": 5}, "study has no parameter 'topn'; did you mean top_n?"),
        ({"weighting": "equal"}, "study has no parameter 'weighting'"),
        ({"qqqqqq": 5}, "it has sentiment, prices, columns, top_n"),
        ({"top_n": "ten"}, "top_n must be a whole number, got 'ten'"),
        ({"top_n": 2.5}, "top_n must be a whole number, got 2.5"),
        ({"top_n": True}, "top_n must be a whole number, got True"),
        ({"top_n": 0}, "top_n must be at least 1, got 0"),
        ({"top_n": None}, "top_n must be a whole number, got None"),
        ({"cost_bps": "nan"}, "cost_bps must be a finite number, got nan"),
        ({"cost_bps": float("inf")}, "cost_bps must be a finite number, got inf"),
        ({"drift": "maybe"}, "drift must be true or false, got 'maybe'"),
        ({"sentiment": " "}, "sentiment must not be empty"),
        ({"prices": 5}, "prices must be text, got 5"),
        ({"label": 5}, "label must be text, got 5"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(notebook: Path, given: dict, message: str):
    with pytest.raises(ConfigError) as caught:
        check_parameters(notebook, given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_signal_is_found_before_anything_runs(tmp_path: Path, notebook_writer):
    notebook = notebook_writer(tmp_path / "s.ipynb", parameters='signal: str = "engagement_ratio"')
    with pytest.raises(ConfigError, match="did you mean engagement_ratio"):
        check_parameters(notebook, {"signal": "engagement_rate"})


def test_wrong_defaults_in_the_cell_are_found_as_well(tmp_path: Path, notebook_writer):
    with pytest.raises(ConfigError, match="top_n must be at least 1, got 0"):
        check_parameters(notebook_writer(tmp_path / "s.ipynb", parameters="top_n: int = 0"), {})


@pytest.mark.parametrize(
    ("cell", "given", "injected"),
    [
        ("n: int = 1", {"n": "7"}, {"n": 7}),
        ("share = 0.5", {"share": "1"}, {"share": 1.0}),
        ("on: bool = False", {"on": "yes"}, {"on": True}),
        ("title: str | None = None", {"title": "none"}, {"title": None}),
    ],
)
def test_a_notebook_of_ones_own_may_have_other_parameters(tmp_path: Path, notebook_writer, cell, given, injected):
    assert check_parameters(notebook_writer(tmp_path / "own.ipynb", parameters=cell), given) == injected


@pytest.mark.parametrize("cell", ["top_n = compute()", "top_n = [", "x: list = []"])
def test_a_parameters_cell_must_be_plain(tmp_path: Path, notebook_writer, cell: str):
    with pytest.raises(ConfigError, match=r"own\.ipynb"):
        notebook_parameters(notebook_writer(tmp_path / "own.ipynb", parameters=cell))


def test_a_notebook_without_a_parameters_cell_is_an_error(tmp_path: Path, notebook_writer):
    path = notebook_writer(tmp_path / "none.ipynb")
    path.write_text(path.read_text().replace('"parameters"', '"other"'))
    with pytest.raises(ConfigError, match="must have a cell tagged parameters"):
        notebook_parameters(path)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cells": 5}', b'{"cells": [1]}', b"\xff\xfe\x00", b"[" * 100_000])
def test_a_file_that_is_no_notebook_is_a_data_error(tmp_path: Path, content: bytes):
    path = tmp_path / "broken.ipynb"
    path.write_bytes(content)
    with pytest.raises(DataError, match="must be a Jupyter notebook"):
        notebook_parameters(path)


def test_a_notebook_is_found_by_name_or_file_and_the_nearest_name_is_suggested(tmp_path: Path, notebook: Path):
    assert find_notebook("portfolio_report") == find_notebook("portfolio_report.ipynb")
    assert find_notebook(notebook) == notebook
    with pytest.raises(ConfigError, match="did you mean portfolio_report"):
        find_notebook("portfolio_raport")
