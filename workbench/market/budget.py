"""One request budget for the whole machine.

Enters: a folder that all processes of a machine share, and a rate. Leaves: permission to send one request, given out so
that never more than the rate arrives at the server within any one second, however many processes and threads ask.

How it holds. A request is sent somewhere between its grant and its answer, so it may reach the server at any moment in
between. The next grant therefore waits until fewer than `per_second` of the earlier requests can have arrived within the
last second, counting each from its answer; from its grant plus `IN_FLIGHT_SECONDS` when there is no answer by then, as
after a SIGKILL. Who waits stands in a queue, so that nobody starves. Times are the machine's monotonic clock, which a
change of the wall clock does not move.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from workbench.errors import ConfigError, UnavailableError
from workbench.market.files import show
from workbench.market.home import home

DEFAULT_PER_SECOND = 2.0
IN_FLIGHT_SECONDS = 2.0  # by then a request has reached the server, or never will
MOST_SECONDS = 900.0  # the longest that a `postpone` may hold
VISIT_SECONDS, GONE_SECONDS = 0.5, 2.0  # who waits looks in so often; who has not for so long is gone

Cancelled = Callable[[], bool]

_KEPT_SECONDS, _KEPT_GRANTS = 5.0, 64
_GROUP = 16  # at high rates the limit is kept within a fraction of a second, so that the state stays small
_SLICE_SECONDS = 0.05  # how often a waiting thread looks whether it is cancelled
_POLL_SECONDS = 0.002  # the lock is held for less than a millisecond


class RequestCancelled(Exception):
    """The wait for permission was cancelled by the one who waits."""


@dataclass
class _State:
    """What the file holds.

    grants : identity, and the earliest and latest time at which that request reached the server.
    queue : who waits, in the order of coming, and when each was last here.
    """

    grants: list[tuple[str, float, float]]
    queue: list[tuple[str, float]] = field(default_factory=list)
    not_before: float = 0.0


@dataclass(frozen=True)
class RequestBudget:
    """A shared limit on requests a second; picklable, and the same limit for all that name the same folder.

    Parameters
    ----------
    folder
        Where its state and its locks lie; made when needed.
    per_second
        The most requests in any one second. Between whole numbers it is rounded down; 0.5 is one in two seconds.

    Raises
    ------
    ConfigError
        The rate is not above 0.
    """

    folder: Path
    per_second: float = DEFAULT_PER_SECOND

    def __post_init__(self) -> None:
        if not (self.per_second > 0 and math.isfinite(self.per_second)):
            raise ConfigError(f"per_second must be a finite number above 0, got {self.per_second}; the default is 2")

    def acquire(self, cancelled: Cancelled | None = None) -> None:
        """Wait until one request may be sent, at once.

        Parameters
        ----------
        cancelled
            Asked several times a second whether to give up waiting. Ctrl-C ends the wait in any case.

        Raises
        ------
        RequestCancelled
            `cancelled` returned True.
        ConfigError
            The folder cannot be made or written.
        UnavailableError
            Its disk is full or failing.
        """
        self._take(cancelled, in_flight=0.0)

    @contextmanager
    def request(self, cancelled: Cancelled | None = None) -> Iterator[None]:
        """Like `acquire`, for a request that is sent and answered inside of the `with` block.

        This is the form that holds at the server: how long a request is under way is taken into account.
        """
        identity = self._take(cancelled, in_flight=IN_FLIGHT_SECONDS)
        try:
            yield
        finally:
            self._answered(identity)

    def postpone(self, seconds: float) -> None:
        """Let nobody send anything for `seconds` (at most `MOST_SECONDS`), whoever is waiting already included."""
        with self._changed() as (state, now):
            state.not_before = max(state.not_before, now + min(max(seconds, 0.0), MOST_SECONDS))

    # ---- how it works ----

    def _take(self, cancelled: Cancelled | None, in_flight: float) -> str:
        """Queue up; at the head of the queue, when it is time, write the grant down. Return its identity."""
        identity = uuid.uuid4().hex
        try:
            while (wait := self._visit(identity, in_flight)) > 0:
                _sleep(wait, cancelled)
        except BaseException:
            self._leave(identity)
            raise
        return identity

    def _visit(self, identity: str, in_flight: float) -> float:
        """Take the grant if it is due and return 0, else keep the place and return how long to sleep."""
        with self._changed() as (state, now):
            state.queue = [place for place in state.queue if place[0] == identity or now - place[1] < GONE_SECONDS]
            ahead = [own for own, _ in state.queue]
            position = ahead.index(identity) if identity in ahead else len(ahead)
            wait = max(self._earliest(state) - now, 0.0) + position * self._pace()
            if wait <= 0:
                state.queue = state.queue[1:]
                state.grants.append((identity, now, now + in_flight))
            else:
                state.queue[position : position + 1] = [(identity, now)]
            return min(wait, VISIT_SECONDS)

    def _leave(self, identity: str) -> None:
        with self._changed() as (state, _):
            state.queue = [place for place in state.queue if place[0] != identity]

    def _answered(self, identity: str) -> None:
        with self._changed() as (state, now):
            state.grants = [
                (own, first, min(last, now) if own == identity else last) for own, first, last in state.grants
            ]

    def _limit(self) -> tuple[int, float]:
        """The most requests, and the length in seconds of the window in which they may arrive."""
        if self.per_second < 1:
            return 1, 1 / self.per_second
        parts = math.ceil(self.per_second / _GROUP)
        return int(self.per_second / parts), 1 / parts

    def _pace(self) -> float:
        most, window = self._limit()
        return window / most

    def _earliest(self, state: _State) -> float:
        most, window = self._limit()
        earliest = state.not_before
        if state.grants:
            # No bursts: the requests of a window are spread over it.
            earliest = max(earliest, max(first for _, first, _ in state.grants) + self._pace())
        if len(state.grants) >= most:
            earliest = max(earliest, sorted(last for _, _, last in state.grants)[-most] + window)
        return earliest

    @contextmanager
    def _changed(self) -> Iterator[tuple[_State, float]]:
        """Yield the state, to be changed, and the time; write the state when the block is done."""
        lock = FileLock(self.folder / "lock", poll_interval=_POLL_SECONDS)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise self._refusal(error) from None
        try:
            now = time.monotonic()
            state = self._read(now)
            if state is None:
                # Damaged, or from before a restart of the machine: as if the whole limit had been used just now.
                state = _State([(uuid.uuid4().hex, now, now) for _ in range(self._limit()[0])])
            yield state, now
            self._write(state, now)
        finally:
            lock.release()

    def _read(self, now: float) -> _State | None:
        try:
            return _parsed((self.folder / "state.json").read_bytes(), now)
        except FileNotFoundError:
            return _State([])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        except OSError as error:
            raise self._refusal(error) from None

    def _write(self, state: _State, now: float) -> None:
        recent = [grant for grant in state.grants if grant[2] > now - max(_KEPT_SECONDS, self._limit()[1])]
        recent = sorted(recent, key=lambda grant: grant[2])[-_KEPT_GRANTS:]
        fresh = self.folder / "state.tmp"  # one name is enough, as its writer holds the lock
        try:
            fresh.write_text(json.dumps({"version": 1, **vars(state), "grants": recent}))
            fresh.replace(self.folder / "state.json")
        except OSError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> ConfigError | UnavailableError:
        reason, shown = error.strerror or type(error).__name__, show(self.folder, 200)
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            return ConfigError(
                f"the request budget's folder must be one that can be written, got {shown} ({reason}); "
                "set WORKBENCH_HOME to another folder"
            )
        return UnavailableError(f"the request budget in {shown} cannot be kept: {reason}; make room, then try again")


def default_budget() -> RequestBudget:
    """Return the machine's budget for Yahoo: under WORKBENCH_HOME, WORKBENCH_YAHOO_PER_SECOND (2) requests a second."""
    return RequestBudget(home() / "yahoo", number_setting("WORKBENCH_YAHOO_PER_SECOND", DEFAULT_PER_SECOND))


def number_setting(name: str, default: float) -> float:
    """Return the number above 0 that an environment variable holds; ConfigError if it holds anything else."""
    text = os.environ.get(name, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} must be a finite number above 0, got {show(text)!r}; unset it for {default:g}")
    return value


def _parsed(data: bytes, now: float) -> _State:
    """Return what the file says; ValueError if that cannot be: another format, or times that are still to come."""
    raw = json.loads(data)
    grants = [(str(identity), float(first), float(last)) for identity, first, last in raw["grants"]]
    state = _State(grants, [(str(own), float(seen)) for own, seen in raw["queue"]], float(raw["not_before"]))
    sound = all(first <= last <= now + IN_FLIGHT_SECONDS and first <= now for _, first, last in grants)
    sound = sound and all(seen <= now for _, seen in state.queue)
    if raw["version"] != 1 or not sound or not state.not_before <= now + MOST_SECONDS:
        raise ValueError
    return state


def _check(cancelled: Cancelled | None) -> None:
    if cancelled is not None and cancelled():
        raise RequestCancelled


def _sleep(seconds: float, cancelled: Cancelled | None) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        _check(cancelled)
        time.sleep(min(left, _SLICE_SECONDS) if cancelled else left)
