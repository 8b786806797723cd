"""load_market: trading days, the benchmark, simulated against real, bounds, and dates that do not meet."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.errors import ConfigError, DataError
from workbench.market.load import is_simulated, load_market
from workbench.market.prices import FileSource, SimulatedSource

COUNTS = ("twitterPosts", "twitterComments", "twitterLikes", "twitterImpressions")


def sentiment(days: list[str], symbol: str = "A") -> pd.DataFrame:
    base = {"date": days, "symbol": symbol, **dict.fromkeys(COUNTS, 100.0), "twitterSentiment": 0.5}
    return pd.DataFrame(base)


def wide(days: list[str], **closes: list[float | None]) -> pd.DataFrame:
    return pd.DataFrame({"date": days, **{symbol: np.array(values, dtype=float) for symbol, values in closes.items()}})


TABLE = sentiment(["2023-01-02", "2023-01-31"])
PRICES = wide(["2023-01-03", "2023-01-04"], QQQ=[1, 2], A=[3, 4])


def refusal(*arguments: Any, kind: type[Exception] = DataError, **keywords: Any) -> str:
    with pytest.raises(kind) as error:
        load_market(*arguments, **keywords)
    text = str(error.value)
    assert len(text.splitlines()) == 1 and text.isprintable()
    return text


def test_a_market_holds_both_tables_and_what_was_lost() -> None:
    table = pd.concat([TABLE, sentiment(["2023-01-05"]).assign(twitterLikes=np.nan)])
    prices = pd.concat([PRICES, wide(["2023-01-31"], QQQ=[1])])
    market = load_market(table, prices, start="2023-01-03", end=dt.date(2023, 2, 1))
    assert (market.benchmark, market.data_kind, market.start, market.end) == ("QQQ", "real", "2023-01-03", "2023-02-01")
    assert [str(day) for day in market.sentiment.days] == ["2023-01-31"]
    assert market.prices.symbols == ("A", "QQQ")
    assert [loss.kind for loss in market.losses] == ["empty_count", "outside_bounds"]
    assert load_market(TABLE, PRICES).start is None


def test_trading_days_are_the_benchmarks_and_prices_on_other_days_are_dropped_and_counted() -> None:
    days = ["2023-01-02", "2023-01-03", "2023-01-04", "2023-01-05", "2023-01-06"]
    prices = wide(days, QQQ=[None, 1, None, 2, None], A=[1, 2, 3, 4, None], B=[None, 1, 1, 1, None])
    market = load_market(TABLE, prices)
    assert [str(day) for day in market.prices.days] == ["2023-01-03", "2023-01-05"]
    assert market.prices.values.tolist() == [[2, 1, 1], [4, 1, 2]]
    (loss,) = market.losses
    assert (loss.kind, loss.count, loss.first, loss.last) == ("off_calendar_price", 3, "2023-01-02", "2023-01-04")
    other = load_market(TABLE, prices, benchmark="A")
    assert len(other.prices.days) == 4 and other.losses == ()


def test_days_on_which_nothing_has_a_price_are_no_loss() -> None:
    market = load_market(TABLE, wide(["2023-01-03", "2023-01-04"], QQQ=[1, None], A=[1, None]))
    assert len(market.prices.days) == 1 and market.losses == ()


def test_prices_without_the_benchmark_name_the_near_ones() -> None:
    prices = wide(["2023-01-03"], QQQM=[1], A=[1])
    assert "got none of QQQ; did you mean QQQM?; name another with --benchmark" in refusal(TABLE, prices)
    assert "got none of SPY; its symbols begin A, QQQM" in refusal(TABLE, prices, benchmark="SPY")
    assert "got only empty cells for B" in refusal(TABLE, prices.assign(B=np.nan), benchmark="B")


def test_simulated_symbols_are_recognised_and_no_others() -> None:
    assert is_simulated(("A", "SIM001")) and is_simulated(("SIMIDX",))
    assert not is_simulated(("SIM", "SIM01", "SIM0001", "SIMO", "sim001", "XSIM001", "SIM001 ", "SIM٠٠١", "SIM001\n"))


SIM_TABLE = sentiment(["2023-01-02"], "SIM001")
SIM_PRICES = wide(["2023-01-03"], SIMIDX=[1], SIM001=[1])


def test_a_simulated_market_says_so_and_has_its_own_benchmark() -> None:
    market = load_market(SIM_TABLE, SIM_PRICES)
    assert (market.data_kind, market.benchmark) == ("simulated", "SIMIDX")
    assert load_market(SIM_TABLE, SIM_PRICES.assign(QQQ=1)).benchmark == "QQQ"
    assert load_market(SIM_TABLE, SIM_PRICES, benchmark="SIM001").benchmark == "SIM001"
    assert "got none of SPY" in refusal(SIM_TABLE, SIM_PRICES, benchmark="SPY")


def test_prices_default_to_the_simulated_ones_for_a_simulated_table_only() -> None:
    market = load_market(SIM_TABLE.assign(date=str(SimulatedSource().load().days[5])))
    assert market.prices.source.name == "simulated" and market.data_kind == "simulated"
    assert "give --prices FILE" in refusal(TABLE)


def test_simulated_and_real_data_mix_only_on_request() -> None:
    for table, prices, words in (
        (SIM_TABLE, PRICES, "simulated sentiment DataFrame with prices DataFrame;"),
        (TABLE, SIM_PRICES, "simulated prices DataFrame with sentiment DataFrame;"),
        (TABLE, "simulated", "simulated prices with sentiment DataFrame;"),
    ):
        message = refusal(table, prices)
        assert f"got {words}" in message and "--allow-mixed-data" in message
    assert load_market(SIM_TABLE, PRICES, allow_mixed=True).data_kind == "mixed"
    mixed = load_market(TABLE, SIM_PRICES, allow_mixed=True)
    assert (mixed.data_kind, mixed.benchmark) == ("mixed", "SIMIDX")
    assert load_market(TABLE, PRICES, allow_mixed=True).data_kind == "real"


def test_a_table_whose_simulated_rows_lie_out_of_bounds_is_simulated_all_the_same() -> None:
    table = pd.concat([SIM_TABLE, sentiment(["2023-02-01"])])
    assert "--allow-mixed-data" in refusal(table, PRICES, start="2023-01-15")


def test_dates_that_do_not_meet_are_refused_with_both_ranges() -> None:
    late = wide(["2023-04-01", "2023-04-03"], QQQ=[1, 1])
    early = wide(["2022-12-30", "2023-01-01"], QQQ=[1, 1])
    for prices, span in ((late, "2023-04-01 to 2023-04-03"), (early, "2022-12-30 to 2023-01-01")):
        message = refusal(TABLE.iloc[:1], prices)
        assert f"got days from {span}" in message and "from 2023-01-02 to 2023-01-02" in message
    load_market(TABLE, wide(["2023-03-31"], QQQ=[1]))  # a quarterly study can trade on it
    load_market(sentiment(["2023-12-01"]), wide(["2023-12-29"], QQQ=[1]))
    assert "got days from 2024-01-02" in refusal(sentiment(["2023-12-01"]), wide(["2024-01-02"], QQQ=[1]))
    load_market(TABLE, wide(["2023-01-02"], QQQ=[1]))
    assert "its dates run from 2023-01-31" in refusal(TABLE, PRICES, start="2023-01-31")
    # A day on which the benchmark has no price does not make the tables meet.
    refusal(TABLE, wide(["2022-12-30", "2023-01-10"], QQQ=[1, None], A=[1, 1]))


def test_wrong_bounds_and_columns_are_config_errors() -> None:
    assert "swap them" in refusal(TABLE, PRICES, start="2023-02-01", end="2023-01-01", kind=ConfigError)
    assert "start must be" in refusal(TABLE, PRICES, start="01/02/2023", kind=ConfigError)
    assert "did you mean likes?" in refusal(TABLE, PRICES, columns={"lykes": "x"}, kind=ConfigError)


def test_files_with_own_column_names_and_any_price_source_are_taken(tmp_path: Path) -> None:
    TABLE.rename(columns={"twitterLikes": "favourites"}).to_csv(tmp_path / "t.csv", index=False)
    PRICES.to_csv(tmp_path / "p.csv", index=False)
    market = load_market(tmp_path / "t.csv", FileSource(tmp_path / "p.csv"), columns={"likes": "favourites"})
    assert market.sentiment.frame["twitterLikes"].tolist() == [100, 100]
    assert market.prices.source.path == str(tmp_path / "p.csv")


def test_the_real_market_loads_without_losses(real_data: Path) -> None:
    market = load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz")
    assert (market.data_kind, market.benchmark, market.losses) == ("real", "QQQ", ())
    assert market.prices.values.shape == (1006, 87)
    assert not np.isnan(market.prices.values[:, market.prices.columns["QQQ"]]).any()
    assert set(market.sentiment.symbols) < set(market.prices.symbols)
