"""Where work runs: the Engine protocol, and the local engine.

Enters: a function and the chunks it is to be called with. Leaves: what it returned, chunk by chunk. An engine changes where and when
a chunk is computed, never its result: chunk boundaries are the caller's, nothing is summed across chunks here, and every engine gives
a chunk one BLAS thread, since a matrix product differs in the last bit with their number.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from workbench.errors import ConfigError
from workbench.workers import Answer, Crew

AHEAD = 2
"""Chunks that an engine reads beyond those that run: the next one is there when a worker is free."""


ACCOUNT_VARIABLE = "WORKBENCH_ACCOUNT"
"""Names a file into which a session writes its engine's account: how a report learns from its kernel what ran where."""


class Pool(Protocol):
    """Stateful workers, each with its own object made by the same factory."""

    def map(self, method: str, chunks: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, object.method(chunk)) as chunks finish, in any order; `chunks` is read lazily, a few ahead.

        One map at a time. A worker that dies is replaced by one whose object is made anew, and its chunk is run again.
        Raises what `Engine.map` raises.
        """


class Engine(Protocol):
    """Runs plain functions over chunks.

    name : "local" or "ray".
    workers : chunks that run at the same time.
    """

    name: str
    workers: int

    def map(
        self,
        function: Callable[..., Any],
        chunks: Iterable[Any],
        *,
        shared: Sequence[Any] = (),
        holds_gil: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position, function(chunk, *shared)) as chunks finish, in any order.

        Parameters
        ----------
        function
            A module-level function; expected failures are values that it returns. It may be run twice for one chunk, where its
            worker died. What it prints is lost where it does not run in this process.
        chunks
            Read lazily: at most a few more than `workers` are in flight, so memory is bounded whatever their number.
        shared
            Arguments that all chunks have in common, sent to each worker once.
        holds_gil
            The function is Python code that keeps the interpreter to itself: locally it then runs in processes.

        Raises
        ------
        UnavailableError
            A chunk was lost with its worker again and again, or the cluster went away.
        Exception
            What the function raised; chunks in flight are cancelled.
        """

    def pool(self, factory: Callable[..., Any], *arguments: Any) -> AbstractContextManager[Pool]:
        """Return `workers` stateful workers, each holding `factory(*arguments)`; they end with the `with` block."""

    def account(self) -> dict[str, Any]:
        """Return what a report's provenance shows: engine, why it was chosen, nodes, cpus, tasks run, seconds spent.

        The seconds are those that the function took, added up over the chunks that were yielded, without what the engine costs.
        """


class Tally:
    """Chunks done and the seconds that they took, counted from any thread."""

    def __init__(self) -> None:
        self.tasks, self.seconds = 0, 0.0
        self._lock = threading.Lock()

    def take(self, answer: Answer) -> Any:
        """Return what a call returned, and count it, or raise what it raised."""
        returned, seconds, value = answer
        if not returned:
            raise value
        with self._lock:
            self.tasks, self.seconds = self.tasks + 1, self.seconds + seconds
        return value

    def account(self, engine: str, why: str, nodes: int, cpus: int) -> dict[str, Any]:
        """Return what `Engine.account` does."""
        place = {"engine": engine, "why": why, "nodes": nodes, "cpus": cpus}
        return place | {"tasks": self.tasks, "seconds": self.seconds}


class Call:
    """A function with the arguments that all chunks have in common: the object that the workers of a map hold."""

    def __init__(self, function: Callable[..., Any], shared: Sequence[Any]) -> None:
        self._function, self._shared = function, tuple(shared)

    def run(self, chunk: Any) -> Any:
        """Call the function."""
        return self._function(chunk, *self._shared)


