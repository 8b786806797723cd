"""Numbers and lines as people read them, and the pure parts between an answer and what is drawn."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import StudyConfig
from workbench.dashboard import figures, form
from workbench.dashboard.details import returns_csv
from workbench.dashboard.reports import framed
from workbench.dashboard.sweeps import suggested
from workbench.dashboard.tables import compositions, pairs, stock_rows
from workbench.dashboard.text import for_people, minus, number, plain, undefined_lines
from workbench.report.parameters import study_parameters
from workbench.report.table import Table
from workbench.sweep.grid import parse_grid, product_grid


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("total_return", -0.24813, "−24.81 %"),
        ("total_return", 0.038901, "+3.89 %"),
        ("annualized_volatility", 0.2015, "20.15 %"),
        ("sharpe_ratio", -0.5, "−0.50"),
        ("sharpe_ratio", None, "–"),
        ("n_periods", 14, "14"),
        ("first_date", "2021-12-01", "2021-12-01"),
    ],
)
def test_a_number_has_its_unit_a_real_minus_and_a_dash_where_undefined(name: str, value: Any, text: str):
    assert number(name, value) == text


def test_only_numbers_get_a_minus_sign():
    assert minus("-1.5 to -0.2, 2021-12-01, BRK-B, A-1") == "−1.5 to −0.2, 2021-12-01, BRK-B, A-1"


def test_a_table_keeps_its_texts_and_writes_its_numbers_for_people():
    table = Table(
        pd.DataFrame({"": ["x-1"], "Net": ["-1.00 %"], "Gross": ["undefined"], "What": ["-5"]}), "", ("What",)
    )
    assert for_people(table).frame.iloc[0].tolist() == ["x-1", "−1.00 %", "–", "-5"]


@given(st.text(max_size=40))
def test_no_line_is_read_as_markdown(line: str):
    escaped = plain(line)
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escaped) == " ".join(line.split())
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]()<>*_`$:#|~!&]", escaped)


@pytest.mark.parametrize(("days", "reason"), [(0, "no returns"), (1, "needs two"), (9, "divided by is zero")])
def test_an_undefined_number_has_its_reason(days: int, reason: str):
    (line,) = undefined_lines({"n_days": days, "sharpe_ratio": None, "beta": None, "total_return": 0.1})
    assert reason in line and line.endswith("sharpe_ratio, beta")


def test_every_field_of_the_study_has_a_place_in_the_form():
    drawn = [*(name for names in form.GROUPS.values() for name in names), *form.advanced()]
    assert sorted(drawn) == sorted(StudyConfig.model_fields)


def test_the_form_is_filled_with_defaults_and_gives_back_what_differs():
    state: dict[str, Any] = {}
    form.fill(state, {"top_n": 9, "exclude": "A,B"})
    assert form.knobs_of(state) == {"top_n": 9, "exclude": "A,B"}
    form.fill(state, {})
    assert form.knobs_of(state) == {}


@pytest.mark.parametrize("name", [name for name in study_parameters() if name != "exclude"])
def test_the_values_suggested_for_an_axis_are_a_grid_around_the_default(name: str):
    grid = product_grid(parse_grid(f"{name}={suggested(name)}"))
    assert len(grid) >= 2
    assert grid.find(StudyConfig()) is not None


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=30))
def test_daily_returns_are_got_back_from_cumulative_ones(moves: list[float]):
    grown = (np.cumprod(1 + np.array(moves)) - 1).tolist()
    days = pd.bdate_range("2022-01-03", periods=len(moves)).strftime("%Y-%m-%d").tolist()
    performance = {"dates": days, "portfolio_cumulative_returns": grown, "benchmark_cumulative_returns": grown}
    found = figures.daily_returns(performance)
    np.testing.assert_allclose(found["net"], moves, atol=1e-9)
    assert returns_csv(performance).count("\n") == len(moves) + 1


def test_daily_returns_after_a_total_loss_are_zero():
    performance = {
        "dates": ["2022-01-03", "2022-01-04"],
        "portfolio_cumulative_returns": [-1.0, -1.0],
        "benchmark_cumulative_returns": [0.1, 0.2],
    }
    assert figures.daily_returns(performance)["net"].tolist() == [-1.0, 0.0]


WEIGHTS = {"2022-02-01": {"AAA": 0.6, "BBB": 0.4}, "2022-03-01": {"BBB": 0.5}, "2022-04-01": {}}


def test_what_is_not_invested_is_cash():
    frame = figures.weights_frame(WEIGHTS)
    assert frame["cash"].tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert (frame.sum(axis=1) == 1.0).all()
    table = compositions(WEIGHTS).frame
    assert table["Target weights"].tolist() == ["AAA 60.0 %, BBB 40.0 %", "BBB (50.0 %)", "cash"]
    assert table["Cash"].tolist() == ["", "50.0 %", "100.0 %"]
    assert figures.composition(WEIGHTS).data[0].y[-1] == "cash"


def test_a_study_without_trades_draws_empty_figures():
    empty = {"dates": [], "portfolio_cumulative_returns": [], "benchmark_cumulative_returns": []}
    answer = {"performance_data": empty, "study": {"weights": {}, "provenance": {"benchmark": "QQQ"}}}
    assert len(figures.equity(answer).data) == len(figures.drawdown(answer).data) == 0
    figures.months(answer)
    assert len(compositions({}).frame) == 0


def test_stocks_without_numbers_are_in_the_table_and_not_in_the_figure():
    known = {"total_return": -0.5, "annualized_volatility": 0.2, "sharpe_ratio": -1.0, "n_days": 1200}
    row = known | {"first_date": "2020-01-02", "last_date": "2024-12-31"}
    none = dict.fromkeys(known) | {"n_days": 0, "first_date": None, "last_date": None}
    table = stock_rows({"AAA": row, "NA": none}).frame
    assert table["Total return"].tolist() == ["−50.00 %", "–"]
    assert table[""].tolist() == ["AAA", "NA"]
    assert figures.risk_and_return({"AAA": row, "NA": none}, None).data[0].text == ("AAA",)


def test_nested_pairs_are_named_by_their_path():
    assert pairs({"a": {"b": 1, "c": None}, "d": []}, "").frame.values.tolist() == [
        ["a.b", "1"],
        ["a.c", "none"],
        ["d", "none"],
    ]


def test_a_report_is_framed_with_an_origin_of_its_own():
    page = framed('<p title="x">"</iframe><script>parent.x</script>')
    assert page.count("<iframe") == 1 and page.count("</iframe>") == 1 and "<script>" not in page
    assert 'sandbox="allow-scripts allow-downloads"' in page and "allow-same-origin" not in page
