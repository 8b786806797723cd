"""Bars from Yahoo: real yfinance against a local fake of Yahoo's servers, every failure with its typed result."""

from __future__ import annotations

import _thread
import datetime as dt
import functools
import json
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from fake_yahoo import FakeYahoo, made_up_bars, most_within, real_bars, running_fake

from workbench.errors import ConfigError, UnavailableError
from workbench.market import yahoo_history
from workbench.market.budget import RequestBudget, RequestCancelled
from workbench.market.yahoo import (
    Fetched,
    Patience,
    download_prices,
    download_symbol,
    iter_prices,
    yahoo_symbol,
)
from workbench.market.yahoo_bars import COLUMNS, first_unfinished_day, no_bars

START, END = "2022-01-01", "2022-12-31"
QUICK = Patience(timeout_seconds=0.4, tries=2, limited_tries=3, backoff_seconds=0.02)
PRICES = ["open", "high", "low", "close", "adj_close", "volume"]


@pytest.fixture
def yahoo(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeYahoo]:
    """Return a fake with symbols AAA to EEE, which all requests for Yahoo go to."""
    with running_fake() as fake:
        fake.add(made_up_bars(["AAA", "BBB", "CCC", "DDD", "EEE"]))
        monkeypatch.setenv("WORKBENCH_YAHOO_URL", fake.url)
        yield fake


@pytest.fixture
def download(tmp_path: Path) -> Any:
    """Return download_prices with a budget that does not slow a test down, and little patience."""
    return functools.partial(download_prices, budget=RequestBudget(tmp_path / "budget", 900), patience=QUICK)


def one(download: Any, symbol: str = "AAA", start: str = START, end: str = END, **options: Any) -> Fetched:
    (result,) = download([symbol], start, end, **options)
    assert result.symbol == symbol and list(result.bars.columns) == ["date", *COLUMNS]
    assert (result.status == "ok") == (not result.bars.empty) == (result.reason == "")
    assert len(result.reason.splitlines()) <= 1
    return result


def same_bars(result: Fetched, served: pd.DataFrame) -> None:
    assert result.status == "ok", result
    assert result.bars["date"].tolist() == list(served.index)
    np.testing.assert_allclose(result.bars[PRICES].to_numpy(), served[PRICES].to_numpy(), rtol=1e-10, atol=0)


# ---- bars ----


def test_bars_are_those_that_were_served(yahoo: FakeYahoo, download: Any) -> None:
    result = one(download)
    same_bars(result, yahoo.served("AAA", START, END))
    assert (result.currency, result.exchange, result.timezone) == ("USD", "NMS", "America/New_York")
    assert result.bars.dtypes.astype(str).tolist() == ["datetime64[us]", *["float64"] * 8]
    assert (result.bars[["dividends", "splits"]] == 0).all(axis=None)
    assert result.bars.dtypes.equals(no_bars().dtypes)


@pytest.mark.real
def test_all_real_bars_arrive_to_1e_10(yahoo: FakeYahoo, download: Any, real_data: Path) -> None:
    yahoo.add(real_bars(real_data))
    symbols = [symbol for symbol in yahoo.symbols() if symbol not in ("AAA", "BBB", "CCC", "DDD", "EEE")]
    results = download(symbols, "2020-01-01", "2023-12-31", patience=Patience())
    assert len(results) == 87
    for result in results:
        same_bars(result, yahoo.served(result.symbol, "2020-01-01", "2023-12-31"))
    assert yahoo.chart_requests() == dict.fromkeys(symbols, 1)


def test_the_range_includes_both_ends_and_nothing_else(yahoo: FakeYahoo, download: Any) -> None:
    assert one(download, start="2022-01-05", end="2022-01-11").bars["date"].dt.day.tolist() == [5, 6, 7, 10, 11]
    assert one(download, start=dt.date(2022, 1, 5), end=dt.date(2022, 1, 5)).bars["date"].dt.day.tolist() == [5]  # type: ignore[arg-type]
    outside = one(download, start="1950-01-01", end="1960-01-01")
    assert outside.status == "missing"
    assert outside.reason == "Yahoo has no finished bar from 1950-01-01 to 1960-01-01"


