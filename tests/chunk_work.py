"""Functions for engines to run: they must be importable by worker processes, and light."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np


def wave(seed: int, factor: float) -> bytes:
    """Return floats whose last bits change with the order of a sum, and with the threads of a matrix product."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(random.integers(100, 300), 64)) * factor
    return (matrix @ (matrix.T @ np.sin(matrix))).tobytes()


def slow_wave(seed: int, factor: float, seconds: float) -> bytes:
    time.sleep(seconds)
    return wave(seed, factor)


def double(chunk: Any) -> Any:
    return chunk * 2


def own_pid(chunk: Any, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


def die_once(chunk: int, mark: str) -> int:
    """Return three times the chunk; the first worker that gets chunk 2 is killed."""
    if chunk == 2:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return chunk * 3
        os.kill(os.getpid(), signal.SIGKILL)
    return chunk * 3


def die_always(chunk: int, log: str) -> int:
    """Kill the worker at chunk 2, whatever happens; a byte in `log` for each time."""
    if chunk == 2:
        with open(log, "ab") as file:
            file.write(b".")
        os.kill(os.getpid(), signal.SIGKILL)
    return chunk


class OddError(Exception):
    """Can be pickled, but not made again from its pickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def fail(chunk: int, kind: str) -> Any:
    if kind == "value":
        raise ValueError("chunk", chunk)
    if kind == "odd":
        raise OddError("this", "that")
    return (value for value in [chunk])  # a generator cannot be sent


def blas_threads(chunk: Any) -> set[int]:
    from threadpoolctl import threadpool_info

    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def call_on(chunk: Any, function: Any) -> Any:
    return function(chunk)


def print_much(chunk: Any) -> None:
    print("on stdout", flush=True)
    os.write(2, b"on stderr\n")


def sleep_long(chunk: Any, log: str) -> None:
    """Write down the process, and sleep for longer than any test waits."""
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)


class Counter:
    """An object that knows how often it was called, and in which process."""

    def __init__(self, start: int, mark: str = "") -> None:
        self.made_in, self.calls, self.start, self.mark = os.getpid(), 0, start, mark

    def add(self, chunk: int) -> tuple[int, int, int]:
        """Return (start + chunk, calls so far, process)."""
        self.calls += 1
        assert self.made_in == os.getpid()
        return self.start + chunk, self.calls, self.made_in

    def sleep(self, chunk: float) -> None:
        time.sleep(chunk)

    def die_once(self, chunk: int) -> int:
        return die_once(chunk, self.mark)


def no_object() -> None:
    raise LookupError("there is nothing to hold")


class LoadedOnce:
    """Writes a byte to a file each time that it is made from its pickle."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        with open(self.log, "ab") as file:
            file.write(b".")


def use(chunk: int, thing: Any) -> int:
    return chunk


def variables(chunk: Any) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("WORKBENCH_")}


def alone(chunk: Any, mark: str) -> None:
    """Fail where two chunks run at the same time."""
    Path(mark).touch(exist_ok=False)
    time.sleep(0.05)
    Path(mark).unlink()
