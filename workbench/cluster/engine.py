"""The engine that runs chunks on Ray.

Enters: a plain function and its chunks, or a factory of objects. Leaves: what they return, to the last bit what the local engine gives:
the same function is called, on one BLAS thread. What all chunks share is put into the object store once. Workers that are killed and nodes
that are lost cost a second run of their chunks, nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ray

from workbench.cluster.address import is_alive
from workbench.cluster.nodes import cluster_address
from workbench.cluster.session import running
from workbench.cluster.surroundings import Surroundings, adopt, surroundings, worker_environment
from workbench.errors import ConfigError, UnavailableError
from workbench.execution import AHEAD, Call, Pool, Tally, one_blas_thread
from workbench.workers import RUNS, Answer, Held, attempt

TIMEOUT_SECONDS = 3600.0
"""How long Ray may leave a map without any result."""

_RESTARTS = 20  # of one actor: bounded, since an object whose making kills its process would be made for ever
_CHECK_SECONDS = 5.0
_LOST_CHECKS = 3
_GRACE_SECONDS = 3.0


_latest: dict[str, Call] = {}


def _shared_call(reference: ray.ObjectRef) -> Call:
    """Return a map's function with what its chunks share, fetched once by each worker; the one of the map before is forgotten."""
    key = reference.hex()
    if key not in _latest:
        _latest.clear()
        _latest[key] = ray.get(reference, timeout=TIMEOUT_SECONDS)
    return _latest[key]


def _run(given: Surroundings, common: Sequence[ray.ObjectRef], chunk: Any) -> Answer:
    adopt(given)
    with one_blas_thread():
        return attempt(lambda: _shared_call(common[0]).run(chunk))


class _Holder:
    """One stateful worker. It is told with each call what to hold: Ray warns of constructors that need the object store."""

    def __init__(self) -> None:
        self._held: Held | None = None

    def call(self, given: Surroundings, setup: Sequence[ray.ObjectRef], method: str, chunk: Any) -> Answer:
        """Call a method of the object."""
        adopt(given)
        self._held = self._held or Held(lambda: ray.get(setup[0], timeout=TIMEOUT_SECONDS))
        with one_blas_thread():
            return attempt(self._held.call, method, chunk)


# Variables go with each call, not through Ray's own environments: each of these costs the start of new workers, three seconds.
_remote_run = ray.remote(max_retries=RUNS - 1)(_run)
_remote_holder = ray.remote(max_restarts=_RESTARTS, max_task_retries=RUNS - 1)(_Holder)


class Actors:
    """Stateful workers that hold the same kind of object, each started with its first call.

    `setup` refers to the object's factory and arguments: they are put into the object store once.
    """

    def __init__(self, size: int, setup: Sequence[ray.ObjectRef], environment: dict[str, Any] | None) -> None:
        self._setup, self._holder = setup, _remote_holder.options(runtime_env=environment)
        self._started: list[Any] = [None] * size

    def __len__(self) -> int:
        return len(self._started)

    def call(self, number: int, given: Surroundings, method: str, chunk: Any) -> ray.ObjectRef:
        """Call a method of one actor's object."""
        if self._started[number] is None:
            self._started[number] = self._holder.remote()
        reference: ray.ObjectRef = self._started[number].call.remote(given, self._setup, method, chunk)
        return reference

    def end(self, numbers: Iterable[int] | None = None) -> None:
        """End some actors, or all, whatever they are doing; one that is called again is started anew."""
        for number in range(len(self)) if numbers is None else numbers:
            actor, self._started[number] = self._started[number], None
            if actor is not None:
                ray.kill(actor)