@pytest.mark.parametrize(
    ("zone", "opens"),
    [
        ("America/New_York", "09:30"),
        ("Europe/London", "08:00"),
        ("Asia/Tokyo", "09:00"),
        ("Australia/Sydney", "10:00"),
        ("Pacific/Auckland", "10:00"),
        ("Pacific/Kiritimati", "00:30"),
        ("Pacific/Pago_Pago", "20:00"),
        ("America/Sao_Paulo", "00:00"),
        ("UTC", "00:00"),
    ],
)
@pytest.mark.parametrize("start", ["2021-03-08", "2021-10-25"])  # the clocks change at the weekends within
def test_dates_are_the_exchanges_calendar_days_in_any_time_zone(
    yahoo: FakeYahoo, download: Any, zone: str, opens: str, start: str
) -> None:
    days = pd.date_range(start, periods=30)  # weekends too, as some trade on them
    bars = made_up_bars(["X"], days=30).assign(date=days)
    yahoo.add(bars, timezone=zone, opens=dt.time.fromisoformat(opens))
    same_bars(one(download, "X", str(days[0].date()), str(days[-1].date())), yahoo.served("X", start, "2022"))
    inner = one(download, "X", str(days[7].date()), str(days[21].date()))
    assert inner.bars["date"].tolist() == list(days[7:22]) and inner.timezone == zone


def test_a_symbol_that_moves_to_another_time_zone_keeps_its_days(yahoo: FakeYahoo, download: Any) -> None:
    before = one(download)
    yahoo.listing("AAA").timezone, yahoo.listing("AAA").opens = "Europe/London", dt.time(14, 30)
    after = one(download)
    assert (before.timezone, after.timezone) == ("America/New_York", "Europe/London")
    pd.testing.assert_frame_equal(before.bars, after.bars)


def test_a_dividend_and_a_split_arrive_on_their_days_and_change_the_past(yahoo: FakeYahoo, download: Any) -> None:
    before = one(download).bars.set_index("date")
    yahoo.pay_dividend("AAA", "2022-02-01", 0.5)
    yahoo.split("AAA", "2022-02-10", 4.0)
    result = one(download)
    same_bars(result, yahoo.served("AAA", START, END))
    after = result.bars.set_index("date")
    assert after["dividends"][after["dividends"] != 0].to_dict() == {pd.Timestamp("2022-02-01"): 0.5}
    assert after["splits"][after["splits"] != 0].to_dict() == {pd.Timestamp("2022-02-10"): 4.0}
    assert after["close"].iloc[0] == pytest.approx(before["close"].iloc[0] / 4, rel=1e-12)
    assert after["adj_close"].iloc[0] < before["adj_close"].iloc[0] / 4
    assert after["adj_close"].iloc[-1] == before["adj_close"].iloc[-1]
    assert yahoo.chart_requests() == {"AAA": 2}, "yfinance must not answer from its memory"


def test_an_added_day_arrives(yahoo: FakeYahoo, download: Any) -> None:
    count = len(one(download).bars)
    yahoo.add_day("AAA", "2022-06-01", close=77.0)
    assert one(download).bars["close"].tolist()[count:] == [77.0]


# ---- rows that are no bars ----


def test_a_day_without_a_close_is_no_bar_and_is_counted(yahoo: FakeYahoo, download: Any) -> None:
    bars = yahoo.listing("AAA").bars
    bars.iloc[3, :] = np.nan
    bars.loc[bars.index[9], "close"] = np.nan
    result = one(download)
    same_bars(result, yahoo.served("AAA", START, END).dropna(subset="close"))
    (note,) = result.notes
    assert (note.kind, note.count, note.first, note.last) == ("no_close", 2, "2022-01-06", "2022-01-14")
    assert result.notes == pickle.loads(pickle.dumps(result)).notes


def test_a_dividend_on_a_day_without_a_bar_is_counted(yahoo: FakeYahoo, download: Any) -> None:
    yahoo.listing("AAA").bars.iloc[5, :] = np.nan
    yahoo.listing("AAA").dividends[pd.Timestamp("2022-01-10")] = 1.0
    notes = one(download).notes
    assert [(note.kind, note.count, note.first) for note in notes] == [("event_without_bar", 1, "2022-01-10")]


