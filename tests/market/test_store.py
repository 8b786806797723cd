"""The price store: what is asked for, what is stored, and that it always is what one whole fetch would have given."""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from histories import FIRST, ZONE, Answer, History, Source, between, noon, same
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import ConfigError, DataError, UnavailableError
from workbench.market.bars import COLUMNS, bars_of, decode, decode_columns, encode
from workbench.market.coverage import Coverage, DayRange, last_finished_day, missing_range
from workbench.market.durable import DamagedFileError, parse_document, safe_name, sha256, symbol_of, write_document
from workbench.market.ensure import by_range, ensure
from workbench.market.home import home
from workbench.market.merge import Origin
from workbench.market.store import PriceStore, Request

DAY = dt.timedelta(days=1)
NOW = noon(dt.date(2023, 3, 1))
JAN, FEB = dt.date(2023, 1, 31), dt.date(2023, 2, 28)


@pytest.fixture
def store(tmp_path: Path) -> PriceStore:
    return PriceStore(tmp_path / "prices")


@pytest.fixture
def source() -> Source:
    return Source({"A": History(1), "B": History(2), "BRK.B": History(3)}, dt.date(2023, 3, 1))


# ---- what is asked for ----


def test_a_range_is_asked_for_once_and_then_covered(store: PriceStore, source: Source):
    first = source.ensure(store, ["A", "B"], FIRST, JAN)
    assert [(one.symbol, one.status, one.action, one.requests) for one in first] == [
        ("A", "ok", "stored", 1),
        ("B", "ok", "stored", 1),
    ]
    assert source.sent() == [("A", "2023-01-02 to 2023-01-31"), ("B", "2023-01-02 to 2023-01-31")]
    again = source.ensure(store, ["A", "B", "A"], FIRST + DAY, JAN)
    assert source.sent() == []
    assert [(one.action, one.requests, one.priced) for one in again] == [("covered", 0, True)] * 2


