"""The price store under attack: killed processes, rivals, damaged bytes, full disks. Nothing is lost, nothing wrong is read."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from histories import FIRST, History, Source, same

from workbench.errors import DataError, UnavailableError
from workbench.market import durable
from workbench.market.coverage import DayRange
from workbench.market.merge import Origin
from workbench.market.store import PriceStore

DAY = dt.timedelta(days=1)
JAN, FEB = dt.date(2023, 1, 31), dt.date(2023, 2, 28)
HERE = Path(__file__).resolve().parent
KILLS = 50 if os.environ.get("WORKBENCH_FULL") else 5


def script(text: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that can import what this file imports."""
    code = f"import sys; sys.path.insert(0, {str(HERE)!r})\n{text}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def histories(n: int) -> dict[str, History]:
    """Return symbols with a dividend every other week and a split: most updates rewrite the whole history."""
    made = {}
    for number, symbol in enumerate(("A", "BRK.B", "^C")):
        made[symbol] = History(number, n=n)
        for week in range(2, n // 5, 2):
            made[symbol].events[FIRST + (7 * week + number) * DAY] = ("split", 2.0) if week == 6 else ("dividend", 0.3)
    return made


def damage(store: PriceStore) -> list[str]:
    return [f"{one.file}: {one.detail}" for one in store.verify(gaps=False) if one.kind not in ("unused",)]


# ---- killed ----

UPDATES = """
import datetime as dt
from histories import FIRST, Source
from test_store_faults import histories
from workbench.market.store import PriceStore
from workbench.market.matrix import stored_matrix

store, days = PriceStore(sys.argv[1]), 1500
source = Source(histories(days), FIRST + dt.timedelta(days=20))
print("ready", flush=True)
while True:
    source.ensure(store, source.histories, FIRST, source.today)
    store.snapshot(source.histories, FIRST, FIRST + dt.timedelta(days=10))
    stored_matrix(store, source.histories)
    store.prune(dt.timedelta(0))
    source.today += dt.timedelta(days=1)
"""


@pytest.mark.parametrize("round_", range(KILLS))
def test_a_process_that_is_killed_leaves_a_store_that_goes_on(tmp_path: Path, round_: int):
    with script(UPDATES, tmp_path) as child:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        time.sleep(random.Random(round_ if KILLS == 5 else None).uniform(0, 0.6))
        child.send_signal(signal.SIGKILL)
    store = PriceStore(tmp_path)
    assert damage(store) == []
    truth = histories(1500)
    for symbol in store.symbols():  # what is there is what was true on the day of its last fetch
        known = store.coverage(symbol)
        assert same(store.read(symbol), truth[symbol].bars(known.fetched_at.date(), FIRST, known.covered.last))
    source = Source(truth, FIRST + 900 * DAY)
    assert {one.status for one in source.ensure(store, truth, FIRST, source.today)} == {"ok"}
    for symbol, history in truth.items():
        assert same(store.read(symbol), history.bars(source.today, FIRST, source.today - DAY))
    store.prune(dt.timedelta(0))
    assert store.verify(gaps=False) == []


class Killed(BaseException):
    """Stands for SIGKILL: nothing that would clean up runs."""


@contextlib.contextmanager
def killed_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kill at the `moment`-th call of those that reach the disk; from then on nothing reaches it."""
    calls = Counter[str]()

    def dying(call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*arguments: object, **named: object) -> object:
            calls["all"] += 1
            if calls["all"] > moment:
                raise Killed
            return call(*arguments, **named)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("replace", "fsync", "utime"):
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(durable.secrets, "token_hex", dying(durable.secrets.token_hex))
        yield


def test_every_moment_between_two_calls_is_a_good_one_to_be_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = Source({"A": History(1), "B": History(2)}, JAN + DAY)
    source.ensure(PriceStore(tmp_path / "before"), ["A", "B"], FIRST, JAN)
    old = {symbol: history.bars(source.today, FIRST, JAN) for symbol, history in source.histories.items()}
    source.today = FEB + DAY
    source.histories["A"].events[JAN + 3 * DAY] = ("dividend", 3.0)
    new = {symbol: history.bars(source.today, FIRST, FEB) for symbol, history in source.histories.items()}
    survived = []
    for moment in range(200):
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "before", folder)
        finished = False
        with killed_at(moment, monkeypatch), contextlib.suppress(Killed):
            source.ensure(PriceStore(folder), ["A", "B"], FIRST, FEB)
            finished = True
        store = PriceStore(folder)
        assert damage(store) == []
        state = tuple("new" if same(store.read(s), new[s]) else "old" for s in ("A", "B"))
        assert all(word == "new" or same(store.read(s), old[s]) for s, word in zip(("A", "B"), state, strict=True))
        survived.append(state)
        source.ensure(store, ["A", "B"], FIRST, FEB)
        assert same(store.read("A"), new["A"]) and same(store.read("B"), new["B"])
        store.prune(dt.timedelta(0))
        assert store.verify(gaps=False) == []
        if finished:
            break
    assert finished and moment > 10
    assert set(survived) == {("old", "old"), ("old", "new"), ("new", "new")}  # B needs one request, A two


# ---- rivals ----

RIVAL = """
import json
from pathlib import Path
from histories import FIRST, History, Source
from test_store_faults import FEB
from workbench.market.store import PriceStore

folder, log, symbols = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
source = Source({s: History(ord(s)) for s in "ABCDEFGHIJ"}, FEB.replace(month=3), log=log, delay_seconds=0.03)
print("ready", flush=True)
sys.stdin.readline()
done = source.ensure(PriceStore(folder), symbols, FIRST, FEB)
print(*(f"{one.symbol}:{one.status}:{one.requests}" for one in done))
"""


def test_eight_processes_fetch_each_symbol_once(tmp_path: Path):
    log, chance = tmp_path / "log", random.Random(8)
    lists = [chance.sample("ABCDEFGHIJ", 6) for _ in range(8)]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(script(RIVAL, tmp_path / "prices", log, ",".join(symbols))) for symbols in lists
        ]
        for child in children:
            assert child.stdout.readline() == "ready\n", child.stderr.read()
        for child in children:
            child.stdin.write("\n")
            child.stdin.flush()
        answers = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0] * 8, answers
    asked = [line.split()[0] for line in log.read_text().splitlines()]
    assert sorted(asked) == sorted(set().union(*lists))
    for symbols, (out, _) in zip(lists, answers, strict=True):
        assert [word.split(":")[:2] for word in out.split()] == [[symbol, "ok"] for symbol in symbols]
    assert sum(word.endswith(":1") for out, _ in answers for word in out.split()) == len(asked)
    store = PriceStore(tmp_path / "prices")
    for symbol in asked:
        assert same(store.read(symbol), History(ord(symbol)).bars(FEB + DAY, FIRST, FEB))
    assert store.verify(gaps=False) == []


def test_readers_see_the_old_bars_or_the_new_ones_while_a_writer_writes(tmp_path: Path):
    truth = History(1, n=300)
    source = Source({"A": truth}, FIRST + 30 * DAY)
    PriceStore(tmp_path)
    source.ensure(PriceStore(tmp_path), ["A"], FIRST, source.today)
    stop, wrong, read = threading.Event(), [], Counter[str]()

    def reader() -> None:
        store = PriceStore(tmp_path)
        while not stop.is_set():
            table = store.matrix(["A"])
            expected = truth.bars(table.days[-1].item()).column("adj_close")
            if not np.array_equal(table.values[:, 0], expected):
                wrong.append(table.days[-1])
            read["all"] += 1

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    writer = PriceStore(tmp_path)
    for _ in range(30):
        source.today += DAY
        source.ensure(writer, ["A"], FIRST, source.today)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == [] and read["all"] > 10


# ---- damaged bytes ----


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with everything in it: replaced files, a missing symbol, a snapshot with cut bars, a cache."""
    folder = tmp_path_factory.mktemp("whole") / "prices"
    store, source = PriceStore(folder), Source({"A": History(1), "B": History(2)}, FEB + DAY)
    source.ensure(store, ["A", "B", "GONE"], FIRST, JAN)
    store.snapshot(["A", "B"], FIRST, FIRST + 7 * DAY)
    store.snapshot(["A", "GONE"])
    source.histories["A"].events[JAN + DAY] = ("dividend", 2.0)
    source.ensure(store, ["A", "B"], FIRST, FEB)
    store.matrix(["A", "B"])
    assert damage(store) == []
    store.prune(dt.timedelta(0))
    return folder


def test_a_flipped_byte_in_any_file_is_found_and_named(whole: Path, tmp_path: Path):
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.stat().st_size)
    assert Counter(path.parts[0] for path in files) == {
        "objects": 5,
        "symbols": 3,
        "snapshots": 2,
        "cache": 1,
        "schema.json": 1,
    }
    chance = random.Random(1)
    for number, name in enumerate(files):
        size = (whole / name).stat().st_size
        for place in (0, 1, size // 2, size - 2, size - 1, chance.randrange(size)):
            folder = tmp_path / f"{number}-{place}"
            shutil.copytree(whole, folder, dirs_exist_ok=True)
            data = bytearray((folder / name).read_bytes())
            data[place] ^= 1 << chance.randrange(8)
            (folder / name).write_bytes(data)
            store = PriceStore(folder)
            found = [one for one in store.verify(gaps=False) if one.kind == "damaged"]
            assert str(name) in [one.file for one in found], f"byte {place} of {name}: {found}"
            shutil.rmtree(folder)


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "gone", "swapped"])
@pytest.mark.parametrize("kind", ["objects", "symbols"])
def test_a_damaged_symbol_is_set_aside_and_fetched_again(whole: Path, tmp_path: Path, how: str, kind: str):
    shutil.copytree(whole, tmp_path / "prices")
    store = PriceStore(tmp_path / "prices")
    source = Source({"A": History(1, events={JAN + DAY: ("dividend", 2.0)}), "B": History(2)}, FEB + DAY)
    paths = {
        s: store.object_path(s, store.coverage(s).sha256) if kind == "objects" else store.manifest_path(s) for s in "AB"
    }
    data = paths["A"].read_bytes()
    changes = {"flipped": data[:99] + bytes([data[99] ^ 8]) + data[100:], "cut": data[:-7], "empty": b""}
    if how == "gone":
        paths["A"].unlink()
    else:
        paths["A"].write_bytes(changes.get(how) or (b"" if how == "empty" else paths["B"].read_bytes()))
    if not (how == "gone" and kind == "symbols"):  # a symbol without a manifest is just not known
        for _ in range(2):
            with pytest.raises(
                UnavailableError, match=r"A has no stored prices: .* was damaged: .*; fetch them: "
            ) as error:
                store.read("A")
            assert "\n" not in str(error.value)
        assert store.status().set_index("symbol").loc["A", "status"] == "damaged"
        aside = sorted(path.name.partition("-")[2] for path in (store.folder / "set-aside").iterdir())
        assert (how == "gone") or any(paths["A"].name in name for name in aside)
        assert (how == "gone") or any(name.endswith(".txt") for name in aside)
    source.ensure(store, ["A", "B"], FIRST, FEB)
    assert source.sent() == [("A", f"{FIRST} to {FEB}")]  # B is whole
    assert same(store.read("A"), source.histories["A"].bars(source.today, FIRST, FEB))
    assert damage(store) == []