def test_garbage_values_arrive_as_they_are(yahoo: FakeYahoo, download: Any) -> None:
    bars = yahoo.listing("AAA").bars
    bars.loc[bars.index[2], ["open", "close", "adj_close"]] = -5.0
    bars.loc[bars.index[3], "close"] = 0.0
    bars.loc[bars.index[4], ["open", "adj_close", "volume"]] = np.nan
    bars.loc[bars.index[5], "adj_close"] = math.inf
    result = one(download).bars
    assert result["close"][2] == -5 and result["close"][3] == 0 and result["adj_close"][5] == math.inf
    assert math.isnan(result["open"][4]) and math.isnan(result["adj_close"][4]) and result["volume"][4] == 0


@pytest.mark.parametrize("column", ["volume", "close"])
def test_text_for_a_number_is_an_error_of_that_symbol_only(
    yahoo: FakeYahoo, download: Any, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    body = yahoo._body

    def spoiled(symbol: str, *rest: Any) -> str:
        return (
            body(symbol, *rest).replace(f'"{column}": [', f'"{column}": ["abc", ')
            if symbol == "BBB"
            else body(symbol, *rest)
        )

    monkeypatch.setattr(yahoo, "_body", spoiled)
    good, bad = download(["AAA", "BBB"], START, END)
    assert (good.status, bad.status) == ("ok", "error") and bad.reason.startswith("the answer cannot be read: ")


def test_metadata_that_is_absent_or_null_never_crashes(
    yahoo: FakeYahoo, download: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = yahoo._body

    def spoiled(change: Any, *arguments: Any) -> str:
        answer = json.loads(body(*arguments))
        change(answer["chart"]["result"][0]["meta"])
        return json.dumps(answer)

    def status(change: Any) -> str:
        monkeypatch.setattr(yahoo, "_body", functools.partial(spoiled, change))
        return one(download).status

    keys = ("currency", "symbol", "exchangeName", "exchangeTimezoneName", "currentTradingPeriod", "firstTradeDate")
    absent = {key: status(lambda meta, key=key: meta.pop(key)) for key in keys}
    needed = {"currency", "exchangeTimezoneName"}  # by yfinance
    assert absent == {key: "error" if key in needed else "ok" for key in keys}
    null = {key: status(lambda meta, key=key: meta.update({key: None})) for key in keys}
    assert set(null.values()) <= {"ok", "error"} and null["symbol"] == "ok"
    assert status(lambda meta: meta.update(exchangeTimezoneName="Nowhere/City")) == "error"
    assert status(lambda meta: meta.clear()) == "error"


# ---- the session that is not over ----


def moment(text: str, zone: str = "America/New_York") -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2022-03-25 08:00", "2022-03-24"),  # Friday, before the session
        ("2022-03-26 12:00", "2022-03-25"),
        ("2022-03-28 09:20", "2022-03-25"),
        ("2022-03-28 12:00", "2022-03-25"),
        ("2022-03-28 16:05", "2022-03-25"),  # prices lag
        ("2022-03-28 16:16", "2022-03-28"),
        ("2022-03-28 23:59", "2022-03-28"),
        ("2022-03-29 01:00", "2022-03-28"),
    ],
)
def test_the_bar_of_a_session_that_is_not_over_is_left_out(
    yahoo: FakeYahoo, download: Any, now: str, last: str
) -> None:
    yahoo.now = moment(now)
    bars = made_up_bars(["X"], start="2022-03-01", days=20)  # to Monday the 28th
    yahoo.add(bars[bars["date"] <= now[:10]])
    result = one(download, "X", clock=moment(now).timestamp)
    assert str(result.bars["date"].iloc[-1].date()) == last
    running = bars["date"].between(last, now[:10], inclusive="right").any()
    assert [note.kind for note in result.notes] == (["unfinished_session"] if running else [])


def test_an_exchange_that_is_a_day_ahead_is_judged_by_its_own_clock(yahoo: FakeYahoo, download: Any) -> None:
    bars = made_up_bars(["T"], start="2022-03-01", days=20)  # to Monday the 28th
    yahoo.add(bars, timezone="Asia/Tokyo", opens=dt.time(9), closes=dt.time(15))
    for now, last in (("2022-03-27 23:00", 25), ("2022-03-28 01:00", 25), ("2022-03-28 02:30", 28)):
        yahoo.now = moment(now)  # 12:00, 14:00 and 15:30 in Tokyo, where it is the 28th
        assert one(download, "T", clock=yahoo.now.timestamp).bars["date"].iloc[-1].day == last


def test_only_an_unfinished_bar_is_no_bar_yet(yahoo: FakeYahoo, download: Any) -> None:
    yahoo.now = moment("2022-03-25 12:00")
    result = one(download, start="2022-03-25", end="2022-03-25", clock=yahoo.now.timestamp)
    assert result.status == "missing" and "the session is not over" in result.reason


@pytest.mark.parametrize(
    ("session", "now", "day"),
    [
        (("2022-11-25 09:30", "2022-11-25 13:00"), "2022-11-25 13:20", "2022-11-26"),  # a half day
        (("2022-11-25 09:30", "2022-11-25 13:00"), "2022-11-25 13:00", "2022-11-25"),
        (("2022-11-25 09:30", "2022-11-25 16:00"), "2022-11-27 12:00", "2022-11-27"),  # a weekend
        (("2022-11-28 09:30", "2022-11-28 16:00"), "2022-11-27 12:00", "2022-11-28"),
        (("2022-11-24 18:00", "2022-11-25 17:00"), "2022-11-25 12:00", "2022-11-24"),  # over midnight
        (("2022-11-24 18:00", "2022-11-25 17:00"), "2022-11-25 17:30", "2022-11-25"),
        (None, "2022-11-25 17:30", "2022-11-25"),
        (("2022-11-25 16:00", "2022-11-25 09:30"), "2022-11-25 17:30", "2022-11-25"),  # nonsense
    ],
)
def test_the_first_day_that_is_not_over(session: tuple[str, str] | None, now: str, day: str) -> None:
    metadata: dict[str, Any] = {"exchangeTimezoneName": "America/New_York"}
    if session:
        start, end = (moment(text).timestamp() for text in session)
        metadata["currentTradingPeriod"] = {"regular": {"start": int(start), "end": int(end)}}
    assert str(first_unfinished_day(metadata, moment(now).timestamp())) == day


# ---- what goes wrong ----

FAILURES = [
    ("gone", "missing", "Yahoo: No data found, symbol may be delisted", 1),
    ("no_data", "missing", "Yahoo: Data doesn't exist for startDate = ", 1),
    ("empty", "missing", "Yahoo has no finished bar from 2022-01-01 to 2022-12-31", 1),
    ("nothing", "missing", "Yahoo has no finished bar from 2022-01-01 to 2022-12-31", 1),
    ("renamed", "missing", "Yahoo answers with NEW for AAA; if it was renamed, ask for that", 1),
    ("limited", "limited", "Yahoo limits requests (429), 3 tries; fetch again later", 3),
    ("broken", "error", "Yahoo answered 500: Something went wrong; 2 tries", 2),
    ("slow", "error", "no answer within 0.4 s; 2 tries", 2),
    ("truncated", "error", "the answer cannot be read: no JSON, or cut off, at character ", 2),
    ("cut", "error", "curl: (18) end of response with ", 2),
    (
        "html",
        "error",
        "the answer cannot be read: no chart in it, it begins <html>We will see you soon</html>; 2 tries",
        2,
    ),
]


@pytest.mark.parametrize(("kind", "status", "reason", "requests"), FAILURES)
def test_each_failure_has_its_typed_result_and_others_are_untouched(
    yahoo: FakeYahoo, download: Any, kind: str, status: str, reason: str, requests: int
) -> None:
    yahoo.behave("AAA", kind, to="NEW", seconds=3)
    bad, *good = download(["AAA", "BBB", "CCC"], START, END)
    assert (bad.status, bad.bars.empty) == (status, True) and bad.reason.startswith(reason)
    for result in good:
        same_bars(result, yahoo.served(result.symbol, START, END))
    assert yahoo.chart_requests() == {"AAA": requests, "BBB": 1, "CCC": 1}


