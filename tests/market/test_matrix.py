"""The matrix of adjusted closes: the same whichever way it comes, and fast only where it may be."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from histories import FIRST, Answer, History, Source
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import DataError, UnavailableError
from workbench.losses import Loss
from workbench.market.bars import bars_of
from workbench.market.coverage import DayRange
from workbench.market.matrix import CACHES_KEPT, read_cache
from workbench.market.prices import FileSource
from workbench.market.store import Origin, PriceStore

DAY = dt.timedelta(days=1)
JAN, FEB = dt.date(2023, 1, 31), dt.date(2023, 2, 28)


@pytest.fixture
def source() -> Source:
    return Source({"A": History(1), "B": History(2, first=FIRST + 7 * DAY), "C": History(3)}, dt.date(2023, 3, 1))


@pytest.fixture
def store(tmp_path: Path, source: Source) -> PriceStore:
    store = PriceStore(tmp_path / "prices")
    source.ensure(store, ["A", "B", "C"], FIRST, JAN)
    return store


def cache_files(store: PriceStore) -> list[Path]:
    return sorted((store.folder / "cache").iterdir())


def wide(source: Source, symbols: list[str], last: dt.date) -> pd.DataFrame:
    return pd.DataFrame({s: source.histories[s].as_of(last).set_index("date")["adj_close"] for s in symbols})


def test_days_and_values_are_those_of_the_symbols(store: PriceStore, source: Source):
    table = store.matrix(["C", "B", "A", "A"])
    expected = wide(source, ["A", "B", "C"], JAN)
    assert table.symbols == ("A", "B", "C")
    assert np.array_equal(table.days, expected.index.to_numpy().astype("datetime64[D]"))
    assert np.array_equal(table.values, expected.to_numpy(), equal_nan=True)
    assert np.isnan(table.values[:5, 1]).all() and table.losses == ()
    assert (table.source.name, table.source.path) == ("store", str(store.folder))
    assert table.values.flags.c_contiguous and table.values.flags.writeable


def test_bounds_cut_days(store: PriceStore, source: Source):
    table = store.matrix(["A", "B"], FIRST + 7 * DAY, FIRST + 8 * DAY)
    assert table.values.shape == (2, 2)
    assert np.array_equal(table.values, wide(source, ["A", "B"], JAN).to_numpy()[5:7])
    for bounds in ((FEB, FEB), (FIRST - DAY, FIRST - DAY)):
        with pytest.raises(DataError, match=f"must have a price of one of 1 symbols from {bounds[0]} to {bounds[1]}"):
            store.matrix(["A"], *bounds)


def test_the_second_read_comes_from_the_cache_and_is_equal(store: PriceStore):
    first, second = store.matrix(["A", "B"]), store.matrix(["B", "A"])
    assert store.counts == {"cache_missed": 1, "cache_hit": 1}
    assert second.source == first.source and second.symbols == first.symbols
    assert np.array_equal(first.values, second.values, equal_nan=True) and np.array_equal(first.days, second.days)
    assert second.values.dtype == np.float64 and second.days.dtype == "datetime64[D]"
    assert second.values.flags.c_contiguous and second.values.flags.writeable


def test_new_bars_never_meet_an_old_cache(store: PriceStore, source: Source):
    before = store.matrix(["A", "B"])
    source.ensure(store, ["A"], FIRST, FEB)
    after = store.matrix(["A", "B"])
    assert len(after.days) == len(before.days) + 20
    assert after.source.sha256 != before.source.sha256
    assert store.counts["cache_hit"] == 0


def test_every_flipped_byte_of_a_cache_is_found_and_the_cache_made_again(store: PriceStore):
    kept = store.matrix(["A", "B"])
    [path] = cache_files(store)
    data = path.read_bytes()
    header = data.index(b"\n") + 1
    for place in [*range(header + 10), *range(header, len(data), 37), len(data) - 1]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(UnavailableError):
            read_cache(path)
    for damaged in (path.read_bytes(), b"", data[:-8], data + b"\0", b"\n" + data):
        path.write_bytes(damaged)
        store.counts.clear()
        again = store.matrix(["A", "B"])
        assert store.counts == {"cache_damaged": 1}
        assert np.array_equal(again.values, kept.values, equal_nan=True) and again.source == kept.source
        assert path.read_bytes() == data


def test_only_some_caches_are_kept(store: PriceStore):
    for number in range(CACHES_KEPT + 3):
        store.matrix(["A"], FIRST, JAN - number * DAY)
    assert len(cache_files(store)) == CACHES_KEPT


def test_a_cache_that_cannot_be_written_costs_time_only(store: PriceStore, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise UnavailableError("read-only")

    monkeypatch.setattr("workbench.market.matrix.write_file", refuse)
    assert store.matrix(["A"]).values.shape == (22, 1)
    assert cache_files(store) == []


def test_symbols_without_prices_are_left_out_and_listed(store: PriceStore, source: Source):
    source.ensure(store, ["A", "GONE"], FIRST, JAN)
    table = store.matrix(["A", "GONE", "NEVER"])
    assert table.symbols == ("A",)
    assert table.losses == (
        Loss("not_priced", None, "GONE", 1, None, None, "no such symbol"),
        Loss("not_priced", None, "NEVER", 1, None, None, "it was never fetched"),
    )
    with pytest.raises(DataError, match="must have a price of one of 2 symbols"):
        store.matrix(["GONE", "NEVER"])


def test_a_damaged_file_is_left_out_and_listed_never_read(store: PriceStore, source: Source):
    path = store.object_path("A", store.coverage("A").sha256)
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    table = store.matrix(["A", "C"])
    assert table.symbols == ("C",)
    [loss] = table.losses
    assert (loss.kind, loss.symbol) == ("not_priced", "A")
    assert path.name in loss.reason and "checksum" in loss.reason
    assert store.matrix(["A", "C"]).losses == table.losses
    source.ensure(store, ["A"], FIRST, JAN)
    assert store.matrix(["A", "C"]).symbols == ("A", "C")


@pytest.mark.parametrize("cached", [False, True])
def test_a_price_that_is_none_counts_as_none_and_is_listed(store: PriceStore, source: Source, cached: bool):
    frame = source.histories["A"].as_of(JAN)
    frame.loc[[2, 4, 5], "adj_close"] = [0.0, -1.0, np.inf]
    frame.loc[7, "adj_close"] = np.nan
    source.say = {"D": Answer("D", bars=frame)}
    source.ensure(store, ["D"], FIRST, JAN)
    table = store.matrix(["C", "D"])
    if cached:
        table = store.matrix(["C", "D"])
        assert store.counts["cache_hit"] == 1
    assert np.flatnonzero(np.isnan(table.values[:, 1])).tolist() == [2, 4, 5, 7]
    reason = "an adjusted close that is no price counts as none: 0 on 2023-01-04"
    assert table.losses == (Loss("bad_price", None, "D", 3, "2023-01-04", "2023-01-09", reason),)


@settings(max_examples=25)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=5),
    first=st.none() | st.integers(0, 70),
    last=st.none() | st.integers(0, 70),
)
def test_the_matrix_equals_that_of_the_same_bars_in_a_file(tmp_path_factory, shapes, first, last):
    folder = tmp_path_factory.mktemp("store")
    store, frames = PriceStore(folder), {}
    for number, (start, n, holes) in enumerate(shapes):
        frame = History(number, n=n + 1, first=FIRST + start * DAY).as_of(dt.date(2024, 1, 1))
        frame.loc[frame.index[::holes] if holes else [], "adj_close"] = np.nan
        frames[f"S{number}"] = frame
        days = DayRange(FIRST, FIRST + 200 * DAY)
        store.update(f"S{number}", bars_of("S", frame), days, Origin(), dt.datetime(2024, 1, 1, tzinfo=dt.UTC))
    start, end = (None if day is None else FIRST + day * DAY for day in (first, last))
    long = pd.concat([frame.assign(symbol=symbol) for symbol, frame in frames.items()])
    days = long["date"].dt.date
    long = long[(days >= (start or dt.date.min)) & (days <= (end or dt.date.max)) & long["adj_close"].notna()]
    for _ in range(2):  # from the files, and from the cache
        if long.empty:
            with pytest.raises(DataError):
                store.matrix(frames, start, end)
            continue
        ours, theirs = store.matrix(frames, start, end), FileSource(long).load()
        assert np.array_equal(ours.days, theirs.days)
        columns = [ours.columns[symbol] for symbol in theirs.symbols]
        assert np.array_equal(ours.values[:, columns], theirs.values, equal_nan=True)
        others = [place for place in range(len(ours.symbols)) if place not in columns]
        assert np.isnan(ours.values[:, others]).all()


@pytest.mark.real
def test_real_bars_come_back_as_they_are_in_the_file(tmp_path: Path, real_data: Path):
    table = FileSource(real_data / "prices.csv.gz").load()
    frame = pd.read_csv(real_data / "prices.csv.gz", keep_default_na=False, na_values=[""], parse_dates=["date"])
    frame = frame.assign(dividends=0.0, splits=0.0)
    store = PriceStore(tmp_path)
    days = DayRange(dt.date(2020, 1, 1), dt.date(2023, 12, 31))
    for symbol, bars in frame.groupby("symbol"):
        store.update(str(symbol), bars, days, Origin(exchange="NYQ", timezone="America/New_York"))
    ours = store.matrix(table.symbols)
    assert ours.symbols == table.symbols and np.array_equal(ours.days, table.days)
    assert np.array_equal(ours.values, table.values, equal_nan=True)
    assert store.verify() == []