def test_a_fetch_finds_the_damage_before_it_calls_a_symbol_covered(whole: Path, tmp_path: Path):
    shutil.copytree(whole, tmp_path / "prices")
    store, source = PriceStore(tmp_path / "prices"), Source({"A": History(1), "B": History(2)}, FEB + DAY)
    path = store.object_path("B", store.coverage("B").sha256)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    [done] = source.ensure(store, ["B"], JAN, JAN)
    assert (done.status, done.action) == ("ok", "stored")
    assert source.sent() == [("B", f"{FIRST} to {FEB}")]  # the whole of what it had covered
    assert path.read_bytes() == data


def test_damage_that_cannot_be_set_aside_is_still_damage(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(whole, tmp_path / "prices")
    store = PriceStore(tmp_path / "prices")
    path = store.object_path("A", store.coverage("A").sha256)
    path.write_bytes(b"x" * path.stat().st_size)
    shutil.rmtree(store.folder / "cache")  # it would still give the right values, under its own checksum

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    for _ in range(2):
        assert [(loss.kind, loss.symbol) for loss in store.matrix(["A", "B"]).losses] == [("not_priced", "A")]
        with pytest.raises(UnavailableError, match="was damaged"):
            store.read("A")
    assert path.exists()


# ---- a full disk ----


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path):
    source = Source({"A": History(1, n=4000)}, FIRST + 5000 * DAY)
    store = PriceStore(tmp_path)
    source.ensure(store, ["A"], FIRST, FEB)
    kept, files = store.read("A"), sorted(path for path in tmp_path.rglob("*") if path.is_file())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # stands for the end of the disk
    try:
        with pytest.raises(
            UnavailableError, match="cannot be written: File too large; what was stored before is whole"
        ):
            source.ensure(store, ["A"], FIRST, FIRST + 4000 * DAY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert same(store.read("A"), kept)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files
    assert damage(store) == []
    source.ensure(store, ["A"], FIRST, FIRST + 4000 * DAY)
    assert len(store.read("A")) > 2800


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a full disk: mounting a tmpfs is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_every_old_file_whole(small_disk: Path):
    symbols = [f"S{number}" for number in range(8)]
    source = Source({symbol: History(number, n=900) for number, symbol in enumerate(symbols)}, FIRST + 1300 * DAY)
    store = PriceStore(small_disk / "prices")
    source.ensure(store, symbols, FIRST, FIRST + 300 * DAY)
    kept = {symbol: store.read(symbol) for symbol in symbols}
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 100_000))
    with pytest.raises(
        UnavailableError, match="No space left on device; what was stored before is whole; make room"
    ) as error:
        source.ensure(store, symbols, FIRST, FIRST + 1200 * DAY)
    assert error.value.exit_code == 3 and "\n" not in str(error.value)
    assert damage(store) == []
    states = Counter(same(store.read(symbol), kept[symbol]) for symbol in symbols)
    assert states[True] > 0
    filler.unlink()
    store.prune(dt.timedelta(0))
    source.ensure(store, symbols, FIRST, FIRST + 1200 * DAY)
    for symbol, history in source.histories.items():
        assert same(store.read(symbol), history.bars(source.today, FIRST, FIRST + 1200 * DAY))


def test_a_snapshot_or_a_record_on_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = Source({"A": History(1)}, FEB + DAY)
    store = PriceStore(tmp_path)
    source.ensure(store, ["A"], FIRST, JAN)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for work in (
            lambda: store.snapshot(["A"]),
            lambda: store.snapshot(["A"], FIRST, FIRST + 7 * DAY),
            lambda: source.ensure(store, ["A", "GONE"], FIRST, JAN),
            lambda: store.update("B", History(2).as_of(JAN), DayRange(FIRST, JAN), Origin()),
        ):
            with pytest.raises(UnavailableError, match="cannot be written: No space left on device"):
                work()
    assert store.snapshots() == [] and store.symbols() == ["A"]
    assert store.verify(gaps=False) == []
    with pytest.raises(DataError):
        store.read("B")