def test_an_unknown_symbol_is_missing(yahoo: FakeYahoo, download: Any) -> None:
    assert one(download, "ZZZ").reason == "Yahoo: No data found, symbol may be delisted"


@pytest.mark.parametrize("kind", ["limited", "broken", "truncated", "cut", "dropped", "slow", "html"])
def test_what_passes_is_overcome(yahoo: FakeYahoo, download: Any, kind: str) -> None:
    one(download, "BBB")
    yahoo.behave("AAA", kind, times=1, seconds=1)
    same_bars(one(download), yahoo.served("AAA", START, END))


def test_nobody_listening_is_an_error_and_soon_nobody_is_asked(download: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_fake() as gone:
        monkeypatch.setenv("WORKBENCH_YAHOO_URL", gone.url)
    results = download([f"S{number}" for number in range(30)], START, END, workers=2)
    assert {result.status for result in results} == {"error"}
    assert "Connection refused" in results[0].reason or "Could not connect" in results[0].reason
    assert sum(result.reason.startswith("not asked, as 8 symbols in a row got no answer: ") for result in results) >= 20


def test_a_limit_for_all_ends_the_download_early(yahoo: FakeYahoo, download: Any) -> None:
    symbols = [f"S{number}" for number in range(20)]
    for symbol in symbols:
        yahoo.behave(symbol, "limited")
    results = download(symbols, START, END)
    assert {result.status for result in results} == {"limited"}
    assert sum(yahoo.chart_requests().values()) <= 12 * QUICK.limited_tries


def test_a_limit_holds_everybody_back(yahoo: FakeYahoo, download: Any) -> None:
    one(download, "EEE")
    yahoo.behave("AAA", "limited", times=1)
    yahoo.forget()
    download(["AAA", "BBB", "CCC", "DDD"], START, END, workers=1, patience=Patience(1, 1, 3, backoff_seconds=0.8))
    times = [seen.time for seen in yahoo.requests()]
    assert [seen.symbol for seen in yahoo.requests()] == ["AAA", "AAA", "BBB", "CCC", "DDD"]
    assert 0.4 <= times[1] - times[0] < 3


def test_a_limit_holds_back_the_other_threads(yahoo: FakeYahoo, download: Any) -> None:
    symbols = [f"T{number}" for number in range(12)]
    yahoo.add(made_up_bars(symbols))
    for symbol in symbols:
        yahoo.behave(symbol, "slow", seconds=0.1)
    yahoo.behave("AAA", "limited", times=1)
    download(["AAA", *symbols], START, END, workers=2, patience=Patience(2, 1, 3, backoff_seconds=1.0))
    gaps = np.diff([seen.time for seen in yahoo.requests()])
    assert gaps.max() >= 0.4 and len(gaps) - gaps.argmax() >= 6, gaps


def test_yahoos_own_waiting_time_is_kept(yahoo: FakeYahoo, download: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = yahoo.answer
    monkeypatch.setattr(
        yahoo,
        "answer",
        lambda *given: (lambda status, body, headers: (status, body, {**headers, "Retry-After": "1"}))(*answer(*given)),
    )
    yahoo.behave("AAA", "limited", times=1)
    one(download)
    one_try, next_try = [seen.time for seen in yahoo.requests("chart")]
    assert next_try - one_try >= 1


@pytest.mark.parametrize("symbol", ["", " ", "A B", "A?x=1", "../AAA", "..", "A#", "Ä", "A\nB", "x" * 40, "A%41"])
def test_what_cannot_be_a_symbol_is_not_asked_for(yahoo: FakeYahoo, download: Any, symbol: str) -> None:
    result = one(download, symbol)
    assert result.status == "missing" and result.reason.startswith("no symbol of Yahoo's is written ")
    assert yahoo.requests() == []


@pytest.mark.parametrize("symbol", ["^GSPC", "EURUSD=X", "BTC-USD", "M&M.NS", "NA", "TRUE", "007", "US0378331005"])
def test_symbols_of_all_kinds_are_asked_for_as_they_are(yahoo: FakeYahoo, download: Any, symbol: str) -> None:
    yahoo.add(made_up_bars([symbol]))
    same_bars(one(download, symbol), yahoo.served(symbol, START, END))
    assert yahoo.chart_requests() == {symbol: 1}


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("AAPL", "AAPL"),
        ("aapl", "AAPL"),
        ("BRK.B", "BRK-B"),
        ("BRK-B", "BRK-B"),
        ("BF/B", "BF-B"),
        ("RCI.B.TO", "RCI-B.TO"),
        ("VOD.L", "VOD.L"),
        ("7203.T", "7203.T"),
        ("SAP.F", "SAP.F"),
        ("ABC.V", "ABC.V"),
        ("SAP.DE", "SAP.DE"),
        ("0700.HK", "0700.HK"),
        ("^GSPC", "^GSPC"),
        ("NA", "NA"),
    ],
)
def test_symbols_are_written_as_yahoo_writes_them(symbol: str, name: str) -> None:
    assert yahoo_symbol(symbol) == name == yahoo_symbol(name)


