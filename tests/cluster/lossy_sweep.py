"""A sweep in whose middle something is lost: its file must be that of a sweep in one process, byte for byte."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from small_market import prices_frame, sentiment_frame

from workbench import load_market, register_signal
from workbench.execution import Engine, LocalEngine
from workbench.sweep import run as sweep_run

GRID = {"signal": ["slow"], "min_likes": list(range(14)), "cost_bps": [0.0, 10.0, 25.0, 50.0], "top_n": [1, 2, 3, 4, 5]}
PARTS = 14


def sweep_through(engine: Engine, lose: Callable[[], Any]) -> dict[str, Any]:
    """Sweep on an engine and call `lose` when the third part is done; return what there is to say about it."""
    sweep_run.SMALLEST_SPAN = sweep_run.LARGEST_SPAN = 20
    market, driver = load_market(sentiment_frame(), prices_frame()), os.getpid()

    def slow(table: Any) -> Any:
        if os.getpid() != driver:
            time.sleep(0.3)
        return table["twitterLikes"]

    register_signal("slow", slow, "1")
    parts: list[int] = []

    @contextlib.contextmanager
    def watch(total: int, label: str, unit: str) -> Iterator[Callable[[int], None]]:
        def tick(done: int) -> None:
            parts.append(done)
            if len(parts) == 3:
                lose()

        yield tick

    with tempfile.TemporaryDirectory() as folder:
        there, here = Path(folder) / "there.parquet", Path(folder) / "here.parquet"
        result = sweep_run.run_sweep(GRID, market, engine, out=there, progress=watch)
        sweep_run.run_sweep(GRID, market, LocalEngine(workers=1), out=here)
        return {
            "parts": len(parts),
            "failed rows": len(result.failures),
            "same bytes": there.read_bytes() == here.read_bytes(),
        }
