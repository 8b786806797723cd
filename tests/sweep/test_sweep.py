"""Every row of a sweep is what `run_study` gives for its configuration: over random markets, all knobs, all engines."""

from __future__ import annotations

import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_reference import BENCHMARK, Case, cases, prices_frame, sentiment_frame

from workbench import StudyConfig, load_market, register_signal, run_study
from workbench.config import StudyConfig as Config
from workbench.core.optimisation import OPTIMISERS
from workbench.errors import ConfigError, WorkbenchError
from workbench.execution import LocalEngine
from workbench.market.tables import Market
from workbench.registry import find_signal
from workbench.sweep import chunk
from workbench.sweep import run as sweep_run
from workbench.sweep.grid import as_grid
from workbench.sweep.result import SUMMARY, SweepResult
from workbench.sweep.run import estimate_seconds, run_sweep

TOLERANCE = 1e-12
EXAMPLES = settings(
    max_examples=150, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
AXES: dict[str, Any] = {
    "signal": ["engagement_ratio", "twitter_sentiment", "comments_per_post"],
    "min_likes": [-1, 0, 3],
    "min_comments": [-1, 1],
    "min_observations": [1, 2, 4],
    "rebalance": ["monthly", "weekly", "quarterly"],
    "exclude": [(), ("A",), ("A", "NA", "UNKNOWN")],
    "top_n": [1, 2, 3, 5, 8, 11],
    "execution_lag": [0, 1, 3, 5, 40],
    "weighting": ["equal", "signal", "inverse_volatility"],
    "lookback_days": [2, 3, 10, 20],
    "max_weight": [1.0, 0.6, 0.4, 0.25, 0.2, 0.07],
    "missing": ["redistribute", "cash"],
    "drift": [True, False],
    "cost_bps": [0.0, 10.0, 123.4],
    "risk_free_rate": [0.0, 0.04, -0.01],
    "seed": [0, 7],
}


def market_of(case: Case) -> Market:
    start, end = case.bounds
    frames = sentiment_frame(case.rows), prices_frame(case.prices, case.wide)
    return load_market(*frames, benchmark=BENCHMARK, start=start, end=end)


def local() -> LocalEngine:
    return LocalEngine(workers=1)


def assert_row_is_the_study(result: SweepResult, row: int, market: Market) -> None:
    config = result.config(row)
    try:
        study = run_study(config, market)
    except WorkbenchError as error:
        assert result.failures[row] == str(error)
        return
    got = result.summary(row)
    for name in SUMMARY:
        expected = study.summary[name]
        if isinstance(expected, float):
            assert got[name] is not None, (name, expected, config)
            same = math.isclose(got[name], expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            assert same, (name, got[name], expected, config)
        else:
            assert got[name] == expected, (name, config)
    kinds = study.losses.groupby(["kind", "period"]).size() if len(study.losses) else pd.Series(dtype=int)
    executed = set(study.rebalances.loc[study.rebalances["status"] == "executed", "period"])
    counted = {
        kind: sum(count for (name, period), count in kinds.items() if name == kind and period in executed)
        for kind in ("weights_fallback", "no_price_at_trade")
    }
    assert result.column("n_fallbacks")[row] == counted["weights_fallback"]
    assert result.column("n_unavailable")[row] == counted["no_price_at_trade"]


@given(st.sampled_from(AXES["weighting"]).flatmap(lambda weighting: cases(weighting, bounded=True)), st.data())
@EXAMPLES
def test_rows_equal_the_study_on_random_markets_and_all_knobs(case: Case, data: st.DataObject):
    market = market_of(case)
    axes = {name: data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True), label=name)
            for name, values in AXES.items()}  # fmt: skip
    result = run_sweep(axes, market, local())
    rows = np.random.default_rng(len(result)).choice(len(result), min(len(result), 12), replace=False)
    for row in rows:
        assert_row_is_the_study(result, int(row), market)


@given(st.sampled_from(AXES["weighting"]).flatmap(lambda weighting: cases(weighting)))
@EXAMPLES
def test_daily_returns_equal_the_study_to_the_last_bit(case: Case):
    market = market_of(case)
    result = run_sweep([case.knobs], market, local())
    expected = run_study(StudyConfig(**case.knobs), market).returns["net"]
    got = result.returns([0])[0]
    assert got.index.equals(expected.index)
    assert got.to_numpy().tobytes() == expected.to_numpy().tobytes()


@pytest.mark.parametrize("count", [*range(1, 20), 127, 128, 129, 136, 137, 300, 1000, 1025])
def test_sums_are_made_in_the_order_of_numpy(count: int):
    from workbench.sweep.holding import pairwise_sum

    values = np.random.default_rng(count).normal(size=count + 2)
    assert pairwise_sum(values, 2, count) == values[2:].sum()


@pytest.fixture(scope="module")
def small_market() -> Market:
    from small_market import prices_frame as small_prices
    from small_market import sentiment_frame as small_sentiment

    return load_market(small_sentiment(), small_prices())


GRID = "top_n=1..4;execution_lag=0..3;cost_bps=0,10,25;drift=true,false;weighting=equal,signal;max_weight=1,0.3"


def test_rows_do_not_depend_on_the_others_or_on_how_the_grid_is_cut(small_market: Market, monkeypatch):
    whole = run_sweep(GRID, small_market, local())
    monkeypatch.setattr(sweep_run, "SMALLEST_SPAN", 7)
    monkeypatch.setattr(sweep_run, "LARGEST_SPAN", 7)
    cut = run_sweep(GRID, small_market, LocalEngine(workers=3))
    shuffled = np.random.default_rng(0).permutation(len(whole))
    listed = run_sweep([whole.config(int(row)) for row in shuffled], small_market, local())
    for name in SUMMARY:
        assert whole.column(name).tobytes() == cut.column(name).tobytes()
        assert whole.column(name)[shuffled].tobytes() == listed.column(name).tobytes()


def test_a_repeat_of_a_sweep_changes_no_bit(small_market: Market):
    first, second = (run_sweep(GRID, small_market, local()) for _ in range(2))
    assert all(first.column(name).tobytes() == second.column(name).tobytes() for name in SUMMARY)