def test_a_result_goes_by_the_users_symbol(yahoo: FakeYahoo, download: Any) -> None:
    yahoo.add(made_up_bars(["BRK-B"]))
    result = one(download, "BRK.B")
    assert (result.symbol, result.source_symbol, result.status) == ("BRK.B", "BRK-B", "ok")
    assert yahoo.chart_requests() == {"BRK-B": 1}


def test_results_are_in_the_order_of_the_symbols_and_repeats_are_asked_once(yahoo: FakeYahoo, download: Any) -> None:
    yahoo.behave("CCC", "slow", seconds=0.2)
    results = download(["CCC", "AAA", "ZZZ", "CCC", "BBB"], START, END)
    assert [result.symbol for result in results] == ["CCC", "AAA", "ZZZ", "CCC", "BBB"]
    assert yahoo.chart_requests() == dict.fromkeys(["CCC", "AAA", "ZZZ", "BBB"], 1)
    assert download([], START, END) == []


def test_requests_may_each_have_days_of_their_own(yahoo: FakeYahoo, tmp_path: Path) -> None:
    requests = [("AAA", "2022-01-03", "2022-01-05"), ("BBB", "2022-02-01", "2022-02-01")]
    results = {result.symbol: result for result in iter_prices(requests, budget=RequestBudget(tmp_path, 900))}
    assert {symbol: len(result.bars) for symbol, result in results.items()} == {"AAA": 3, "BBB": 1}


@pytest.mark.parametrize(("start", "end"), [("2022-01-02", "2022-01-01"), ("2022-13-01", END), (START, "soon")])
def test_days_that_are_none_are_refused_before_anything_is_sent(
    yahoo: FakeYahoo, download: Any, start: str, end: str
) -> None:
    with pytest.raises(ConfigError):
        download(["AAA"], start, end)
    assert yahoo.requests() == []


