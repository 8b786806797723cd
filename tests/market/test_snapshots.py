"""Snapshots: the same bars later, although the source and the store have changed."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import numpy as np
import pytest
from histories import FIRST, History, Source, same

from workbench.errors import DataError, UnavailableError
from workbench.market.bars import decode
from workbench.market.store import PriceStore

DAY = dt.timedelta(days=1)
JAN, FEB = dt.date(2023, 1, 31), dt.date(2023, 2, 28)


@pytest.fixture
def source() -> Source:
    return Source({"A": History(1), "B": History(2)}, dt.date(2023, 3, 1))


@pytest.fixture
def store(tmp_path: Path, source: Source) -> PriceStore:
    store = PriceStore(tmp_path / "prices")
    source.ensure(store, ["A", "B", "GONE"], FIRST, JAN)
    return store


def objects(store: PriceStore) -> list[str]:
    return sorted(path.name for path in (store.folder / "objects").iterdir())


def test_a_snapshot_gives_the_same_bars_after_the_source_has_rewritten_its_past(store: PriceStore, source: Source):
    before, name = store.matrix(["A", "B"]), store.snapshot(["A", "B"])
    source.histories["A"].events[JAN + DAY] = ("dividend", 2.0)
    source.ensure(store, ["A", "B"], FIRST, FEB)
    for path in (store.folder / "objects").iterdir():
        os.utime(path, (0, 0))
    assert store.prune() == []  # both old files are in the snapshot
    after = store.snapshot_matrix(name)
    assert np.array_equal(after.values, before.values) and np.array_equal(after.days, before.days)
    assert after.source.sha256 == before.source.sha256
    assert after.source.name == f"snapshot:{name}"
    assert not np.array_equal(store.matrix(["A", "B"], FIRST, JAN).values, before.values)


def test_the_same_data_have_the_same_id_and_are_kept_once(store: PriceStore, source: Source):
    name, files = store.snapshot(["A", "B"]), objects(store)
    assert store.snapshot(["B", "A", "A"]) == name
    assert objects(store) == files
    source.histories["A"].events[JAN + DAY] = ("dividend", 2.0)
    source.ensure(store, ["A"], FIRST, JAN + DAY)
    other = store.snapshot(["A", "B"])
    assert other != name
    assert store.snapshots() == sorted([name, other])
    assert len(objects(store)) == len(files) + 1  # only A differs


def test_bounds_cut_so_that_later_days_do_not_change_the_id(store: PriceStore, source: Source):
    bounds = (FIRST + 7 * DAY, FIRST + 18 * DAY)
    name = store.snapshot(["A", "B"], *bounds)
    source.ensure(store, ["A", "B"], FIRST, FEB)
    files = objects(store)
    assert store.snapshot(["A", "B"], *bounds) == name
    assert objects(store) == files
    assert store.snapshot(["A", "B"]) != name
    table = store.snapshot_matrix(name)
    assert (table.days[0], table.days[-1]) == (np.datetime64("2023-01-09"), np.datetime64("2023-01-20"))
    assert table.source.sha256 == store.matrix(["A", "B"], *bounds).source.sha256
    entry = store.read_snapshot(name).entries["A"]
    assert (entry.first, entry.last, entry.rows) == (dt.date(2023, 1, 9), dt.date(2023, 1, 20), 10)
    assert same(decode(store.object_bytes(entry)), source.histories["A"].bars(source.today, *bounds))


def test_symbols_without_prices_are_listed_with_their_reason(store: PriceStore):
    name = store.snapshot(["A", "GONE", "NEVER"])
    found = store.read_snapshot(name)
    assert [(entry.symbol, entry.status, entry.reason) for entry in found.entries.values()] == [
        ("A", "ok", ""),
        ("GONE", "missing", "no such symbol"),
        ("NEVER", "missing", "it was never fetched"),
    ]
    losses = store.snapshot_matrix(name).losses
    assert [(loss.kind, loss.symbol) for loss in losses] == [("not_priced", "GONE"), ("not_priced", "NEVER")]
    assert store.snapshot_matrix(name, ["A"]).losses == ()
    with pytest.raises(DataError, match="got B, which is not in it"):
        store.snapshot_matrix(name, ["A", "B"])


def test_why_a_symbol_could_not_be_fetched_is_kept_in_the_snapshot(store: PriceStore):
    plain = store.snapshot(["A", "LIM"])
    name = store.snapshot(["A", "LIM"], reasons={"LIM": "limited: too many requests", "NOT": "asked for"})
    assert name != plain  # a report prints the reason
    assert [loss.reason for loss in store.snapshot_matrix(name).losses] == ["limited: too many requests"]
    # The same prices, but a report says of one that they could not be updated.
    assert store.snapshot(["A"], reasons={"A": "limited: too many requests"}) != store.snapshot(["A"])


def test_a_snapshot_of_nothing_is_refused(store: PriceStore):
    for symbols, bounds in ((["GONE"], ()), ([], ()), (["A"], (FEB, FEB))):
        with pytest.raises(DataError, match="a snapshot must have a symbol with stored prices"):
            store.snapshot(symbols, *bounds)
    assert store.snapshots() == []


def test_an_unknown_id_is_refused_with_near_ones(store: PriceStore):
    with pytest.raises(DataError, match="got abc; the store has none"):
        store.read_snapshot("abc")
    name = store.snapshot(["A"])
    with pytest.raises(DataError, match=f"did you mean {name}"):
        store.read_snapshot(name[:-1])
    with pytest.raises(DataError, match=f"got zzz; there are {name}"):
        store.snapshot_matrix("zzz")
    with pytest.raises(DataError, match="snapshot must be the id of one"):
        store.read_snapshot(f"../snapshots/{name}")


def test_a_damaged_file_of_a_snapshot_is_named_and_heals_when_it_is_fetched_again(store: PriceStore, source: Source):
    name, kept = store.snapshot(["A", "B"]), store.matrix(["A", "B"])
    path = store.object_path("A", store.coverage("A").sha256)
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(UnavailableError, match=f"snapshot {name} cannot be read: .*{path.name}") as error:
            store.read_snapshot(name)
        assert "\n" not in str(error.value)
    assert store.coverage("A").status == "damaged"
    assert any(path.name in file.name for file in (store.folder / "set-aside").iterdir())
    source.ensure(store, ["A"], JAN, JAN)
    assert store.coverage("A").first == FIRST  # all that was covered came back
    assert np.array_equal(store.snapshot_matrix(name).values, kept.values)
    assert store.read_snapshot(name).entries["A"].sha256 == store.coverage("A").sha256


def test_a_damaged_file_that_only_a_snapshot_has_is_set_aside(store: PriceStore, source: Source):
    name = store.snapshot(["A"], FIRST, FIRST + 7 * DAY)
    entry = store.read_snapshot(name).entries["A"]
    path = store.object_path("A", entry.sha256)
    path.write_bytes(b"PAR1" + path.read_bytes()[4:-1] + b"?")
    with pytest.raises(UnavailableError, match="those that were written"):
        store.snapshot_matrix(name)
    assert not path.exists()
    assert store.coverage("A").status == "ok"
    assert store.snapshot(["A"], FIRST, FIRST + 7 * DAY) == name
    assert same(decode(store.object_bytes(entry)), source.histories["A"].bars(source.today, FIRST, FIRST + 7 * DAY))


def test_a_damaged_snapshot_is_set_aside_and_nothing_is_swept_while_it_is_there(store: PriceStore, source: Source):
    name = store.snapshot(["A", "B"])
    source.histories["A"].events[JAN + DAY] = ("dividend", 2.0)
    source.ensure(store, ["A"], FIRST, FEB)
    path = store.folder / "snapshots" / f"{name}.json"
    path.write_bytes(path.read_bytes().replace(b"rows", b"raws", 1))
    files = objects(store)
    assert store.prune(dt.timedelta(0)) == []  # what it needs is not known any more
    assert objects(store) == files
    assert store.snapshots() == []
    with pytest.raises(DataError):
        store.read_snapshot(name)
    assert len(store.prune(dt.timedelta(0))) == 1