def test_ten_thousand_configurations_with_one_per_cent_bad_give_the_others(small_market: Market):
    configs: list[Any] = [
        {"top_n": 1 + row % 4, "cost_bps": float(row % 97), "min_likes": row % 5} for row in range(10_000)
    ]
    wrong: list[Any] = [{"top_n": 0}, {"top_n": 5}, {"signal": "nothing"}, {"tpo_n": 3}, "text"]
    bad = {row: wrong[row // 100 % 5] for row in range(0, 10_000, 100)}
    for row, item in bad.items():
        configs[row] = item
    result = run_sweep(configs, small_market, local())
    assert sorted(result.failures) == sorted(bad)
    good = np.setdiff1d(np.arange(10_000), list(bad))
    assert len(good) == 9_900 and not np.isnan(result.column("total_return")[good]).any()
    assert np.isnan(result.column("total_return")[list(bad)]).all()
    reasons = [one.error for one in result.failed[:5]]
    assert reasons[0] == "top_n must be at least 1, got 0"
    assert reasons[1] == "top_n must be between 1 and 4 (symbols in the table), got 5"
    assert reasons[2].startswith("signal must be one of")
    assert reasons[3] == "unknown parameter 'tpo_n'; did you mean top_n?"
    assert reasons[4] == "a configuration must be a StudyConfig or a mapping, got str"
    assert isinstance(result.failed[1].config, Config)
    assert result.failed[3].config == {"tpo_n": 3}


def test_a_signal_that_raises_fails_its_rows_and_no_others(small_market: Market):
    register_signal("raises_in_sweep", lambda table: 1 / 0, "1")
    result = run_sweep({"signal": ["engagement_ratio", "raises_in_sweep"], "top_n": [1, 2]}, small_market, local())
    assert sorted(result.failures) == [2, 3]
    assert "ZeroDivisionError" in result.failures[2]
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        result.summary(3)


def test_a_signal_of_the_users_own_reaches_worker_processes(small_market: Market):
    register_signal("likes_in_sweep", lambda table: table["twitterLikes"], "1")
    result = run_sweep({"signal": ["likes_in_sweep"], "top_n": [1, 2]}, small_market, LocalEngine(workers=2))
    for row in range(2):
        assert_row_is_the_study(result, row, small_market)


def test_optimised_rows_equal_the_study_and_ask_each_question_once(small_market: Market, monkeypatch):
    asked = []
    plain = sweep_run.compute_fits

    def count(keys: Any, prices: Any) -> Any:
        asked.extend(keys)
        return plain(keys, prices)

    monkeypatch.setattr(sweep_run, "compute_fits", count)

    class Inline(LocalEngine):
        def map(self, function: Any, chunks: Any, *, shared: Any = (), holds_gil: bool = False) -> Any:
            return super().map(function, chunks, shared=shared)

    grid = {"weighting": ["equal", *OPTIMISERS], "top_n": [2, 4], "lookback_days": [20], "max_weight": [1.0, 0.6],
            "cost_bps": [0.0, 10.0], "drift": [True, False]}  # fmt: skip
    result = run_sweep(grid, small_market, Inline(workers=1))
    assert len(asked) == len(set(asked)) == len(OPTIMISERS) * 2 * 2 * 4
    for row in range(0, len(result), 3):
        assert_row_is_the_study(result, row, small_market)


@pytest.mark.parametrize("seed", [3, 7, 10])
def test_a_shallow_drawdown_leaves_its_ratio_exact(seed: int):
    from small_market import SYMBOLS
    from small_market import sentiment_frame as small_sentiment

    days = pd.bdate_range("2021-12-01", "2022-03-10")
    moves = np.random.default_rng(seed).normal(0, 0.0005, (len(days), 5))
    prices = pd.DataFrame(50 * np.exp(np.cumsum(moves, axis=0)), columns=[*SYMBOLS, BENCHMARK])
    prices.insert(0, "date", days.strftime("%Y-%m-%d"))
    market = load_market(small_sentiment(), prices)
    result = run_sweep("top_n=1..4;cost_bps=0..3:0.2", market, local())
    for row in range(len(result)):
        assert_row_is_the_study(result, row, market)


def test_many_books_are_held_a_few_at_a_time(small_market: Market, monkeypatch):
    whole = run_sweep(GRID, small_market, local())
    monkeypatch.setattr(chunk, "_BOOKS_BYTES", 1)
    few = run_sweep(GRID, small_market, local())
    assert all(whole.column(name).tobytes() == few.column(name).tobytes() for name in SUMMARY)


def test_returns_of_a_signal_that_was_registered_anew_are_refused_and_the_new_one_stays(small_market: Market):
    register_signal("renewed_in_sweep", lambda table: table["twitterLikes"], "1")
    before = run_sweep({"signal": ["renewed_in_sweep"], "top_n": [2]}, small_market, local())
    register_signal("renewed_in_sweep", lambda table: -table["twitterLikes"], "2")
    after = run_sweep({"signal": ["renewed_in_sweep"], "top_n": [2]}, small_market, local())
    with pytest.raises(ConfigError, match="must be version '1', as when the sweep ran, got '2'"):
        before.returns([0])
    assert find_signal("renewed_in_sweep").version == "2"
    assert_row_is_the_study(after, 0, small_market)


def test_two_sweeps_at_the_same_time_do_not_mix(small_market: Market):
    from small_market import prices_frame as small_prices
    from small_market import sentiment_frame as small_sentiment

    reversed_prices = small_prices()
    reversed_prices.iloc[:, 1:] = reversed_prices.iloc[::-1, 1:].to_numpy()
    markets = [small_market, load_market(small_sentiment(), reversed_prices)] * 2
    alone = [run_sweep(GRID, market, local()) for market in markets]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda market: run_sweep(GRID, market, LocalEngine(workers=2)), markets))
    for one, other in zip(alone, together, strict=True):
        assert all(one.column(name).tobytes() == other.column(name).tobytes() for name in SUMMARY)
    assert alone[0].column("total_return").tobytes() != alone[1].column("total_return").tobytes()


