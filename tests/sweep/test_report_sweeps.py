"""Tables and figures of a sweep: what they count, and what they say where there is nothing to show."""

from __future__ import annotations

import numpy as np
import pytest
from small_market import prices_frame, sentiment_frame

from workbench import StudyConfig, load_market
from workbench.errors import ConfigError
from workbench.execution import LocalEngine
from workbench.market.tables import Market
from workbench.report import sweeps
from workbench.report.text import sweep_text
from workbench.scaling import scaling
from workbench.sweep.result import SweepResult
from workbench.sweep.run import run_sweep

CONFIG = StudyConfig(top_n=2, execution_lag=1, cost_bps=10.0)


@pytest.fixture(scope="module")
def market() -> Market:
    return load_market(sentiment_frame(), prices_frame())


@pytest.fixture(scope="module")
def result(market: Market) -> SweepResult:
    return run_sweep("top_n=3,1,2,4;execution_lag=0..3;cost_bps=0,10", market, LocalEngine(workers=1))


@pytest.fixture(scope="module")
def failed(market: Market) -> SweepResult:
    return run_sweep("top_n=8,9", market, LocalEngine(workers=1))


def test_shares_of_the_variance_are_those_of_the_means_by_value(result: SweepResult):
    frame = sweeps.effects(result).frame
    numbers = result.column("sharpe_ratio").reshape(4, 4, 2)
    expected = {
        "top n": numbers.mean(axis=(1, 2)),
        "execution lag": numbers.mean(axis=(0, 2)),
        "cost bps": numbers.mean(axis=(0, 1)),
    }
    shares = dict(zip(frame["Choice"], frame["Share explained"], strict=True))
    assert shares == {name: f"{100 * means.var() / numbers.var():.1f} %" for name, means in expected.items()}
    best = dict(zip(frame["Choice"], frame["Highest mean at"], strict=True))
    assert best["top n"] == f"{[3, 1, 2, 4][int(expected['top n'].argmax())]} ({expected['top n'].max():.2f})"


def test_a_number_that_does_not_vary_is_explained_by_nothing(market: Market):
    result = run_sweep("cost_bps=0..9;top_n=2", market, LocalEngine(workers=1))
    assert list(sweeps.effects(result, "mean_turnover").frame["Share explained"]) == ["undefined"]


def test_neighbours_are_the_next_numbers_whatever_the_order_of_the_grid(result: SweepResult):
    frame = sweeps.neighbours(result, CONFIG).frame
    assert list(frame["Step"]) == ["", "2 → 1", "2 → 3", "1 → 0", "1 → 2", "10 → 0"]
    row = result.grid.find(CONFIG.replace(top_n=3))
    assert row is not None
    assert frame["Total return"].iloc[2] == f"{100 * result.summary(row)['total_return']:+.2f} %"


def test_a_heat_map_has_the_numbers_in_order_and_the_medians_of_the_cells(result: SweepResult):
    figure = sweeps.heat_map(result, "top_n", "cost_bps")
    heat = figure.data[0]
    assert list(heat.x) == ["1", "2", "3", "4"] and list(heat.y) == ["0", "10"]
    numbers = result.column("sharpe_ratio").reshape(4, 4, 2)
    assert heat.z[1][2] == pytest.approx(np.median(numbers[0, :, 1]), abs=1e-6)  # 3 comes first in the grid
    chosen = sweeps.heat_map(result, "top_n", "cost_bps", config=CONFIG)
    row = result.grid.find(CONFIG)
    assert row is not None
    assert chosen.data[0].z[1][1] == pytest.approx(result.summary(row)["sharpe_ratio"], abs=1e-6)
    box = chosen.layout.shapes[0]
    assert (box.x0, box.y0) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("x", "y", "config", "message"),
    [
        ("top_n", "top_n", None, "needs two choices"),
        ("top_n", "drift", None, "must vary in the grid"),
        ("top_n", "cost_bps", CONFIG.replace(cost_bps=11.0), "must be one of the grid's"),
        ("top_n", "cost_bps", CONFIG.replace(seed=1), "must be one of the grid's"),
    ],
)
def test_a_heat_map_that_cannot_be_drawn_is_refused_in_one_line(result: SweepResult, x, y, config, message: str):
    with pytest.raises(ConfigError, match=message):
        sweeps.heat_map(result, x, y, config=config)


def test_the_place_counts_the_configurations_below(result: SweepResult):
    row = result.grid.find(CONFIG)
    numbers = result.column("sharpe_ratio")
    below = 100 * (numbers < numbers[row]).mean()
    assert f"32 configurations: {below:.0f} % of them are below" in sweeps.place(result, CONFIG).layout.title.text


def test_marginals_have_their_numbers_in_order(result: SweepResult):
    assert list(sweeps.marginals(result).data[0].x) == ["1", "2", "3", "4"]


def test_a_sweep_in_which_everything_failed_is_shown_as_such(failed: SweepResult):
    assert sweeps.effects(failed).frame.empty
    assert "undefined in every row" in sweeps.effects(failed)._repr_html_()
    assert "undefined" in sweeps.place(failed, StudyConfig(top_n=8)).layout.title.text
    assert len(sweeps.marginals(failed).data) == 3
    text = sweep_text(failed)
    assert "2 configurations failed" in text and "the best by" not in text


def test_a_sweep_as_text_has_the_best_rows_with_their_knobs(result: SweepResult):
    lines = sweep_text(result).splitlines()
    assert lines[0].startswith("LOOK-AHEAD")
    best = result.best(n=1)[0]
    line = next(line for line in lines if f"execution_lag={result.config(best).execution_lag}" in line)
    assert f"{100 * result.summary(best)['total_return']:+.2f} %" in line


def test_workers_are_held_against_none_of_them(market: Market):
    frame = scaling("top_n=1,2", market, "local", (0, 1)).frame
    assert list(frame["Workers"]) == ["none", "1 (local)"]
    assert list(frame["Same bits"]) == ["yes", "yes"]
    for wrong in ({"workers": ()}, {"workers": (-1,)}, {"repeats": 0}):
        with pytest.raises(ConfigError, match="workers must be numbers from 0 on"):
            scaling("top_n=1,2", market, "local", **wrong)
