"""What workers buy: the same sweep with none, one and more of them, timed and compared bit by bit.

Enters: a grid, a market, numbers of workers. Leaves: a table. 0 workers is the plain function in this process: what everything else has to
be equal to, and to be faster than.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pandas as pd

from workbench.engines import choose
from workbench.errors import ConfigError
from workbench.execution import LocalEngine
from workbench.market.tables import Market
from workbench.report.table import Table
from workbench.sweep.grid import Grid
from workbench.sweep.result import LOSS_COUNTS, SUMMARY, SweepResult
from workbench.sweep.run import run_sweep


class Here(LocalEngine):
    """The engine that is none: every chunk is computed in this thread, one after the other."""

    name = "none"

    def __init__(self) -> None:
        super().__init__(workers=1)

    def map(
        self,
        function: Callable[..., Any],
        chunks: Iterable[Any],
        *,
        shared: Sequence[Any] = (),
        holds_gil: bool = False,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position, function(chunk, *shared)) in order, whether the function holds the interpreter or not."""
        return super().map(function, chunks, shared=shared)


def scaling(
    grid: Grid | str, market: Market, engine: str = "ray", workers: Sequence[int] = (0, 1, 2), repeats: int = 1
) -> Table:
    """Time a sweep with different numbers of workers, and hold every number of each against those of the plain one.

    Parameters
    ----------
    grid, market
        What is swept.
    engine
        "ray" or "local". It is open, and its workers warm, before the clock starts: starting Ray takes 10 to 25 s, once.
    workers
        How many; 0 is no engine at all. The first one is what the others are held against.
    repeats
        The best of so many is shown, since other work on the machine only ever slows one down.

    Returns
    -------
    Table
        Workers, seconds, speed-up over the first of `workers`, and whether all bits are equal to its.

    Raises
    ------
    ConfigError
        There is no such engine, or nothing to be timed.
    UnavailableError
        Ray cannot be used.
    """
    if not workers or min(workers) < 0 or repeats < 1:
        raise ConfigError(
            f"workers must be numbers from 0 on and repeats at least 1, got workers={list(workers)}, repeats={repeats}"
        )
    times, results = {}, {}
    with choose(engine):  # kept open, so that it is started once
        for number in workers:
            times[number], results[number] = timed(grid, market, engine, number, repeats)
    plain = results[workers[0]]
    rows = [
        {
            "Workers": "none" if number == 0 else f"{number} ({engine})",
            "Seconds": f"{times[number]:.2f}",
            "Speed-up": f"{times[workers[0]] / times[number]:.2f}",
            "Same bits": "yes" if same_bits(plain, results[number]) else "NO",
        }
        for number in workers
    ]
    return Table(pd.DataFrame(rows), f"{len(plain):,} configurations", text_columns=("Same bits",))


def timed(grid: Grid | str, market: Market, engine: str, workers: int, repeats: int) -> tuple[float, SweepResult]:
    """Return the best time of a sweep, its workers warm and 0 of them none, and its result."""
    with contextlib.ExitStack() as stack:
        chosen = stack.enter_context(choose(engine, workers=workers)) if workers else Here()
        run_sweep("top_n=1,2", market, chosen)  # warms the workers and the compiled loop
        list(chosen.map(_warm, range(2 * max(workers, 1)), holds_gil=True))
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            result = run_sweep(grid, market, chosen)
            best = min(best, time.perf_counter() - start)
    return best, result


def _warm(_: int) -> None:
    import skfolio.optimization  # noqa: F401  # four seconds, which a worker pays once


def same_bits(one: SweepResult, other: SweepResult) -> bool:
    """Return whether two sweeps have the same numbers, to the last bit, and the same failures."""
    columns = (*SUMMARY, *LOSS_COUNTS)
    equal = all(one.column(name).tobytes() == other.column(name).tobytes() for name in columns)
    return equal and dict(one.failures) == dict(other.failures)