def test_a_result_can_be_pickled_and_still_gives_returns(small_market: Market):
    result = run_sweep("top_n=1,2", small_market, local())
    again = pickle.loads(pickle.dumps(result))
    assert again.summary(1) == result.summary(1)
    pd.testing.assert_frame_equal(again.returns([1]), result.returns([1]), check_exact=True)


def test_the_best_are_neither_failed_nor_undefined_and_days_are_refused(small_market: Market):
    result = run_sweep("top_n=3..6;min_likes=20,1000000000", small_market, local())
    assert len(result.failures) == 4
    assert sorted(result.best("n_symbols")) == [0, 1, 2, 3]
    assert sorted(result.best("sharpe_ratio")) == [0, 2]
    assert result.best(n=0) == []
    for arguments, message in (
        (("first_date",), "must be by a number"),
        (("sharpe_ratio", -1), "n must be at least 0"),
        (("shrp_ratio",), "did you mean sharpe_ratio"),
    ):
        with pytest.raises(ConfigError, match=message):
            result.best(*arguments)


def test_every_record_is_valid_json_also_of_what_was_refused(small_market: Market):
    given: list[Any] = [{"cost_bps": math.nan}, {"top_n": np.int64(0)}, {"exclude": {1}}, object(), {"top_n": 2}]
    records = list(run_sweep(given, small_market, local()).to_records())
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert records[0]["config"] == {"cost_bps": "nan"}
    assert records[4]["config"]["top_n"] == 2


def test_a_frame_says_which_rows_look_ahead(small_market: Market):
    frame = run_sweep("execution_lag=1,0;top_n=2,5", small_market, local()).to_frame(["total_return"])
    assert list(frame.columns) == ["execution_lag", "top_n", "total_return", "timing", "error"]
    assert list(frame["timing"]) == ["causal", "causal", "LOOK-AHEAD", "LOOK-AHEAD"]
    assert list(frame["execution_lag"]) == [1, 1, 0, 0]


def test_the_work_of_many_rankings_and_of_weekly_optimisers_is_seen(small_market: Market):
    filters = as_grid({"min_likes": range(1000), "min_comments": range(100)})
    assert estimate_seconds(filters, small_market) > 60
    monthly, weekly = (as_grid(f"weighting=min_cvar;rebalance={name}") for name in ("monthly", "weekly"))
    assert estimate_seconds(weekly, small_market) > 3 * estimate_seconds(monthly, small_market)


def test_nothing_to_hold_is_none_and_not_zero(small_market: Market):
    result = run_sweep({"min_likes": [10**9], "top_n": [1, 2]}, small_market, local())
    summary = result.summary(1)
    assert summary["total_return"] is None and summary["first_date"] is None and summary["mean_turnover"] is None
    assert (summary["n_periods"], summary["n_days"], summary["n_symbols"]) == (0, 0, 0)
    assert_row_is_the_study(result, 0, small_market)


def test_the_default_on_the_real_data_is_the_known_one(real_data):
    market = load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz")
    result = run_sweep("top_n=1..20;execution_lag=0,1;cost_bps=0,10;drift=true,false", market, LocalEngine(workers=2))
    row = result.grid.find(StudyConfig())
    assert row is not None
    assert result.summary(row)["total_return"] == pytest.approx(0.038886880, abs=1e-9)
    assert result.summary(row)["sharpe_ratio"] == pytest.approx(0.249704672, abs=1e-9)
    for row in range(0, len(result), 9):
        assert_row_is_the_study(result, row, market)
