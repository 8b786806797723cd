"""The one call: METHOD's figures on the real data, the frozen result, what it counts."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import StudyConfig, load_market, reproduce_published, run_study
from workbench.errors import ConfigError, DataError
from workbench.evaluate import evaluate_signal
from workbench.market.tables import Market
from workbench.registry import register_signal


@pytest.fixture(scope="module")
def real_market(real_data: Path) -> Market:
    return load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz")


def small_market(**overrides: object) -> Market:
    """Three symbols and a benchmark over two months of business days; prices rise 1 % a day for A, stand still for B and C."""
    days = pd.bdate_range("2024-01-01", "2024-03-15")
    steps = np.arange(len(days))
    wide = pd.DataFrame({"date": days, "A": 100 * 1.01**steps, "B": 50.0, "C": 20.0, "QQQ": 400 * 1.001**steps})
    rows = [
        (day, symbol, 30.0, comments, 100.0, 1000.0, np.nan)
        for day in pd.date_range("2024-01-02", "2024-02-28", freq="7D")
        for symbol, comments in (("A", 60.0), ("B", 40.0), ("C", 20.0))
    ]
    names = "date symbol twitterPosts twitterComments twitterLikes twitterImpressions twitterSentiment".split()
    return load_market(pd.DataFrame(rows, columns=names), wide, **overrides)  # type: ignore[arg-type]


@pytest.mark.real
@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        (
            {"execution_lag": 0, "drift": False, "cost_bps": 0.0},
            {"total_return": 0.112589653, "benchmark_total_return": -0.248130786},
        ),
        ({"execution_lag": 0, "cost_bps": 0.0}, {"total_return": 0.115665343}),
        (
            {},
            {
                "total_return": 0.038886880,
                "benchmark_total_return": -0.241266953,
                "sharpe_ratio": 0.249704672,
                "max_drawdown": -0.296588934,
                "n_days": 312,
                "n_symbols": 34,
                "first_date": "2021-12-02",
                "last_date": "2023-03-01",
            },
        ),
    ],
)
def test_the_real_data_gives_the_figures_of_the_method(real_market: Market, knobs: dict, expected: dict) -> None:
    summary = run_study(StudyConfig(**knobs), real_market).summary
    for name, value in expected.items():
        if isinstance(value, float):
            # The issue gives nine digits, cut off and not rounded.
            assert math.trunc(summary[name] * 1e9) == round(value * 1e9), name
        else:
            assert summary[name] == value, name


@pytest.mark.real
@pytest.mark.parametrize(
    ("knobs", "percent"),
    [
        ({"execution_lag": 0, "drift": False, "cost_bps": 0.0}, 10.92),
        ({"execution_lag": 0, "cost_bps": 0.0}, 11.32),
        ({}, 3.46),
    ],
)
def test_a_selected_symbol_without_prices_gives_its_weight_to_the_others(
    real_data: Path, knobs: dict, percent: float
) -> None:
    prices = pd.read_csv(real_data / "prices.csv.gz", keep_default_na=False, na_values={"adj_close": [""]})
    market = load_market(real_data / "sentiment_data.csv", prices[prices["symbol"] != "MRO"])
    result = run_study(StudyConfig(**knobs), market)
    assert round(100 * result.summary["total_return"], 2) == percent
    unpriced = result.losses[result.losses["kind"] == "no_price_at_trade"]
    assert set(unpriced["symbol"]) == {"MRO"}


@pytest.mark.real
def test_the_published_figures_come_out_to_the_last_digit(real_market: Market) -> None:
    found = reproduce_published(real_market)
    assert round(found["total_portfolio_return"], 8) == 0.00298695
    assert round(found["total_benchmark_return"], 8) == -0.29088282
    assert round(found["excess_return"], 8) == 0.29386978
    assert found["unique_stocks_analyzed"] == 34


@pytest.mark.real
def test_published_figures_are_shown_only_for_the_published_data(real_data: Path, real_market: Market) -> None:
    shown = run_study(StudyConfig(top_n=3), real_market).published
    assert shown is not None
    assert round(100 * shown["published"]["total_portfolio_return"], 2) == 0.30
    assert round(100 * shown["corrected"]["total_portfolio_return"], 2) == 11.26
    cut = load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz", end="2022-12-31")
    assert run_study(StudyConfig(), cut).published is None


@pytest.mark.real
def test_the_real_data_is_recognised_however_its_file_is_written(real_data: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(real_data / "sentiment_data.csv", keep_default_na=False, na_values={"twitterSentiment": [""]})
    shuffled = frame.sample(frac=1.0, random_state=1)
    shuffled["date"] = pd.to_datetime(shuffled["date"])
    shuffled.to_parquet(tmp_path / "other.parquet")
    market = load_market(tmp_path / "other.parquet", real_data / "prices.csv.gz")
    assert run_study(StudyConfig(), market).published is not None


@pytest.mark.real
def test_the_plain_pandas_yardstick_agrees(real_market: Market) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    from plain_pandas import study

    prices = pd.DataFrame(
        real_market.prices.values,
        index=real_market.prices.days.astype("datetime64[us]"),
        columns=list(real_market.prices.symbols),
    )
    ours = run_study(StudyConfig(), real_market).summary
    for name, value in study(real_market.sentiment.frame, prices).items():
        assert ours[name] == pytest.approx(value, abs=1e-10), name


@pytest.mark.real
def test_published_figures_are_not_shown_under_another_benchmark(real_data: Path) -> None:
    market = load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz", benchmark="SPY")
    assert run_study(StudyConfig(), market).published is None


@pytest.mark.real
def test_one_result_cannot_change_the_published_figures_of_the_next(real_market: Market) -> None:
    shown = run_study(StudyConfig(), real_market).published
    assert shown is not None
    shown["published"].clear()
    again = run_study(StudyConfig(), real_market).published
    assert again is not None
    assert again["published"]["unique_stocks_analyzed"] == 34


@pytest.mark.real
def test_corrected_figures_say_which_of_them_look_ahead(real_market: Market) -> None:
    shown = run_study(StudyConfig(), real_market).published
    assert shown is not None
    found = {label: round(100 * v["total_portfolio_return"], 2) for label, v in shown["corrected"]["variants"].items()}
    assert list(found.values()) == [11.26, 10.92, 11.57, 11.32, 3.89, 3.46]
    assert all(("LOOK-AHEAD" in label) == (value > 10) for label, value in found.items())


def test_excluded_symbols_leave_the_evaluation_too() -> None:
    market = load_market()
    everybody = evaluate_signal(StudyConfig(), market)
    some = evaluate_signal(StudyConfig(exclude=market.sentiment.symbols[:60]), market)
    assert (some.n_symbols <= everybody.n_symbols - 40).all()
    assert some.summary.mean != everybody.summary.mean


def test_an_evaluation_whose_periods_all_agree_can_be_shown() -> None:
    assert "Mean rank IC" in repr(evaluate_signal(StudyConfig(top_n=2), small_market()))


def test_signal_values_too_large_to_add_are_no_values() -> None:
    market = small_market()
    register_signal("huge_test", lambda table: table["twitterComments"] * 0 + 1.7e308, "1")
    result = run_study(StudyConfig(signal="huge_test", weighting="signal", top_n=2), market)
    # The rows of a month cannot be added: the symbols have no value, and the month says that none qualifies.
    assert "no_selection" in set(result.losses["kind"])
    assert result.weights == {}


def test_a_plugin_that_cannot_be_imported_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_plugin_test.py").write_text("def broken(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WORKBENCH_PLUGINS", "broken_plugin_test")
    with pytest.raises(ConfigError, match="broken_plugin_test"):
        run_study(StudyConfig(top_n=2), small_market())


def test_a_pending_selection_names_the_symbols_without_a_price_so_far() -> None:
    market = small_market()
    days = market.prices.days <= np.datetime64("2024-02-20")
    wide = pd.DataFrame(market.prices.values[days], columns=list(market.prices.symbols)).drop(columns="A")
    wide.insert(0, "date", market.prices.days[days].astype("datetime64[us]"))
    result = run_study(StudyConfig(top_n=2), load_market(market.sentiment.frame, wide))
    assert [item["period"] for item in result.pending] == ["2024-02"]
    assert result.pending[0]["trade_date"] is None
    unpriced = result.losses[result.losses["kind"] == "pending_without_price"]
    assert unpriced["symbol"].tolist() == ["A"]


def test_json_object_holds_plain_values_only() -> None:
    result = run_study(StudyConfig(top_n=2), small_market())
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert set(json.loads(text)) == {
        "config",
        "summary",
        "selection",
        "weights",
        "pending",
        "losses",
        "published",
        "provenance",
    }


def test_a_result_shows_itself_without_addresses() -> None:
    result = run_study(StudyConfig(top_n=2), small_market())
    assert "0x" not in repr(result) + result._repr_html_()
    assert "total_return" in repr(result)
    assert result.to_frame().loc[result.config.config_id, "top_n"] == 2


def test_two_runs_are_equal_to_the_last_bit() -> None:
    market = small_market()
    first, second = (run_study(StudyConfig(top_n=2), market) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert first.returns.equals(second.returns)


def test_top_n_above_the_universe_names_the_bound() -> None:
    with pytest.raises(ConfigError, match=r"top_n must be between 1 and 3 \(symbols in the table\), got 4"):
        run_study(StudyConfig(top_n=4), small_market())


def test_a_signal_whose_column_is_absent_is_refused_by_name() -> None:
    market = small_market()
    frame = market.sentiment.frame.drop(columns="twitterSentiment")
    wide = pd.DataFrame(market.prices.values, columns=list(market.prices.symbols))
    wide.insert(0, "date", market.prices.days.astype("datetime64[us]"))
    without = load_market(frame, wide, columns={"symbol": "symbol"})
    with pytest.raises(DataError, match="twitterSentiment"):
        run_study(StudyConfig(signal="twitter_sentiment", top_n=2), without)


def test_a_signal_of_ones_own_ranks_and_its_version_changes_the_id() -> None:
    register_signal("few_comments_test", lambda table: -table["twitterComments"], "1")
    config = StudyConfig(signal="few_comments_test", top_n=1)
    before = config.config_id
    assert set(map(tuple, run_study(config, small_market()).selection.values())) == {("C",)}
    register_signal("few_comments_test", lambda table: -table["twitterComments"], "2")
    assert config.config_id != before


def test_a_signal_that_fails_is_one_line_and_not_a_traceback() -> None:
    register_signal("broken_test", lambda table: table["no such column"], "1")
    with pytest.raises(ConfigError, match="broken_test"):
        run_study(StudyConfig(signal="broken_test", top_n=2), small_market())


def test_look_ahead_is_said_on_every_form_of_the_output() -> None:
    result = run_study(StudyConfig(execution_lag=0, top_n=2), small_market())
    assert "LOOK-AHEAD" in repr(result)
    assert "LOOK-AHEAD" in result._repr_html_()
    assert "LOOK-AHEAD" in json.dumps(result.to_dict())
    assert set(result.trades["timing"]) == {"LOOK-AHEAD"}


def test_an_excluded_name_that_the_table_lacks_is_counted() -> None:
    result = run_study(StudyConfig(exclude="A,AA", top_n=2), small_market())
    kinds = result.losses.set_index("kind")["symbol"]
    assert kinds["excluded"] == "A"
    assert kinds["exclude_unknown"] == "AA"
    assert all("A" not in chosen for chosen in result.selection.values())


def test_a_study_in_which_nothing_qualifies_is_empty_and_says_so() -> None:
    result = run_study(StudyConfig(min_likes=10_000, top_n=2), small_market())
    assert result.summary["n_periods"] == 0
    assert result.summary["total_return"] is None
    assert "no_selection" in set(result.losses["kind"])
    assert result.weights == {}