def test_one_more_day_is_one_request_that_overlaps_the_last_stored_day(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    source.sent()
    [done] = source.ensure(store, ["A"], FIRST, JAN + DAY)
    assert source.sent() == [("A", "2023-01-31 to 2023-02-01")]
    assert done.action == "appended"
    assert same(store.read("A"), source.histories["A"].bars(source.today, FIRST, JAN + DAY))


@pytest.mark.parametrize("event", [("dividend", 0.02), ("split", 2.0)])
def test_a_changed_adjustment_basis_is_two_requests_and_nothing_is_spliced(
    store: PriceStore, source: Source, event: tuple[str, float]
):
    source.ensure(store, ["A"], FIRST, JAN)
    before = store.read("A")
    source.histories["A"].events[JAN + DAY] = event
    source.sent()
    [done] = source.ensure(store, ["A"], FIRST, JAN + 3 * DAY)
    assert source.sent() == [("A", "2023-01-31 to 2023-02-03"), ("A", "2023-01-02 to 2023-02-03")]
    assert (done.action, done.requests) == ("refetched", 2)
    whole = source.histories["A"].bars(source.today, FIRST, JAN + 3 * DAY)
    assert same(store.read("A"), whole)
    assert not np.allclose(whole.column("adj_close")[: len(before)], before.column("adj_close"), rtol=1e-5)


def test_a_dividend_that_the_source_learns_of_on_its_own_day_late_is_seen(store: PriceStore, source: Source):
    # It moves the days before it only: the bar that is compared has the same prices.
    source.ensure(store, ["A"], FIRST, JAN)
    source.histories["A"].events[JAN] = ("dividend", 0.5)
    [done] = source.ensure(store, ["A"], FIRST, JAN + DAY)
    assert done.action == "refetched"
    assert same(store.read("A"), source.histories["A"].bars(source.today, FIRST, JAN + DAY))


@pytest.mark.parametrize("event", [("dividend", 0.5), ("split", 4.0)])
def test_a_source_that_adjusts_its_past_some_days_late_is_noticed(store: PriceStore, source: Source, event):
    # On the day of the event and the next one the days before it are still as they were.
    day, plain = JAN + DAY, History(1)
    source.ensure(store, ["A"], FIRST, JAN)
    source.histories["A"].events[day] = event
    late = between(source.histories["A"].as_of(FEB), day, FEB)
    unadjusted = pd.concat([between(plain.as_of(FEB), FIRST, JAN), late])
    for end, action in ((day, "appended"), (day + DAY, "appended"), (day + 2 * DAY, "refetched")):
        frame = unadjusted if action == "appended" else source.histories["A"].as_of(end)

        def fetch(requests, answer, frame=frame, end=end):
            source.requests.extend(requests)
            answer(Answer("A", bars=between(frame, requests[0].days.first, end)))

        [done] = store.ensure(["A"], FIRST, end, fetch, clock=source.clock)
        assert done.action == action
        assert store.coverage("A").overlap == JAN
    assert [days for _, days in source.sent()] == [
        f"{FIRST} to {JAN}",
        f"{JAN} to {day}",
        f"{JAN} to {day + DAY}",
        f"{JAN} to {day + 2 * DAY}",
        f"{FIRST} to {day + 2 * DAY}",
    ]
    assert same(store.read("A"), source.histories["A"].bars(day + 2 * DAY))


def test_values_within_the_tolerance_are_appended_to(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    frame = between(source.histories["A"].as_of(source.today), JAN, JAN + DAY).copy()
    for moved, action in ((9e-7, "appended"), (3e-6, "refetched")):
        end = JAN + (DAY if action == "appended" else 2 * DAY)
        frame = between(source.histories["A"].as_of(source.today), end - DAY, end).copy()
        frame["adj_close"] *= 1 + moved
        asked = DayRange(end - DAY, end)
        outcome = store.update("A", frame, asked, Origin(timezone=ZONE), source.clock())
        assert outcome.action == (action if action == "appended" else "refetch_whole")
    assert outcome.request == DayRange(FIRST, JAN + 2 * DAY)
    assert "adj_close of 2023-02-01 was" in outcome.reason
    assert store.coverage("A").last == JAN + DAY  # nothing was stored


def test_an_earlier_start_is_one_request_for_the_whole_range(store: PriceStore, source: Source):
    source.ensure(store, ["A"], JAN, FEB)
    source.sent()
    source.ensure(store, ["A"], FIRST, JAN)
    assert source.sent() == [("A", f"{FIRST} to {FEB}")]
    assert same(store.read("A"), source.histories["A"].bars(source.today, FIRST, FEB))


def test_a_gap_between_what_is_stored_and_wanted_is_filled(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, FIRST + 3 * DAY)
    source.ensure(store, ["A"], FEB, FEB)
    assert same(store.read("A"), source.histories["A"].bars(source.today, FIRST, FEB))


def test_a_range_that_ends_on_a_weekend_is_covered(store: PriceStore, source: Source):
    sunday = dt.date(2023, 1, 29)
    source.ensure(store, ["A"], FIRST, sunday)
    assert (store.coverage("A").last, store.coverage("A").covered.last) == (dt.date(2023, 1, 27), sunday)
    source.sent()
    source.ensure(store, ["A"], FIRST, sunday)
    assert source.sent() == []


def test_a_day_that_is_not_over_is_neither_asked_for_nor_stored_nor_covered(store: PriceStore, source: Source):
    source.today = dt.date(2023, 2, 1)
    [done] = source.ensure(store, ["A"], FIRST, FEB)
    assert (done.coverage.last, done.coverage.covered.last, done.dropped) == (JAN, JAN, 1)
    source.sent()
    source.ensure(store, ["A"], FIRST, FEB)
    assert source.sent() == []  # nothing more is over
    source.today += DAY
    source.ensure(store, ["A"], FIRST, FEB)
    assert source.sent() == [("A", "2023-01-31 to 2023-02-01")]


def test_a_range_without_a_finished_day_is_not_asked_for(store: PriceStore, source: Source):
    tomorrow = source.today + DAY
    [done] = source.ensure(store, ["A"], tomorrow, tomorrow + 5 * DAY)
    assert (done.status, done.action, source.sent()) == ("missing", "failed", [])
    assert "is over yet" in done.reason
    with pytest.raises(ConfigError, match="start must not be after end"):
        source.ensure(store, ["A"], FEB, FIRST)


def test_a_changed_currency_is_never_spliced(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    frame = between(source.histories["A"].as_of(source.today), JAN, FEB)
    outcome = store.update("A", frame, DayRange(JAN, FEB), Origin(currency="GBP", timezone=ZONE), source.clock())
    assert (outcome.action, outcome.reason) == ("refetch_whole", "the currency was USD and is GBP")


def test_the_whole_history_can_be_asked_for_again(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, FEB)
    source.histories["A"].events[FIRST + 7 * DAY] = ("dividend", 1.0)  # long past: nothing shows on the last day
    source.sent()
    source.ensure(store, ["A"], FIRST, FEB)
    assert source.sent() == []
    source.ensure(store, ["A"], JAN, JAN, refresh=True)
    assert source.sent() == [("A", f"{FIRST} to {FEB}")]
    assert same(store.read("A"), source.histories["A"].bars(source.today, FIRST, FEB))


# ---- symbols that fail ----


def test_failures_are_named_and_leave_the_others_alone(store: PriceStore, source: Source):
    source.say = {
        "LIM": Answer("LIM", "limited", "too many requests"),
        "ERR": Answer("ERR", "error", "500"),
        "ODD": Answer("ODD", bars=pd.DataFrame({"date": []})),
    }
    done = source.ensure(store, ["A", "GONE", "LIM", "ERR", "ODD"], FIRST, JAN)
    assert [(one.symbol, one.status, one.priced) for one in done] == [
        ("A", "ok", True),
        ("GONE", "missing", False),
        ("LIM", "limited", False),
        ("ERR", "error", False),
        ("ODD", "error", False),
    ]
    assert [one.reason for one in done[1:4]] == ["no such symbol", "too many requests", "500"]
    assert done[4].reason.startswith("ODD: bars must have a column open, got date")
    assert store.symbols() == ["A", "GONE"]
    source.sent()
    source.ensure(store, ["A", "GONE", "LIM", "ERR", "ODD"], FIRST, JAN)
    assert [symbol for symbol, _ in source.sent()] == ["LIM", "ERR", "ODD"]  # what may be different next time


def test_where_everything_fails_the_store_is_untouched(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    before = contents(store.folder)
    source.say = {"A": Answer("A", "limited", "too many requests")}
    done = source.ensure(store, ["A", "GONE"], FIRST, FEB)
    assert [one.status for one in done] == ["limited", "missing"]
    assert done[0].priced and not done[1].priced
    assert contents(store.folder) == before


def test_a_missing_symbol_is_asked_for_again_after_a_week_or_for_other_days(store: PriceStore, source: Source):
    source.ensure(store, ["A", "GONE"], FIRST, JAN)
    source.sent()
    source.today += 7 * DAY
    source.ensure(store, ["A", "GONE"], FIRST, JAN)
    assert source.sent() == []
    source.today += DAY
    source.ensure(store, ["A", "GONE"], FIRST, JAN)
    assert source.sent() == [("GONE", "2023-01-02 to 2023-01-31")]
    source.ensure(store, ["B", "GONE"], FIRST, JAN + DAY)
    assert source.sent()[1] == ("GONE", "2023-01-02 to 2023-02-01")


def test_a_symbol_that_the_source_drops_keeps_its_bars(store: PriceStore, source: Source):
    source.ensure(store, ["A", "B"], FIRST, JAN)
    kept = store.read("A")
    del source.histories["A"]
    done = source.ensure(store, ["A", "B"], FIRST, FEB)[0]
    assert (done.status, done.priced, done.reason) == ("missing", True, "no such symbol")
    assert same(store.read("A"), kept)
    source.sent()
    source.ensure(store, ["A", "B"], FIRST, FEB)
    assert source.sent() == []


def test_a_symbol_that_was_delisted_after_the_days_that_are_wanted_is_covered(store: PriceStore, source: Source):
    source.ensure(store, ["A", "B"], FIRST, JAN)
    del source.histories["A"]
    assert source.ensure(store, ["A", "B"], FIRST, FEB)[0].status == "missing"
    source.today += 30 * DAY
    source.sent()
    [done] = source.ensure(store, ["A"], FIRST, JAN)
    assert (done.status, done.reason, done.action, source.sent()) == ("ok", "", "covered", [])
    [done] = source.ensure(store, ["A"], FIRST, FEB)
    assert (done.status, source.sent()) == ("missing", [("A", "2023-01-31 to 2023-02-28")])  # after a week: is it back?


def test_an_empty_whole_history_never_replaces_bars(store: PriceStore, source: Source):
    source.ensure(store, ["A", "B"], FIRST, JAN)
    kept = store.read("A")
    source.say = {"A": Answer("A", bars=source.histories["A"].as_of(FIRST - DAY))}
    done = source.ensure(store, ["A", "B"], FIRST, FEB)[0]
    assert (done.status, done.requests) == ("missing", 2)
    assert "those stored are kept" in done.reason
    assert same(store.read("A"), kept)


def test_a_history_that_lost_days_says_so(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    source.histories["A"] = replace(source.histories["A"], first=FIRST + 7 * DAY)
    before = store.read("A")
    [done] = source.ensure(store, ["A"], FIRST, FEB)
    assert (done.status, done.action) == ("error", "failed")
    assert done.reason.startswith("its history lacks 5 days that are stored")
    assert store.read("A").days.tolist() == before.days.tolist()
    [done] = source.ensure(store, ["A"], FIRST, FEB, refresh=True)
    assert done.action == "refetched"
    assert done.reason == "stored days that are not in it any more: 5"
    assert str(store.read("A").days[0]) > str(before.days[0])


def test_an_unanswered_request_and_an_unasked_answer_are_named(store: PriceStore, source: Source):
    [done] = store.ensure(["A"], FIRST, JAN, lambda requests, answer: None, clock=source.clock)
    assert (done.status, done.reason) == ("error", "the source gave no answer")
    with pytest.raises(ValueError, match="got an answer for B"):
        store.ensure(["A"], FIRST, JAN, lambda requests, answer: answer(Answer("B")), clock=source.clock)


def test_an_interrupted_fetch_keeps_what_is_done_and_can_go_on(store: PriceStore, source: Source):
    def interrupted(requests, answer):
        answer(source.answer(requests[0]))
        answer(source.answer(requests[0]))  # a repeated answer counts once
        raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        store.ensure(["A", "B"], FIRST, JAN, interrupted, clock=source.clock, progress=seen.append)
    assert [one.symbol for one in seen] == ["A"]
    assert store.symbols() == ["A"]
    source.ensure(store, ["A", "B"], FIRST, JAN)
    assert source.sent() == [("B", "2023-01-02 to 2023-01-31")]


def test_symbols_are_asked_for_in_batches(store: PriceStore, source: Source):
    sizes = []

    def counted(requests, answer):
        sizes.append(len(requests))
        source(requests, answer)

    done = ensure(store, ["A", "B", "BRK.B"], DayRange(FIRST, JAN), counted, clock=source.clock, batch=2)
    assert sizes == [2, 1]
    assert [one.symbol for one in done] == ["A", "B", "BRK.B"]


def test_a_symbol_that_another_holds_for_too_long_is_an_error(tmp_path: Path, source: Source):
    store, other = PriceStore(tmp_path), PriceStore(tmp_path)
    held, leave = threading.Event(), threading.Event()

    def hold():
        with other.lock("A"):
            held.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    done = ensure(store, ["A", "B"], DayRange(FIRST, JAN), source, clock=source.clock, wait_seconds=0.1)
    leave.set()
    thread.join()
    assert [(one.symbol, one.status) for one in done] == [("A", "error"), ("B", "ok")]
    assert done[0].reason == "another process has been fetching it for more than 0.1 s"
    [done_a] = source.ensure(store, ["A"], FIRST, JAN)
    assert done_a.status == "ok"


def test_requests_are_grouped_by_their_days():
    year, month = DayRange(FIRST, FEB), DayRange(JAN, FEB)
    requests = [Request("A", year), Request("B", month), Request("C", year)]
    assert by_range(requests) == {year: ["A", "C"], month: ["B"]}


# ---- one whole fetch would have given the same ----

STEPS = st.lists(
    st.tuples(
        st.integers(0, 9),  # days that pass
        st.integers(-20, 70),  # start and ...
        st.integers(0, 60),  # ... length of the range
        st.one_of(
            st.none(),
            st.tuples(st.just("dividend"), st.floats(0.1, 5)),
            st.tuples(st.just("split"), st.sampled_from([2.0, 0.1])),
        ),
        st.integers(0, 8),  # the event's day, counted from the last day that was over before
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60)
@given(steps=STEPS)
def test_any_sequence_of_fetches_and_rewrites_equals_one_whole_fetch(steps):
    history = History(5, n=100)
    source = Source({"A": history}, FIRST + 5 * DAY)
    hull: DayRange | None = None
    with tempfile.TemporaryDirectory() as folder:
        store = PriceStore(folder)
        for passed, start, length, event, place in [*steps, (1, 0, 200, None, 0)]:
            over = source.today - DAY
            source.today += passed * DAY
            if event is not None:
                when = (over + place * DAY).isoformat()
                history.events[np.busday_offset(when, 0, "forward").item()] = event
            wanted = DayRange(FIRST + start * DAY, FIRST + (start + length) * DAY)
            source.requests.clear()
            [done] = source.ensure(store, ["A"], wanted.first, wanted.last)
            finished = source.today - DAY
            if done.status == "ok" and wanted.first <= finished:
                hull = DayRange(wanted.first, min(wanted.last, finished)).joined(hull)
                assert done.coverage.covered == hull
            assert len(source.requests) == done.requests <= 2
            if done.status == "ok" and source.requests:
                assert same(store.read("A"), history.bars(source.today, hull.first, hull.last))
        store.prune(dt.timedelta(0))
        assert store.verify(gaps=False) == []


# ---- bars ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="close"), "X: bars must have a column close, got date, open"),
        (lambda f: f.assign(date=f["date"] + pd.Timedelta("1h")), "X: dates of bars must be days without a time"),
        (lambda f: f.assign(date=f["date"].dt.tz_localize("UTC")), "X: dates of bars must be days without a time zone"),
        (lambda f: f.assign(date=f["date"].where(f.index != 1)), "X: dates of bars must be days without a time"),
        (lambda f: pd.concat([f, f[:1]]), "X: bars must have one row a day, got 2023-01-02 more than once"),
        (lambda f: f.assign(volume="many"), "X: bars must be numbers: could not convert"),
    ],
)
def test_bars_that_are_none_are_refused(change, message):
    with pytest.raises(DataError) as error:
        bars_of("X", change(History(1).as_of(JAN)))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_bars_are_sorted_and_kept_to_the_bit():
    frame = History(1).as_of(JAN)
    frame.loc[3, ["open", "volume"]] = [np.nan, np.inf]
    shuffled = bars_of("X", frame.sample(frac=1, random_state=1))
    assert same(shuffled, bars_of("X", frame))
    assert same(decode(encode(shuffled)), shuffled)
    pd.testing.assert_frame_equal(shuffled.frame, frame)
    days, (adjusted,) = decode_columns(encode(shuffled), ["adj_close"])
    assert np.array_equal(days, shuffled.days) and np.array_equal(adjusted, frame["adj_close"])
    assert encode(shuffled) == encode(bars_of("X", frame))


def test_bytes_that_are_no_table_are_one_clear_error(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    path = store.object_path("A", store.coverage("A").sha256)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(UnavailableError, match=r"a stored file cannot be read: .*; verify it: workbench prices verify"):
        store.read("A", verify=False)


def test_a_table_without_rows_is_a_table():
    empty = bars_of("X", History(1).as_of(FIRST - DAY))
    assert same(decode(encode(empty)), empty)
    assert empty.values.shape == (0, len(COLUMNS))


# ---- the record ----


def test_the_record_says_what_there_is(store: PriceStore, source: Source):
    source.histories["BRK.B"].events[JAN - 15 * DAY] = ("dividend", 1.0)
    source.ensure(store, ["BRK.B"], FIRST, JAN)
    known = store.coverage("BRK.B")
    bars = store.read("BRK.B")
    factor = bars.column("adj_close")[0] / bars.column("close")[0]
    assert factor < 0.999
    assert known == Coverage(
        "BRK.B",
        "ok",
        source="test",
        source_symbol="BRK.B",
        fetched_at=NOW,
        whole_at=NOW,
        covered=DayRange(FIRST, JAN),
        first=FIRST,
        last=JAN,
        rows=22,
        overlap=JAN,
        adjustment_factor=factor,
        currency="USD",
        exchange="NYQ",
        timezone=ZONE,
        sha256=known.sha256,
        size=known.size,
    )
    assert Coverage.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    source.today += DAY
    source.ensure(store, ["BRK.B"], FIRST, FEB)
    assert store.coverage("BRK.B").whole_at == NOW  # the basis is as old as the last whole fetch
    assert store.coverage("BRK.B").fetched_at == NOW + DAY


def test_a_bar_without_a_price_is_no_overlap(store: PriceStore, source: Source):
    frame = source.histories["A"].as_of(JAN)
    frame.loc[frame.index[-1], ["close", "adj_close"]] = np.nan
    source.say = {"A": Answer("A", bars=frame)}
    source.ensure(store, ["A"], FIRST, JAN)
    assert store.coverage("A").overlap == JAN - DAY
    source.say = {}
    source.sent()
    source.ensure(store, ["A"], FIRST, FEB)
    assert source.sent() == [("A", "2023-01-30 to 2023-02-28"), ("A", "2023-01-02 to 2023-02-28")]
    assert same(store.read("A"), source.histories["A"].bars(source.today, FIRST, FEB))


@pytest.mark.parametrize(
    ("now", "timezone", "day"),
    [
        ("2023-03-01T12:00+00:00", ZONE, "2023-02-28"),
        ("2023-03-01T04:59+00:00", ZONE, "2023-02-27"),
        ("2023-03-01T12:00+00:00", "Asia/Tokyo", "2023-02-28"),
        ("2023-03-01T15:00+00:00", "Asia/Tokyo", "2023-03-01"),
        ("2023-03-01T11:59+00:00", "", "2023-02-27"),
        ("2023-03-01T12:00+00:00", "Nowhere/Atlantis", "2023-02-28"),
    ],
)
def test_a_day_is_over_when_the_next_begins_at_the_exchange(now, timezone, day):
    assert last_finished_day(dt.datetime.fromisoformat(now), timezone) == dt.date.fromisoformat(day)


def test_where_the_exchange_is_unknown_all_days_are_asked_for_that_may_be_over():
    assert missing_range(None, DayRange(FIRST, FEB + 5 * DAY), NOW) == DayRange(FIRST, FEB + DAY)


def test_what_is_not_stored_is_named(store: PriceStore):
    assert store.coverage("A") is None
    with pytest.raises(DataError, match="A has no stored prices: it was never fetched; fetch them: workbench prices"):
        store.read("A")
    assert store.missing_range("A", FIRST, FEB) == DayRange(FIRST, FEB)
    assert store.status().empty and store.symbols() == []


def test_status_has_a_row_per_symbol(store: PriceStore, source: Source):
    source.ensure(store, ["BRK.B", "A", "GONE"], FIRST, JAN + 5 * DAY)
    frame = store.status().set_index("symbol")
    assert list(frame.index) == ["A", "BRK.B", "GONE"]
    assert frame.loc["BRK.B", ["status", "first", "last", "rows", "covered_last"]].tolist() == [
        "ok",
        "2023-01-02",
        "2023-02-03",
        25,
        "2023-02-05",
    ]
    assert frame.loc["GONE", ["status", "first", "rows", "reason"]].tolist() == ["missing", "", 0, "no such symbol"]


# ---- names, documents, the folder ----

ODD_NAMES = [
    "BRK.B",
    "^GSPC",
    "CON",
    "con",
    "aapl",
    "AAPL",
    "NUL",
    "COM1",
    "ES=F",
    "Ä/..\\ö",
    "株式",
    "_2e",
    "A B",
    "-",
    "..",
]


def test_symbols_have_names_that_are_safe_and_lead_back():
    names = [safe_name(symbol) for symbol in ODD_NAMES]
    assert names[:5] == ["BRK_2eB", "_5eGSPC", "_43ON", "_63_6f_6e", "_61_61_70_6c"]
    assert len({name.lower() for name in names}) == len(names)
    assert [symbol_of(name) for name in names] == ODD_NAMES
    assert [symbol_of(name) for name in ("brk", "A_2", "A_2E", "_41", "", "CON", "_ff")] == [None] * 7


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_different_symbols_have_different_names_even_where_case_does_not_count(one: str, other: str):
    names = [safe_name(symbol) for symbol in (one, other)]
    assert (names[0].lower() == names[1].lower()) == (one == other)
    for symbol, name in zip((one, other), names, strict=True):
        assert len(name) <= 160
        assert symbol_of(name) == symbol or "__" in name


def test_odd_symbols_are_stored_and_found(tmp_path: Path, source: Source):
    store = PriceStore(tmp_path)
    symbols = [*ODD_NAMES, "Ω" * 300]
    source.histories = {symbol: History(number) for number, symbol in enumerate(symbols)}
    source.ensure(store, symbols, FIRST, JAN)
    assert store.symbols() == sorted(symbols)
    assert same(store.read("Ω" * 300), source.histories["Ω" * 300].bars(source.today, FIRST, JAN))
    assert PriceStore(tmp_path).matrix(symbols).symbols == tuple(sorted(symbols))
    assert store.verify() == []


def test_a_document_shows_every_flipped_byte(tmp_path: Path):
    path = tmp_path / "x.json"
    write_document(path, {"symbol": "A\ud800", "rows": 3})
    data = path.read_bytes()
    assert parse_document(path, data) == {"symbol": "A\ud800", "rows": 3}
    assert json.loads(data)["rows"] == 3
    for place in range(len(data)):
        for bit in (1, 128):
            damaged = bytearray(data)
            damaged[place] ^= bit
            with pytest.raises(DamagedFileError):
                parse_document(path, bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(DamagedFileError):
            parse_document(path, data[:length])


def test_a_newer_schema_is_refused_in_one_line(tmp_path: Path, source: Source):
    store = PriceStore(tmp_path)
    source.ensure(store, ["A"], FIRST, JAN)
    for path in (store.manifest_path("A"), tmp_path / "schema.json"):
        newer = path.read_text().replace('"schema": 1', '"schema": 2').rpartition(",\n")[0].encode() + b"\n}"
        path.write_bytes(newer[:-2] + b',\n "checksum": "' + sha256(newer).encode() + b'"\n}\n')
    for opened in (lambda: PriceStore(tmp_path), lambda: store.coverage("A")):
        with pytest.raises(
            ConfigError, match="its schema must be at most 1, got 2, of a newer workbench; upgrade"
        ) as error:
            opened()
        assert error.value.exit_code == 2
        assert "\n" not in str(error.value)


def test_a_manifest_under_the_name_of_another_symbol_is_damaged(store: PriceStore, source: Source):
    source.ensure(store, ["A", "B"], FIRST, JAN)
    store.manifest_path("B").write_bytes(store.manifest_path("A").read_bytes())
    assert store.coverage("B").status == "damaged"
    source.ensure(store, ["A", "B"], FIRST, JAN)
    assert same(store.read("B"), source.histories["B"].bars(source.today, FIRST, JAN))


def test_home_is_the_folder_that_the_variable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "deep" / "state"))
    assert home() == tmp_path / "deep" / "state"
    assert PriceStore.default().folder == tmp_path / "deep" / "state" / "prices"
    monkeypatch.delenv("WORKBENCH_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home() == tmp_path / "data" / "workbench"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert home() == tmp_path / "me" / ".local" / "share" / "workbench"


def test_a_home_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("WORKBENCH_HOME", str(file))
    with pytest.raises(
        ConfigError, match=r"WORKBENCH_HOME must be a folder that can be written, got .*file \(File exists\)"
    ) as error:
        home()
    assert error.value.exit_code == 2
    with pytest.raises(ConfigError, match=r"the price store must be a folder that can be written, got .*file"):
        PriceStore(file / "prices")
    with pytest.raises(ConfigError, match="the price store must be a folder"):
        PriceStore(file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="Permission denied"):
        home()


# ---- sweeping ----


def test_replaced_files_are_swept_after_a_day_and_never_sooner(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    old = store.object_path("A", store.coverage("A").sha256)
    os.utime(old, (0, 0))  # it is as old as can be, but has been in use until now
    source.ensure(store, ["A"], FIRST, FEB)
    assert store.prune() == []
    assert [(one.kind, one.file) for one in store.verify()] == [("unused", f"objects/{old.name}")]
    os.utime(old, (0, 0))
    assert store.prune() == [old.name]
    assert store.verify() == []
    assert len(store.read("A")) == 42


def test_what_killed_processes_left_is_swept_and_strangers_are_not(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    left = store.folder / "objects" / ".tmp-1-abc"
    left.write_bytes(b"half")
    (store.folder / "notes.txt").write_text("mine")
    assert sorted((one.kind, one.file) for one in store.verify()) == [
        ("unknown", "notes.txt"),
        ("unused", "objects/.tmp-1-abc"),
    ]
    assert store.prune() == []
    assert store.prune(dt.timedelta(0)) == [left.name]
    assert (store.folder / "notes.txt").exists()


def test_a_file_in_use_again_is_not_swept(store: PriceStore, source: Source):
    source.ensure(store, ["A"], FIRST, JAN)
    first = store.read("A")
    source.ensure(store, ["A"], FIRST, FEB)
    # The source takes February back: the first file's bytes are the right ones again.
    source.say = {"A": Answer("A", bars=source.histories["A"].as_of(JAN))}
    source.ensure(store, ["A"], FIRST, FEB, refresh=True)
    assert same(store.read("A"), first)
    store.prune(dt.timedelta(0))
    assert same(store.read("A"), first)
    assert store.verify() == []


def test_gaps_are_found(store: PriceStore, source: Source):
    frame = source.histories["A"].as_of(JAN)
    frame = frame[frame["date"] != pd.Timestamp("2023-01-02")]  # New Year's holiday: no gap
    frame = frame[~frame["date"].isin(pd.to_datetime(["2023-01-11", "2023-01-12", "2023-01-16"]))]  # the last is King's
    source.say = {"A": Answer("A", bars=frame)}
    source.ensure(store, ["A"], FIRST, JAN)
    [gap] = store.verify()
    assert (gap.kind, gap.symbol, gap.file) == ("gap", "A", "symbols/A.json")
    assert gap.detail == "2 days, 2023-01-11 to 2023-01-12: trading days of XNYS without a bar"
    assert store.verify(gaps=False) == []


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder, but for locks, which are empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }
