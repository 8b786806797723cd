"""The request budget: never more than its rate in any second, for all processes, whatever happens to one of them."""

from __future__ import annotations

import _thread
import errno
import itertools
import json
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from fake_yahoo import most_within
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigError, UnavailableError
from workbench.market import budget as module
from workbench.market.budget import IN_FLIGHT_SECONDS, RequestBudget, RequestCancelled, default_budget

FORK = multiprocessing.get_context("fork")  # starts in milliseconds, and copies whatever locks are held


class Clock:
    """Stands for the `time` module: sleeping takes no time."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stand_in = Clock()
    monkeypatch.setattr(module, "time", stand_in)
    return stand_in


def start(work: Any, *arguments: Any) -> BaseProcess:
    process = FORK.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that in time"
        time.sleep(0.005)


def waiting(folder: Path) -> int:
    """Return how many stand in the queue."""
    state = folder / "state.json"
    return len(json.loads(state.read_text())["queue"]) if state.exists() else 0


# ---- the rate ----


def _send(folder: Path, per_second: float, count: int, log: Path) -> None:
    """Send requests that reach the server somewhere between their grant and their answer."""
    limit = RequestBudget(folder, per_second)
    for turn in range(count):
        with limit.request():
            time.sleep(0.04 * (turn % 4))
            with log.open("a") as file:
                file.write(f"{time.monotonic()} {os.getpid()}\n")
            time.sleep(0.02 * (turn % 3))


def test_eight_processes_never_exceed_the_budget_in_any_second(tmp_path: Path) -> None:
    per_second, each, log = 12.0, 5, tmp_path / "log"
    began = time.monotonic()
    workers = [start(_send, tmp_path / "budget", per_second, each, log) for _ in range(8)]
    for worker in workers:
        worker.join(30)
    lines = [line.split() for line in log.read_text().splitlines()]
    times = sorted(float(moment) for moment, _ in lines)
    assert len(times) == 8 * each and len({who for _, who in lines}) == 8
    assert most_within(times, 1.0) <= per_second
    assert time.monotonic() - began < 3 * len(times) / per_second, "it should come near to the rate that is allowed"


def test_threads_of_one_process_share_the_budget(tmp_path: Path) -> None:
    limit, times = RequestBudget(tmp_path, 20), []

    def send() -> None:
        for _ in range(5):
            with limit.request():
                times.append(time.monotonic())

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(times) == 30 and most_within(sorted(times), 1.0) <= 20


def _count(folder: Path, until: float, total: Any) -> None:
    limit = RequestBudget(folder, 30)

    def send() -> None:
        while time.monotonic() < until:
            limit.acquire()
            with total.get_lock():
                total.value += 1

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_nobody_starves_though_each_asks_again_at_once(tmp_path: Path) -> None:
    totals = [FORK.Value("i", 0) for _ in range(4)]
    until = time.monotonic() + 2.5
    for worker in [start(_count, tmp_path, until, total) for total in totals]:
        worker.join(20)
    got = [total.value for total in totals]
    assert sum(got) >= 40 and min(got) >= sum(got) / len(got) / 2, got


@pytest.mark.parametrize("per_second", [0.25, 0.5, 1, 1.5, 2, 2.9, 7, 16, 17, 33, 50, 120.5, 999])
def test_the_rate_holds_in_every_second_at_any_rate(tmp_path: Path, clock: Clock, per_second: float) -> None:
    limit, times = RequestBudget(tmp_path, per_second), []
    for _ in range(min(math.ceil(per_second * 2) + 3, 150)):
        limit.acquire()
        times.append(clock.now)
    most = most_within(times, 1.0)
    assert most <= max(per_second, 1) and most_within(times, max(1, 1 / per_second)) <= max(per_second, 1)
    assert len(times) / (times[-1] - times[0]) >= 0.5 * per_second


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.floats(0, 1)), min_size=3, max_size=25), st.data())
def test_the_rate_holds_wherever_on_its_way_each_request_arrives(
    delays: list[tuple[float, float, float]], data: st.DataObject
) -> None:
    folder = Path(data.draw(st.uuids()).hex)  # a name only: nothing is written
    clock, limit, arrived, saved = Clock(), RequestBudget(folder, 2), [], module._State([])
    answers: list[tuple[float, str]] = []
    for before, under_way, share in delays:
        clock.now += before
        while True:
            for at, identity in [answer for answer in answers if answer[0] <= clock.now]:
                answers.remove((at, identity))
                saved.grants = [(own, one, min(two, at) if own == identity else two) for own, one, two in saved.grants]
            wait = limit._earliest(saved) - clock.now
            if wait <= 0:
                break
            clock.now += min(wait, 0.05)
        identity = str(len(arrived))
        saved.grants.append((identity, clock.now, clock.now + IN_FLIGHT_SECONDS))
        answers.append((clock.now + under_way, identity))
        arrived.append(clock.now + min(under_way * share, IN_FLIGHT_SECONDS))
    assert most_within(sorted(arrived), 1.0 - 1e-9) <= 2


def test_the_first_request_does_not_wait_and_the_next_ones_are_spread(tmp_path: Path, clock: Clock) -> None:
    limit, times = RequestBudget(tmp_path, 2), []
    for _ in range(5):
        limit.acquire()
        times.append(round(clock.now - 1000, 3))
    assert times == [0, 0.5, 1, 1.5, 2]


def test_a_request_counts_from_its_answer_and_without_one_from_when_it_must_have_arrived(
    tmp_path: Path, clock: Clock
) -> None:
    limit = RequestBudget(tmp_path, 1)
    with limit.request():
        clock.now += 0.3
    limit.acquire()
    assert clock.now == pytest.approx(1001.3)
    limit._take(None, IN_FLIGHT_SECONDS)  # never answered
    at = clock.now
    limit.acquire()
    assert clock.now - at == pytest.approx(1 + IN_FLIGHT_SECONDS)


def test_who_came_first_goes_first_and_who_is_gone_loses_the_place(tmp_path: Path, clock: Clock) -> None:
    limit = RequestBudget(tmp_path, 2)
    limit.acquire()
    assert limit._visit("first", 0) > 0 and limit._visit("second", 0) > 0
    clock.now += 1
    assert limit._visit("second", 0) > 0
    assert limit._visit("first", 0) == 0
    clock.now += 1
    assert limit._visit("third", 0) > 0
    clock.now += module.GONE_SECONDS
    assert limit._visit("third", 0) == 0 and waiting(tmp_path) == 0


# ---- what happens to one of them ----


def test_a_killed_waiter_does_not_hold_up_the_others(tmp_path: Path) -> None:
    limit = RequestBudget(tmp_path, 1)
    limit.acquire()
    waiter = start(limit.acquire)
    wait_for(lambda: waiting(tmp_path) == 1)
    os.kill(waiter.pid or 0, signal.SIGKILL)
    began = time.monotonic()
    limit.acquire()
    assert time.monotonic() - began < module.GONE_SECONDS + 1


def _hang(limit: RequestBudget) -> None:
    with limit.request():
        time.sleep(60)


def test_a_request_whose_sender_was_killed_is_taken_for_sent(tmp_path: Path) -> None:
    limit = RequestBudget(tmp_path, 1)
    sender = start(_hang, limit)
    wait_for((tmp_path / "state.json").exists)
    os.kill(sender.pid or 0, signal.SIGKILL)
    began = time.monotonic()
    limit.acquire()
    assert IN_FLIGHT_SECONDS + 0.5 < time.monotonic() - began < IN_FLIGHT_SECONDS + 2


NOW, LATER = 1000.0, 1e12
DAMAGED = [
    b"",
    b"{",
    b"\x00\xff\xfe" * 9,
    b"[]",
    b"{}",
    b'{"version": 1, "grants": [["a", 1]], "queue": [], "not_before": 0}',
    json.dumps({"version": 2, "grants": [], "queue": [], "not_before": 0}).encode(),
    json.dumps({"version": 1, "grants": [["a", LATER, LATER]], "queue": [], "not_before": 0}).encode(),
    json.dumps({"version": 1, "grants": [["a", NOW, LATER]], "queue": [], "not_before": 0}).encode(),
    json.dumps({"version": 1, "grants": [["a", math.nan, NOW]], "queue": [], "not_before": 0}).encode(),
    json.dumps({"version": 1, "grants": [], "queue": [], "not_before": LATER}).encode(),
    json.dumps({"version": 1, "grants": [], "queue": [], "not_before": "soon"}).encode(),
    json.dumps({"version": 1, "grants": [], "queue": [["a", LATER]], "not_before": 0}).encode(),
]


@pytest.mark.parametrize("state", DAMAGED)
def test_a_damaged_or_future_state_counts_as_a_budget_just_used_up(tmp_path: Path, clock: Clock, state: bytes) -> None:
    (tmp_path / "state.json").write_bytes(state)
    limit = RequestBudget(tmp_path, 2)
    limit.acquire()
    assert clock.now == pytest.approx(NOW + 1)
    limit.acquire()
    assert clock.now == pytest.approx(NOW + 1.5)
    assert json.loads((tmp_path / "state.json").read_bytes())["version"] == 1


def test_steps_of_the_wall_clock_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = itertools.cycle([0.0, 4e9, -4e9, 0.0, 1e6])
    monkeypatch.setattr(time, "time", lambda: next(steps))
    limit, began = RequestBudget(tmp_path, 10), time.monotonic()
    for _ in range(4):
        limit.acquire()
    assert 0.3 <= time.monotonic() - began < 1.5


# ---- waiting ----


def test_postponing_holds_back_those_who_wait_already(tmp_path: Path) -> None:
    limit, done = RequestBudget(tmp_path, 10), []
    limit.acquire()
    threads = [threading.Thread(target=lambda: (limit.acquire(), done.append(time.monotonic()))) for _ in range(2)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    RequestBudget(tmp_path, 10).postpone(0.7)
    for thread in threads:
        thread.join(10)
    assert len(done) == 2 and min(done) - began >= 0.7


def test_postponing_less_does_not_shorten_a_hold_and_none_lasts_for_ever(tmp_path: Path, clock: Clock) -> None:
    limit = RequestBudget(tmp_path, 10)
    limit.postpone(20)
    limit.postpone(1)
    limit.postpone(-5)
    limit.acquire()
    assert clock.now == pytest.approx(1020)
    limit.postpone(math.inf)
    limit.acquire()
    assert clock.now == pytest.approx(1020 + module.MOST_SECONDS)


def test_a_wait_can_be_cancelled_at_the_head_of_the_queue_and_behind_it(tmp_path: Path) -> None:
    limit, stop, ended = RequestBudget(tmp_path, 0.1), threading.Event(), []
    limit.acquire()

    def wait() -> None:
        with pytest.raises(RequestCancelled):
            limit.acquire(stop.is_set)
        ended.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    other = start(limit.acquire)  # may be the one at the head
    time.sleep(0.2)
    stop.set()
    began = time.monotonic()
    for thread in threads:
        thread.join(5)
    other.kill()
    assert len(ended) == 3 and max(ended) - began < 0.5


def test_ctrl_c_ends_a_wait_and_leaves_the_budget_usable(tmp_path: Path) -> None:
    limit = RequestBudget(tmp_path, 1)
    limit.acquire()
    limit.postpone(20)
    began = time.monotonic()
    threading.Timer(0.2, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        limit.acquire(lambda: False)
    assert time.monotonic() - began < 2 and waiting(tmp_path) == 0


# ---- what it is given ----


@pytest.mark.parametrize("per_second", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, per_second: float) -> None:
    with pytest.raises(ConfigError, match="per_second must be a finite number above 0"):
        RequestBudget(tmp_path, per_second)


def test_the_default_budget_is_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    assert default_budget() == RequestBudget(tmp_path / "yahoo", 2.0)
    monkeypatch.setenv("WORKBENCH_YAHOO_PER_SECOND", "0.5")
    assert default_budget().per_second == 0.5
    monkeypatch.setenv("WORKBENCH_YAHOO_PER_SECOND", "two")
    with pytest.raises(ConfigError, match="WORKBENCH_YAHOO_PER_SECOND must be a finite number above 0, got 'two'"):
        default_budget()


def test_a_budget_can_be_pickled(tmp_path: Path) -> None:
    limit = RequestBudget(tmp_path, 3)
    limit.acquire()
    assert pickle.loads(pickle.dumps(limit)) == limit


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="must be one that can be written") as error:
        RequestBudget(tmp_path / "file" / "budget").acquire()
    assert error.value.exit_code == 2 and str(tmp_path) in str(error.value)


def test_a_full_disk_is_no_error_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UnavailableError, match="No space left on device") as error:
        RequestBudget(tmp_path).acquire()
    assert error.value.exit_code == 3 and waiting(tmp_path) == 0