class LocalEngine:
    """Runs chunks on this machine: in threads where the function releases the GIL, in processes where it holds it.

    Parameters
    ----------
    workers
        Chunks that run at the same time; by default the processors that this process may use.
    why
        Why this engine was chosen, for the account.
    """

    name = "local"

    def __init__(self, workers: int | None = None, why: str = "named") -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}; leave it out to use all processors")
        self.workers = workers or usable_cpus()
        self._why, self._tally = why, Tally()

    def map(
        self,
        function: Callable[..., Any],
        chunks: Iterable[Any],
        *,
        shared: Sequence[Any] = (),
        holds_gil: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position, function(chunk, *shared)) as chunks finish; see `Engine.map`.

        Without `holds_gil` the chunks run in threads, or one after the other in the caller's where `workers` is 1 or there is but one
        chunk. Threads cannot be killed: where the consumer leaves, the running chunks are waited for.
        """
        if holds_gil:
            with self.pool(Call, function, shared) as pool:
                yield from pool.map("run", chunks)
            return
        numbered = enumerate(chunks)
        first = list(itertools.islice(numbered, 2))
        waiting, call = itertools.chain(first, numbered), Call(function, shared)
        with one_blas_thread():
            if self.workers == 1 or len(first) < 2:
                for position, chunk in waiting:
                    yield position, self._tally.take(_timed(call, chunk))
                return
            with ThreadPoolExecutor(self.workers, "workbench") as threads:
                for position, answer in _as_finished(
                    threads, lambda _, chunk: _timed(call, chunk), waiting, self.workers
                ):
                    yield position, self._tally.take(answer)

    @contextlib.contextmanager
    def pool(self, factory: Callable[..., Any], *arguments: Any) -> Iterator[Pool]:
        """Have processes that each hold `factory(*arguments)`, started when the first chunks come; see `Engine.pool`."""
        crew = Crew(factory, arguments)
        try:
            yield _LocalPool(self.workers, self._tally, crew)
        finally:
            crew.end()

    def account(self) -> dict[str, Any]:
        """Return what a report's provenance shows; see `Engine.account`."""
        return self._tally.account(self.name, self._why, 1, self.workers)


class _LocalPool:
    def __init__(self, workers: int, tally: Tally, crew: Crew) -> None:
        self._workers, self._tally, self._crew = workers, tally, crew

    def map(self, method: str, chunks: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, object.method(chunk)) as chunks finish; see `Pool.map`."""
        # Of the two blocks the inner one ends first: its threads wait for processes that are then dead.
        with ThreadPoolExecutor(self._workers, "workbench") as threads, self._crew.shift() as call:

            def ask(position: int, chunk: Any) -> Answer:
                return call(method, position, chunk)

            for position, answer in _as_finished(threads, ask, enumerate(chunks), self._workers):
                yield position, self._tally.take(answer)


def _as_finished(
    threads: ThreadPoolExecutor,
    call: Callable[[int, Any], Answer],
    numbered: Iterator[tuple[int, Any]],
    workers: int,
) -> Iterator[tuple[int, Answer]]:
    """Yield (position, answer) as the calls finish; what has not begun when the consumer leaves is never begun."""
    running: dict[Future[Answer], int] = {}
    try:
        while True:
            for position, chunk in itertools.islice(numbered, workers + AHEAD - len(running)):
                running[threads.submit(call, position, chunk)] = position
            if not running:
                return
            done = next(iter(wait(running, return_when=FIRST_COMPLETED).done))
            yield running.pop(done), done.result()
    finally:
        for future in running:
            future.cancel()


def _timed(call: Call, chunk: Any) -> Answer:
    started = time.perf_counter()
    value = call.run(chunk)
    return True, time.perf_counter() - started, value


def usable_cpus() -> int:
    """Return how many processors this process may use: its affinity, and the quota of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _container_cpus() or affinity))


def _container_cpus(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Return the whole processors of a container's quota, rounded up; None where it has none."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else -(-int(quota) // int(period))
    with contextlib.suppress(OSError, ValueError):
        quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if int(quota) <= 0 else -(-int(quota) // int(period))
    return None


_blas_lock = threading.Lock()
_blas_users: list[Any] = []


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Give the BLAS libraries of this process one thread within the block; blocks of several threads may overlap."""
    from threadpoolctl import threadpool_limits

    with _blas_lock:
        # The first one in notes the old limits, the last one out restores them.
        _blas_users.append(_blas_users[0] if _blas_users else threadpool_limits(1, user_api="blas"))
    try:
        yield
    finally:
        with _blas_lock:
            limits = _blas_users.pop()
            if not _blas_users:
                limits.restore_original_limits()