@pytest.mark.parametrize("address", ["yahoo", "ftp://host", "http://", "http://[", "http://host?x=1"])
def test_a_mirror_that_is_no_address_is_refused(download: Any, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("WORKBENCH_YAHOO_URL", address)
    with pytest.raises(ConfigError, match="WORKBENCH_YAHOO_URL must be an http:// or https:// address"):
        download(["AAA"], START, END)


def test_a_budget_that_cannot_be_kept_ends_the_download(
    yahoo: FakeYahoo, download: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        download(["AAA", "BBB"], START, END)
    assert yahoo.requests() == []


# ---- requests ----


def test_a_cold_symbol_costs_one_chart_request_and_a_process_one_cookie_and_one_crumb(
    yahoo: FakeYahoo, download: Any
) -> None:
    for _ in range(2):
        download(["AAA", "BBB", "CCC"], START, END)
    assert yahoo.chart_requests() == dict.fromkeys(["AAA", "BBB", "CCC"], 2)
    assert [len(yahoo.requests(kind)) for kind in ("cookie", "crumb", "consent", "other")] == [1, 1, 0, 0]
    assert all(seen.query["crumb"] == "cr.umb" for seen in yahoo.requests("chart"))


def test_bars_come_without_a_crumb_and_it_is_not_asked_for_each_time(yahoo: FakeYahoo, download: Any) -> None:
    yahoo.crumb_status = 429
    results = download(["AAA", "BBB", "CCC", "DDD"], START, END)
    assert {result.status for result in results} == {"ok"}
    assert len(yahoo.requests("crumb")) == 1
    assert all("crumb" not in seen.query for seen in yahoo.requests("chart")), "nor its refusal taken for one"


def test_a_crumb_that_expired_is_renewed_once(yahoo: FakeYahoo, download: Any) -> None:
    one(download)
    yahoo.crumb_needed = True
    yahoo_history.connection()._data._crumb = None
    yahoo_history.connection()._data._no_crumb_until = time.monotonic() + 0.05
    time.sleep(0.06)
    assert one(download).status == "ok"
    yahoo.crumb_status = 500
    yahoo_history.connection()._data._crumb = None
    yahoo.forget()
    refused = one(download)
    assert (refused.status, refused.reason) == ("error", "Yahoo answered 401: Invalid Crumb")
    assert yahoo.chart_requests() == {"AAA": 2}


def test_redirects_take_from_the_budget_and_go_to_the_mirror(yahoo: FakeYahoo, tmp_path: Path) -> None:
    yahoo.behave("AAA", "moved")
    limit = RequestBudget(tmp_path, 5)
    (result,) = download_prices(["AAA"], START, END, budget=limit)
    same_bars(result, yahoo.served("AAA", START, END))
    times = [seen.time for seen in yahoo.requests()]
    assert len(times) == 4 and min(np.diff(times)) > 0.15


def _fetch(folder: Path, per_second: float, symbol: str, answers: Any) -> None:
    (result,) = download_prices([symbol], START, END, budget=RequestBudget(folder, per_second))
    answers.put((os.getpid(), result.status))


def test_the_budget_holds_at_the_server_for_eight_processes(yahoo: FakeYahoo, download: Any, tmp_path: Path) -> None:
    """They are forked after a download, so that each must notice that the connection is not its own."""
    one(download)
    yahoo.forget()
    context, folder = multiprocessing.get_context("fork"), tmp_path / "shared"
    answers, symbols = context.Queue(), ["AAA", "BBB", "CCC", "DDD", "EEE", "AAA", "ZZZ", "BBB"]
    for symbol in symbols:
        context.Process(target=_fetch, args=(folder, 8, symbol, answers), daemon=True).start()
    got = [answers.get(timeout=30) for _ in symbols]
    assert len({process for process, _ in got}) == 8
    assert sorted(status for _, status in got) == ["missing"] + ["ok"] * 7
    assert len(yahoo.requests()) == 24  # cookie, crumb and bars of each
    assert yahoo.most_in_one_second() <= 8


def test_the_default_budget_holds_at_the_server_for_threads(yahoo: FakeYahoo, tmp_path: Path) -> None:
    results = download_prices(["AAA", "BBB", "CCC", "DDD"], START, END, budget=RequestBudget(tmp_path))
    assert {result.status for result in results} == {"ok"}
    times = [seen.time for seen in yahoo.requests()]
    assert len(times) == 6 and most_within(times, 1.0) <= 2 and times[-1] - times[0] < 5


def test_many_threads_each_get_the_bars_of_their_own_symbol(yahoo: FakeYahoo, download: Any) -> None:
    symbols = [f"T{number}" for number in range(40)]
    yahoo.add(made_up_bars(symbols, seed=9))
    yahoo.behave("T7", "gone")
    yahoo.behave("T11", "broken")
    results = download(symbols, START, END, workers=16)
    assert [result.status for result in results].count("ok") == 38
    for result in results:
        if result.status == "ok":
            same_bars(result, yahoo.served(result.symbol, START, END))


# ---- interruption ----


def test_ctrl_c_ends_a_download_at_once_and_reports_what_is_done(yahoo: FakeYahoo, download: Any) -> None:
    yahoo.behave("CCC", "slow", seconds=20)
    got: list[Fetched] = []
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        download(["AAA", "CCC", "BBB"], START, END, on_result=got.append, patience=Patience(timeout_seconds=20))
    assert time.monotonic() - began < 2
    assert sorted(result.symbol for result in got) == ["AAA", "BBB"]


def test_after_ctrl_c_nothing_more_is_sent(yahoo: FakeYahoo, tmp_path: Path) -> None:
    threading.Timer(0.7, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        download_prices(["AAA", "BBB", "CCC", "DDD", "EEE"], START, END, budget=RequestBudget(tmp_path, 2))
    time.sleep(0.3)  # what was under way
    sent = len(yahoo.requests())
    time.sleep(1.2)
    assert len(yahoo.requests()) == sent


SCRIPT = """
import sys
from workbench.market.yahoo import Patience, download_prices
for result in download_prices(sys.argv[1:], "2022-01-01", "2022-12-31", patience=Patience(20, 1, 2, 0.1),
                              on_result=lambda result: print(result.symbol, result.status, flush=True)):
    pass
print("done")
"""


def script(folder: Path, *symbols: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    environment |= {"WORKBENCH_YAHOO_PER_SECOND": "200", "PYTHONWARNINGS": "default::DeprecationWarning"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *symbols],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_process_is_quiet_and_writes_nothing_to_the_home_folder(yahoo: FakeYahoo, tmp_path: Path) -> None:
    yahoo.behave("BBB", "gone")
    yahoo.behave("CCC", "limited")
    yahoo.crumb_status = 429
    with script(tmp_path, "AAA", "BBB", "CCC") as process:
        output, errors = process.communicate(timeout=60)
    assert sorted(output.split("\n")) == ["", "AAA ok", "BBB missing", "CCC limited", "done"]
    assert errors == "" and list(tmp_path.iterdir()) == []


def test_a_process_ends_at_once_on_ctrl_c(yahoo: FakeYahoo, tmp_path: Path) -> None:
    yahoo.behave("BBB", "slow", seconds=30)
    with script(tmp_path, "AAA", "BBB") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "AAA ok\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert time.monotonic() - began < 3 and process.returncode != 0


def test_an_exception_of_the_callers_ends_the_download(yahoo: FakeYahoo, download: Any) -> None:
    def refuse(result: Fetched) -> None:
        raise ValueError(result.symbol)

    with pytest.raises(ValueError, match="AAA"):
        download(["AAA"], START, END, on_result=refuse)


def test_a_single_symbol_can_be_cancelled(yahoo: FakeYahoo, tmp_path: Path) -> None:
    limit = RequestBudget(tmp_path, 0.1)
    limit.acquire()
    with pytest.raises(RequestCancelled):
        download_symbol("AAA", START, END, budget=limit, cancelled=lambda: True)
    assert yahoo.requests() == []


def test_progress_counts_the_symbols(yahoo: FakeYahoo, download: Any) -> None:
    seen: list[tuple[int, int]] = []
    download(["AAA", "BBB", "ZZZ"], START, END, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# ---- what it leaves alone ----


def test_the_users_yfinance_is_as_it_was(yahoo: FakeYahoo, download: Any) -> None:
    import logging

    import yfinance
    from yfinance.data import YfData

    theirs = YfData()
    session, level = theirs._session, logging.getLogger("yfinance").level
    yahoo.behave("AAA", "broken")
    download(["AAA", "BBB"], START, END)
    assert YfData() is theirs and theirs._session is session and theirs._crumb is None
    assert yfinance.config.debug.hide_exceptions is True
    assert logging.getLogger("yfinance").level == level
    records: list[logging.LogRecord] = []
    logging.getLogger("yfinance").addHandler(handler := logging.Handler())
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("yfinance").error("of the user's own")
    one(download)
    logging.getLogger("yfinance").removeHandler(handler)
    assert [record.getMessage() for record in records] == ["of the user's own"]


def test_all_that_goes_to_a_worker_can_be_pickled(yahoo: FakeYahoo, download: Any) -> None:
    (result,) = pickle.loads(pickle.dumps(download))(["AAA"], START, END)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(result)).bars, result.bars)


def test_importing_the_module_imports_neither_yfinance_nor_curl() -> None:
    code = (
        "import sys, workbench.market.yahoo; print(*[m for m in ('yfinance', 'curl_cffi', 'ray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
