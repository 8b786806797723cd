"""The simulator: the same bytes everywhere, realistic tables, and a planted coefficient that is found again."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from workbench.config import StudyConfig
from workbench.core.evaluation import mean_ic
from workbench.errors import ConfigError
from workbench.evaluate import SignalEvaluation, evaluate_signal
from workbench.market import simulate
from workbench.market.load import load_market
from workbench.market.simulate import (
    SHIPPED_SEED,
    SimulatedMarket,
    expected_rank_correlation,
    main,
    simulate_market,
    write_market,
)
from workbench.plan import plan, rank

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "sentiment_data.csv"
PRICES = ROOT / "workbench" / "_data" / "simulated_prices.parquet"
REAL_COLUMNS = [
    "date",
    "symbol",
    "twitterPosts",
    "twitterComments",
    "twitterLikes",
    "twitterImpressions",
    "twitterSentiment",
]
COUNTS = REAL_COLUMNS[2:6]
SEEDS = 200 if os.environ.get("WORKBENCH_FULL") else 40
SMALL = {"n_symbols": 12, "months": 6}


@cache
def default_market(seed: int = SHIPPED_SEED) -> SimulatedMarket:
    return simulate_market(seed)


def measured(simulated: SimulatedMarket, **knobs: object) -> SignalEvaluation:
    return evaluate_signal(StudyConfig(**knobs), load_market(simulated.sentiment, simulated.prices))


def daily_returns(simulated: SimulatedMarket) -> pd.DataFrame:
    return simulated.prices.set_index("date").pct_change(fill_method=None)


# ---- the same bytes ----


def test_the_same_seed_writes_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    write_market(simulate_market(7, **SMALL), tmp_path / "here.csv", tmp_path / "here.parquet")
    code = (
        "import sys; from workbench.market.simulate import simulate_market, write_market;"
        "write_market(simulate_market(7, n_symbols=12, months=6), sys.argv[1], sys.argv[2])"
    )
    there = [tmp_path / "there.csv", tmp_path / "there.parquet"]
    # Another hash seed: no order of a set or a dict of objects may reach the tables.
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code, *map(str, there)], cwd=ROOT, env=environment, check=True)
    assert there[0].read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert there[1].read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_the_shipped_files_are_what_the_command_writes(tmp_path: Path) -> None:
    table, prices = tmp_path / "table.csv", tmp_path / "prices.parquet"
    assert main(["--sentiment", str(table), "--prices", str(prices)]) == 0
    assert table.read_bytes() == TABLE.read_bytes()
    if pq.read_metadata(prices).created_by == pq.read_metadata(PRICES).created_by:
        assert prices.read_bytes() == PRICES.read_bytes()
    else:  # pyarrow signs the file with its version; the numbers are the same all the same
        pd.testing.assert_frame_equal(pd.read_parquet(prices), pd.read_parquet(PRICES), check_exact=True)


def test_another_seed_gives_another_market() -> None:
    one, other = simulate_market(1, **SMALL), simulate_market(2, **SMALL)
    assert not one.sentiment.equals(other.sentiment)
    assert not one.prices.equals(other.prices)


def test_the_files_read_back_as_the_frames_that_were_written(tmp_path: Path) -> None:
    simulated = simulate_market(3, **SMALL)
    write_market(simulated, tmp_path / "t.csv", tmp_path / "p.parquet")
    from_files = load_market(tmp_path / "t.csv", tmp_path / "p.parquet")
    from_frames = load_market(simulated.sentiment, simulated.prices)
    pd.testing.assert_frame_equal(from_files.sentiment.frame, from_frames.sentiment.frame, check_exact=True)
    np.testing.assert_array_equal(from_files.prices.values, from_frames.prices.values)
    np.testing.assert_array_equal(from_files.prices.days, from_frames.prices.days)


# ---- form and size ----


def test_the_shipped_table_has_the_columns_and_number_formats_of_the_real_one() -> None:
    lines = TABLE.read_text(encoding="ascii").splitlines()
    assert lines[0].split(",") == REAL_COLUMNS
    for line in lines[1:2000] + lines[-2000:]:
        day, symbol, *counts, sentiment = line.split(",")
        assert str(np.datetime64(day, "D")) == day
        assert symbol.startswith("SIM")
        assert all(count.endswith(".0") for count in counts)
        assert sentiment == "" or 0 <= float(sentiment) <= 1


def test_the_shipped_files_have_the_promised_size() -> None:
    table = pd.read_csv(TABLE)
    assert table["symbol"].nunique() == 85
    assert table["date"].str[:7].nunique() >= 36
    assert TABLE.stat().st_size < 6_000_000
    assert PRICES.stat().st_size < 1_000_000


def test_shipped_prices_reach_eight_months_back_and_are_labelled_as_simulated() -> None:
    table, prices = pd.read_csv(TABLE, parse_dates=["date"]), pd.read_parquet(PRICES)
    assert list(prices.columns) == ["date", *(f"SIM{number:03d}" for number in range(1, 86)), "SIMIDX"]
    assert (prices["date"] < table["date"].min()).sum() > 8 * 20
    assert prices["SIMIDX"].notna().all()
    assert load_market(TABLE, PRICES).data_kind == "simulated"


def test_exactly_the_last_shipped_selection_is_pending() -> None:
    market, config = load_market(TABLE, PRICES), StudyConfig()
    targets = plan(config, market, rank(config, market))
    assert [target.slot.status for target in targets] == ["executed"] * 35 + ["pending"]
    assert targets[-1].label == "2023-12"


def test_frames_are_sorted_unique_and_whole() -> None:
    simulated = default_market()
    table = simulated.sentiment
    assert list(table.columns) == REAL_COLUMNS
    assert not table.duplicated(["date", "symbol"]).any()
    assert table.equals(table.sort_values(["date", "symbol"], ignore_index=True))
    assert (table[COUNTS] % 1 == 0).all(axis=None)
    assert (table[COUNTS] >= 0).all(axis=None)
    assert table["twitterSentiment"].dropna().between(0, 1).all()
    assert simulated.prices["date"].is_monotonic_increasing
    assert (simulated.prices.drop(columns="date").min() > 0).all()


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_symbols": 1, "months": 1},
        {"n_symbols": 2, "months": 3, "history_months": 0},
        {"n_symbols": 3, "months": 14, "start": "2022-03-17"},
        {"n_symbols": 300, "months": 2, "price_days_after": 70},
        {"n_symbols": 4, "months": 1, "start": "2021-01-31", "history_months": 0},
    ],
)
def test_any_size_gives_a_market_that_loads(sizes: dict[str, object]) -> None:
    for seed in range(3):
        simulated = simulate_market(seed, **sizes)
        market = load_market(simulated.sentiment, simulated.prices)
        truth = simulated.truth.periods
        assert len(market.prices.symbols) == sizes["n_symbols"] + 1
        assert truth["coefficient"].isna().equals(truth["n_symbols"] < 3)
        assert (truth["entry"] < truth["exit"]).all()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_symbols", 0),
        ("n_symbols", 1000),
        ("n_symbols", 8.5),
        ("months", 0),
        ("seed", -1),
        ("history_months", -1),
        ("price_days_after", -1),
        ("information_coefficient", 1.01),
        ("information_coefficient", math.nan),
        ("start", "today"),
        ("start", "2021-02-30"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_line(argument: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{argument} must be .*, got {value!r}$"):
        simulate_market(**({"seed": 1} | {argument: value}))


def test_the_command_refuses_bad_input_with_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--months", "0"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == "months must be a whole number between 1 and 1200, got 0\n"


# ---- realism: bands around what the real table and a real market look like ----


def test_index_drifts_and_varies_like_a_stock_market() -> None:
    returns = pd.concat([daily_returns(default_market(seed))["SIMIDX"] for seed in range(12)], ignore_index=True)
    assert 0.03 < returns.mean() * 252 < 0.15  # 12 x 4 years at 17 % a year: one standard error is 2.5 %
    assert 0.15 < returns.std() * math.sqrt(252) < 0.21
    assert returns.kurt() > 1


def test_symbols_vary_30_to_45_percent_a_year_with_heavy_tails_and_a_common_factor() -> None:
    returns = daily_returns(default_market()).drop(columns="SIMIDX")
    volatility = returns.std() * math.sqrt(252)
    assert 0.28 < volatility.median() < 0.40
    assert volatility.between(0.28, 0.47).mean() > 0.5
    assert returns.kurt().median() > 1.5
    correlation = returns.corr(min_periods=100).to_numpy()
    assert 0.12 < np.nanmean(correlation[np.triu_indices(85, 1)]) < 0.45
    assert returns.abs().max(axis=None) < 1


def test_volatility_comes_in_clusters() -> None:
    values = []
    for seed in range(12):
        index = daily_returns(default_market(seed))["SIMIDX"].dropna()
        values.append(index.abs().rolling(5).mean().autocorr(5))
    assert np.mean(values) > 0.1


def test_some_symbols_list_late_some_end_early_and_a_few_lack_single_days() -> None:
    prices = default_market().prices.drop(columns=["date", "SIMIDX"])
    late, early = prices.iloc[0].isna(), prices.iloc[-1].isna()
    inner = prices.apply(lambda column: column.loc[column.first_valid_index() : column.last_valid_index()].isna().sum())
    assert 1 <= late.sum() <= 17
    assert 1 <= early.sum() <= 17
    assert 1 <= (inner > 0).sum() <= 20
    assert inner.max() <= 3


def test_the_index_is_a_weighted_mean_of_the_listed_symbols() -> None:
    returns = daily_returns(default_market()).iloc[1:]
    symbols = returns.drop(columns="SIMIDX")
    assert (returns["SIMIDX"] <= symbols.max(axis=1)).all()
    assert (returns["SIMIDX"] >= symbols.min(axis=1)).all()
    assert returns["SIMIDX"].corr(symbols.mean(axis=1)) > 0.9


def test_engagement_is_heavy_tailed_growing_and_quiet_at_weekends() -> None:
    table = default_market().sentiment
    months = table.groupby(table["date"].dt.year).size()
    assert (months.diff().dropna() > 0).all()
    by_symbol = table.groupby("symbol")[COUNTS].median()
    for count, factor in zip(COUNTS, (10, 100, 100, 10), strict=True):
        assert by_symbol[count].quantile(0.95) > factor * by_symbol[count].quantile(0.05), count
    weekend = table["date"].dt.day_of_week >= 5
    weekday_posts = table.loc[~weekend, "twitterPosts"].mean()
    assert 0.5 < table.loc[weekend, "twitterPosts"].mean() / weekday_posts < 0.85
    assert 0.2 < weekend.mean() < 2 / 7
    assert table["twitterPosts"].min() == 21  # quieter days have no row, as in the real table
    rows = table.groupby("symbol").size() / table["date"].nunique()
    assert rows.min() < 0.4
    assert rows.max() == 1


def test_sentiment_is_missing_in_about_15_percent_of_the_rows_and_only_at_first() -> None:
    table = default_market().sentiment
    missing = table["twitterSentiment"].isna()
    assert 0.12 < missing.mean() < 0.18
    assert table.loc[missing, "date"].max() < table.loc[~missing, "date"].min()
    assert 0.5 < table["twitterSentiment"].mean() < 0.6


def test_the_ratio_persists_per_symbol_and_moves() -> None:
    simulated = default_market()
    market = load_market(simulated.sentiment, simulated.prices)
    values = pd.DataFrame(rank(StudyConfig(), market).panel.values)
    month, half_year = (
        np.mean([values.iloc[k].corr(values.iloc[k + lag], method="spearman") for k in range(36 - lag)])
        for lag in (1, 6)
    )
    assert 0.5 < month < 0.8  # 0.62 in the real table
    assert 0.35 < half_year < month  # 0.48
    assert 0.15 < np.nanmedian(values) < 0.35  # 0.25


@pytest.mark.real
def test_the_table_resembles_the_real_one(real_data: Path) -> None:
    def describe(table: pd.DataFrame) -> pd.Series:
        kept = table[(table["twitterLikes"] > 20) & (table["twitterComments"] > 10)]
        ratio = np.log(kept["twitterComments"] / kept["twitterLikes"])
        facts = {"kept": len(kept) / len(table), "ratio": math.exp(ratio.median())}
        facts |= {"ratio within": ratio.groupby(kept["symbol"]).std().mean()}
        facts |= {"ratio between": ratio.groupby(kept["symbol"]).mean().std()}
        facts |= {"rows a day": len(table) / table["date"].nunique() / table["symbol"].nunique()}
        for count in COUNTS:
            logs = np.log1p(table[count]).groupby(table["symbol"])
            facts |= {f"{count} between": logs.mean().std(), f"{count} within": logs.std().mean()}
        return pd.Series(facts)

    real = describe(pd.read_csv(real_data / "sentiment_data.csv", keep_default_na=False, na_values=[""]))
    quotient = describe(default_market().sentiment) / real
    assert quotient.between(0.75, 1.3).all(), quotient


# ---- the planted link ----


def test_the_planted_signal_is_the_one_that_the_study_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = []
    plant = simulate._plant

    def spy(rng: np.random.Generator, logs: np.ndarray, signal: np.ndarray, *rest: object) -> object:
        planted.append(signal)
        return plant(rng, logs, signal, *rest)

    monkeypatch.setattr(simulate, "_plant", spy)
    simulated = simulate_market(SHIPPED_SEED)
    market = load_market(simulated.sentiment, simulated.prices)
    np.testing.assert_array_equal(planted[0], rank(StudyConfig(), market).panel.values[:-1])  # to the last bit
    evaluation = measured(simulated)
    truth = simulated.truth
    assert evaluation.periods == truth.periods["period"].tolist()
    assert evaluation.n_symbols.tolist() == truth.periods["n_symbols"].tolist()
    assert (truth.signal, truth.min_likes, truth.min_comments, truth.execution_lag) == (
        StudyConfig().signal,
        StudyConfig().min_likes,
        StudyConfig().min_comments,
        StudyConfig().execution_lag,
    )


def test_a_coefficient_of_one_orders_the_returns_exactly_as_the_study_orders_the_signal() -> None:
    # Only if signal, universe, entry, exit and lag all agree with the study's can every period come out at 1.
    for sizes in ({}, {"start": "2022-03-17", "price_days_after": 20}):
        simulated = simulate_market(5, n_symbols=40, months=9, information_coefficient=1.0, **sizes)
        evaluation = measured(simulated)
        assert evaluation.periods == simulated.truth.periods["period"].tolist()
        assert evaluation.ic == pytest.approx(1, abs=1e-3)  # prices are rounded
        assert measured(simulated, execution_lag=5).summary.mean < 0.999
    reversed_ = simulate_market(5, n_symbols=40, months=9, information_coefficient=-1.0)
    assert measured(reversed_).ic == pytest.approx(-1, abs=1e-3)


def test_the_coefficient_changes_no_row_of_the_table_and_no_price_before_the_first_trade() -> None:
    null, planted = simulate_market(3, information_coefficient=0.0), simulate_market(3, information_coefficient=0.2)
    pd.testing.assert_frame_equal(null.sentiment, planted.sentiment, check_exact=True)
    before = null.prices["date"] <= null.truth.periods["entry"].iloc[0]
    pd.testing.assert_frame_equal(null.prices[before], planted.prices[before], check_exact=True)
    assert not null.prices[~before].equals(planted.prices[~before])
    assert (null.truth.periods["rho"] == 0).all()


def test_planting_deals_the_returns_of_a_period_again_and_invents_none() -> None:
    null, planted = simulate_market(4, information_coefficient=0.0), simulate_market(4, information_coefficient=0.3)
    table = load_market(null.sentiment, null.prices)
    values = rank(StudyConfig(), table).panel.values
    entry, exit_ = null.truth.periods[["entry", "exit"]].iloc[0]
    pools = []
    for simulated in (null, planted):
        prices = simulated.prices.set_index("date")[list(table.sentiment.symbols)]
        held = prices.loc[entry].notna().to_numpy() & ~np.isnan(values[0])
        pools.append(np.sort((prices.ffill().loc[exit_] / prices.loc[entry] - 1)[held]))
    assert pools[0] == pytest.approx(pools[1], abs=2e-5)


@pytest.mark.parametrize(("rho", "n"), [(0.5, 10), (0.05, 85), (-0.3, 30)])
def test_morans_formula_is_the_expected_rank_correlation(rho: float, n: int) -> None:
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 40_000, n))
    ranks = [
        values.argsort(axis=1).argsort(axis=1) - (n - 1) / 2 for values in (x, rho * x + math.sqrt(1 - rho**2) * noise)
    ]
    sample = (ranks[0] * ranks[1]).sum(axis=1) / (ranks[0] ** 2).sum(axis=1)
    assert sample.mean() == pytest.approx(expected_rank_correlation(rho, n), abs=4 * sample.std() / 200)


@pytest.mark.parametrize("coefficient", [0.05, 0.0])
def test_the_interval_of_the_measured_coefficient_covers_the_planted_one(coefficient: float) -> None:
    summaries = [measured(simulate_market(seed, information_coefficient=coefficient)).summary for seed in range(SEEDS)]
    covered = sum(summary.low <= coefficient <= summary.high for summary in summaries)
    assert 0.90 * SEEDS <= covered <= 0.99 * SEEDS, covered
    means = np.array([summary.mean for summary in summaries])
    assert means.mean() == pytest.approx(coefficient, abs=3 * means.std(ddof=1) / math.sqrt(SEEDS))


@pytest.mark.parametrize(("coefficient", "n_symbols"), [(0.3, 10), (-0.4, 40), (0.6, 25)])
def test_strong_coefficients_and_small_universes_are_planted_without_bias(coefficient: float, n_symbols: int) -> None:
    sizes = {"n_symbols": n_symbols, "months": 12, "history_months": 1}
    ics = [
        measured(simulate_market(seed, information_coefficient=coefficient, **sizes)).ic for seed in range(SEEDS // 2)
    ]
    summary = mean_ic(np.concatenate(ics), confidence=0.999)
    assert summary.low <= coefficient <= summary.high


def test_no_second_signal_is_planted() -> None:
    means = [
        measured(simulate_market(seed, months=18, information_coefficient=0.3), signal="twitter_sentiment").summary.mean
        for seed in range(SEEDS // 2)
    ]
    assert np.mean(means) == pytest.approx(0, abs=3 * np.std(means, ddof=1) / math.sqrt(len(means)))