class RayEngine:
    """The Ray that is in use: open it with `RayEngine.open`.

    Parameters
    ----------
    workers
        Chunks that run at the same time; by default all CPUs of the cluster.
    why
        Why this engine was chosen, for the account.
    timeout_seconds
        How long a map may wait for its next result.

    Raises
    ------
    ConfigError
        `workers` is below 1.
    UnavailableError
        The cluster has no CPUs.
    """

    name = "ray"

    def __init__(
        self, workers: int | None = None, why: str = "named", timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        if workers is not None and workers < 1:
            raise ConfigError(f"workers must be at least 1, got {workers}; leave it out to use the whole cluster")
        self.address = cluster_address()
        self._cpus = int(ray.cluster_resources().get("CPU", 0))
        if self._cpus == 0:
            raise UnavailableError(
                f"the Ray at {self.address} has no CPUs; start nodes that have some, or use --engine local"
            )
        self.workers = workers or self._cpus
        self._nodes = sum(entry["Alive"] for entry in ray.nodes())
        self._why, self._timeout, self._tally = why, timeout_seconds, Tally()
        self._environment = worker_environment()
        self._next_check, self._lost_checks = time.monotonic() + _CHECK_SECONDS, 0

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, workers: int | None = None, why: str = "named", timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Iterator[RayEngine]:
        """Have the engine within a block, on the Ray that `running` finds or starts.

        Raises
        ------
        ConfigError, UnavailableError
            See `RayEngine` and `running`.
        """
        with running():
            yield cls(workers, why, timeout_seconds)

    def map(
        self,
        function: Callable[..., Any],
        chunks: Iterable[Any],
        *,
        shared: Sequence[Any] = (),
        holds_gil: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position, function(chunk, *shared)) as chunks finish; see `Engine.map`. Each chunk is a task."""
        self._check_open()
        common, given = [ray.put(Call(function, shared))], surroundings()  # in a list it stays a reference
        task = _remote_run.options(runtime_env=self._environment)

        def submit(_: int, chunk: Any) -> ray.ObjectRef:
            return task.remote(given, common, chunk)

        # A cluster runs what it has CPUs for: fewer workers than that are kept to by sending no more than they can run.
        ahead = AHEAD if self.workers >= self._cpus else 0
        yield from self._as_finished(submit, chunks, self.workers + ahead, _cancel)

    @contextlib.contextmanager
    def pool(self, factory: Callable[..., Any], *arguments: Any) -> Iterator[Pool]:
        """Have actors that each hold `factory(*arguments)`, made with their first chunk; see `Engine.pool`."""
        with self.actors(self.workers, factory, *arguments) as actors:
            yield _RayPool(self, actors)

    @contextlib.contextmanager
    def actors(self, size: int, factory: Callable[..., Any], *arguments: Any) -> Iterator[Actors]:
        """Have some actors that each hold `factory(*arguments)`; they end with the block."""
        self._check_open()
        actors = Actors(size, [ray.put((factory, arguments))], self._environment)
        try:
            yield actors
        finally:
            if self._is_open():
                actors.end()

    def account(self) -> dict[str, Any]:
        """Return what a report's provenance shows; see `Engine.account`. Nodes and CPUs are those at the start."""
        return self._tally.account(self.name, self._why, self._nodes, self._cpus)

    def _as_finished(
        self,
        submit: Callable[[int, Any], ray.ObjectRef],
        chunks: Iterable[Any],
        window: int,
        abandon: Callable[[Mapping[ray.ObjectRef, int]], None],
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position, value) as the calls finish, `window` of them in flight; `abandon` ends what nobody waits for any more."""
        pending: dict[ray.ObjectRef, int] = {}
        numbered = enumerate(chunks)
        try:
            while True:
                self._check_open()
                for position, chunk in itertools.islice(numbered, window - len(pending)):
                    pending[submit(position, chunk)] = position
                if not pending:
                    return
                done = self._next(list(pending))
                position = pending.pop(done)
                yield position, self.receive(done, f"chunk {position}")
        finally:
            if pending and self._is_open():
                abandon(pending)

    def _is_open(self) -> bool:
        """Return whether the Ray of this engine is still there: whatever is sent to one that was shut down starts another."""
        return ray.is_initialized() and cluster_address() == self.address

    def _check_open(self) -> None:
        if not self._is_open():
            raise UnavailableError(
                f"the Ray at {self.address} was shut down here; use an engine within its `with` block"
            )

    def _next(self, pending: list[ray.ObjectRef]) -> ray.ObjectRef:
        """Wait for one of some calls."""
        give_up = time.monotonic() + self._timeout
        while True:
            try:
                done, _ = ray.wait(pending, num_returns=1, timeout=min(_CHECK_SECONDS, self._timeout))
            except SystemExit:  # of a handler of SIGTERM; Ray replaces its code by 1, which means that a check failed
                raise SystemExit(128 + signal.SIGTERM) from None
            self._check_alive()
            if done:
                return done[0]
            if time.monotonic() > give_up:
                raise UnavailableError(
                    f"Ray gave no result within {self._timeout:g} s; see the cluster's state with `workbench doctor`, "
                    "send smaller chunks, or use --engine local"
                )

    def _check_alive(self) -> None:
        """Now and then, ask whether the cluster's head still answers: a minute after it is gone Ray ends this process, without a word."""
        if time.monotonic() < self._next_check:
            return
        self._lost_checks = 0 if is_alive(self.address) else self._lost_checks + 1
        self._next_check = time.monotonic() + _CHECK_SECONDS
        if self._lost_checks == _LOST_CHECKS:
            raise UnavailableError(
                f"the Ray at {self.address} no longer answers; start it again, or use --engine local"
            )

    def receive(self, reference: ray.ObjectRef, what: str) -> Any:
        """Return what a call returned, or raise what it raised, or UnavailableError saying that `what` was lost."""
        try:
            answer: Answer = ray.get(reference, timeout=self._timeout)
        except ray.exceptions.RayTaskError as error:  # raised around the function: its result cannot be sent, say
            raise _original(error, what) from None
        except ray.exceptions.RayError as error:
            raise UnavailableError(_lost(error, what)) from None
        return self._tally.take(answer)


class _RayPool:
    def __init__(self, engine: RayEngine, actors: Actors) -> None:
        self._engine, self._actors = engine, actors

    def map(self, method: str, chunks: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """Yield (position, object.method(chunk)) as chunks finish; see `Pool.map`."""
        given, waiting, sent_to = surroundings(), [0] * len(self._actors), dict[int, int]()

        def submit(position: int, chunk: Any) -> ray.ObjectRef:
            actor = sent_to[position] = waiting.index(min(waiting))
            waiting[actor] += 1
            return self._actors.call(actor, given, method, chunk)

        def abandon(left: Mapping[ray.ObjectRef, int]) -> None:
            self._actors.end({sent_to[position] for position in left.values()})

        for position, value in self._engine._as_finished(submit, chunks, len(self._actors) + AHEAD, abandon):
            waiting[sent_to.pop(position)] -= 1
            yield position, value


def _cancel(tasks: Mapping[ray.ObjectRef, int]) -> None:
    """Stop some tasks; one whose function does not end soon is ended with its worker.

    Ray 2.60 may abort this very process where a task ends in the moment in which it is cancelled (ray-project/ray#54785): those that are
    about to end are let go.
    """
    waiting = list(tasks)
    _, left = ray.wait(waiting, num_returns=len(waiting), timeout=_GRACE_SECONDS)
    for task in left:
        ray.cancel(task, force=True)


def _original(error: ray.exceptions.RayTaskError, what: str) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, Exception) else UnavailableError(_lost(error, what))


def _lost(error: Exception, what: str) -> str:
    reason = str(error).strip().split("\n")[0]
    return f"{what} was lost on Ray, although it was run again: {reason}; try smaller chunks or --engine local"
