"""Worker processes of this machine: each holds one object and answers calls of its methods.

Enters: a factory with its arguments, and chunks. Leaves: what the method returned. A worker is a fresh interpreter that imports the
workbench and what the pickled factory names, never the caller's `__main__`: a script needs no main guard, a notebook and
`python -c` work alike. What a worker prints goes nowhere. It ends with its line to this process, or with this process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from workbench.errors import UnavailableError

RUNS = 4
"""How often a chunk is run before it is given up: once, and three times more where its worker dies."""

# A matrix product differs in the last bit with the number of threads, and more threads than processors only wait for each other.
ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

_LIFE_CHECK_SECONDS = 0.5
_END_SECONDS = 2.0
_CODE = "import sys; sys.path[:] = {path}; from workbench.workers import serve; serve({descriptor}, {parent})"

Answer = tuple[bool, float, Any]
"""Whether the call returned, the seconds that it took, and what it returned or raised."""


def serve(descriptor: int, parent: int) -> None:
    """Be a worker: build the object from the first message, answer each further one, end with the line or the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as line:
        setup = line.recv_bytes()
        held = Held(lambda: cloudpickle.loads(setup))
        while True:
            message = line.recv_bytes()
            line.send_bytes(_answer(held, message))


def _end_with(parent: int) -> None:
    """End this process soon after its parent: a long chunk would otherwise be computed for nobody."""
    while os.getppid() == parent:
        time.sleep(_LIFE_CHECK_SECONDS)
    os._exit(1)


class Held:
    """What a worker holds: an object that is made with the first call, so that what its making raises is that call's answer.

    Parameters
    ----------
    setup
        Returns the factory and its arguments.
    """

    def __init__(self, setup: Callable[[], tuple[Callable[..., Any], Sequence[Any]]]) -> None:
        self._setup = setup
        self._made: list[Any] = []

    def call(self, method: str, chunk: Any) -> Any:
        """Call a method of the object."""
        if not self._made:
            factory, arguments = self._setup()
            self._made.append(factory(*arguments))
        return getattr(self._made[0], method)(chunk)


def attempt(function: Callable[..., Any], *arguments: Any) -> Answer:
    """Call a function; an exception is a part of the answer, with a note that shows where in the worker it was raised."""
    started = time.perf_counter()
    try:
        value = function(*arguments)
        return True, time.perf_counter() - started, value
    except Exception as error:  # whatever the function raises is the caller's to see
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        return False, time.perf_counter() - started, _portable(error)


def _portable(error: Exception) -> Exception:
    """Return an exception as it arrives elsewhere; one that does not arrive is described in a RuntimeError."""
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
        return error
    except Exception:  # pickling runs the exception's own code
        return RuntimeError(f"{type(error).__name__}: {error}")


def _answer(held: Held, message: bytes) -> bytes:
    answer = attempt(lambda: held.call(*cloudpickle.loads(message)))
    try:
        return bytes(cloudpickle.dumps(answer))
    except Exception as error:  # a result that cannot be sent
        return bytes(cloudpickle.dumps((False, answer[1], _portable(error))))


class _Worker:
    """One process and the line to it."""

    def __init__(self) -> None:
        self._line, theirs = Pipe()
        with theirs:
            # The last entry is for a workbench that was imported from a folder which is no longer the current one.
            path = ascii([*sys.path, os.path.dirname(os.path.dirname(__file__))])
            code = _CODE.format(path=path, descriptor=theirs.fileno(), parent=os.getpid())
            self._process = _start(code, theirs.fileno())
        self._new = True

    def ask(self, setup: bytes, message: bytes) -> Answer:
        """Send a call and wait for its answer; EOFError or OSError where the process dies."""
        if self._new:
            self._line.send_bytes(setup)
            self._new = False
        self._line.send_bytes(message)
        received = self._line.recv_bytes()
        return _load(received)

    def kill(self) -> None:
        """Kill the process: whoever waits for its answer finds that out at once."""
        self._process.kill()

    def hang_up(self) -> None:
        """Let an idle process end by itself."""
        self._line.close()

    def wait(self) -> str:
        """Wait until the process is gone; return how it ended."""
        self._line.close()
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code >= 0:
            return f"it ended with exit code {code}"
        hint = ", memory may have run out" if code == -signal.SIGKILL else ""
        return f"it was killed by {signal.Signals(-code).name}{hint}"


def _load(received: bytes) -> Answer:
    try:
        answer: Answer = cloudpickle.loads(received)
    except Exception as error:  # a class's own code; it must not be taken for a broken line
        return False, 0.0, error
    return answer


def _start(code: str, descriptor: int) -> subprocess.Popen[bytes]:
    # A Ctrl-C in the first milliseconds must not end the child: it inherits the mask and ignores the signal before it lifts it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Crew:
    """Worker processes that all hold `factory(*arguments)`, started as they are needed and replaced as they die."""

    def __init__(self, factory: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._setup = bytes(cloudpickle.dumps((factory, arguments)))
        self._idle: list[_Worker] = []

    def end(self) -> None:
        """End the idle workers; the busy ones are their shift's."""
        for worker in self._idle:
            worker.hang_up()
        while self._idle:
            self._idle.pop().wait()

    @contextlib.contextmanager
    def shift(self) -> Iterator[Callable[[str, int, Any], Answer]]:
        """Give a function that threads may call with (method, position, chunk); after the block no worker is busy."""
        shift = _Shift(self._setup, self._idle)
        try:
            yield shift.call
        finally:
            shift.stop()


class _Shift:
    def __init__(self, setup: bytes, idle: list[_Worker]) -> None:
        self._setup, self._idle = setup, idle
        self._busy: set[_Worker] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def call(self, method: str, position: int, chunk: Any) -> Answer:
        message = bytes(cloudpickle.dumps((method, chunk)))
        how = ""
        for _ in range(RUNS):
            worker = self._take()
            try:
                answer = worker.ask(self._setup, message)
            except (EOFError, OSError):
                how = worker.wait()
                self._put(worker, None)
                continue
            self._put(worker, self._idle)
            return answer
        raise UnavailableError(
            f"chunk {position} was lost with its worker process {RUNS} times, {how}; try fewer workers or smaller chunks"
        )

    def stop(self) -> None:
        """Kill the busy workers; the threads that wait for them find them dead and leave."""
        with self._lock:
            self._stopped = True
            for worker in self._busy:
                worker.kill()

    def _take(self) -> _Worker:
        with self._lock:
            if self._stopped:
                raise CancelledError
            worker = self._idle.pop() if self._idle else _Worker()
            self._busy.add(worker)
            return worker

    def _put(self, worker: _Worker, idle: list[_Worker] | None) -> None:
        with self._lock:
            self._busy.discard(worker)
            if idle is not None:
                idle.append(worker)
