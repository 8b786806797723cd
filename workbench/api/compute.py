"""Where requests compute: a few threads, a bounded queue before them, a time limit.

Enters: a function. Leaves: what it returns; or a refusal, when too many wait already or it takes too long. A computation that is
refused for its time goes on to its end in its thread, and counts as running until then: nothing can pile up behind it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from workbench.api.problems import Refusal, busy
from workbench.api.settings import Settings

Result = TypeVar("Result")


class Pool:
    """Threads with a bounded queue."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._room = settings.threads + settings.queue
        self._taken = 0
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="compute")

    @property
    def taken(self) -> int:
        """How many computations run or wait."""
        return self._taken

    async def run(self, function: Callable[..., Result], *arguments: Any, seconds: float | None = None) -> Result:
        """Compute.

        Raises
        ------
        Refusal
            503: the queue is full. 504: it took too long.
        """
        with self._lock:
            if self._taken >= self._room:
                raise busy("the server computes as much as it can", self._settings.retry_after_seconds)
            self._taken += 1
        future = self._threads.submit(function, *arguments)
        future.add_done_callback(self._leave)
        limit = seconds or self._settings.study_seconds
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), limit)
        except TimeoutError:
            if future.done() and not future.cancelled():
                return future.result()  # in the last moment; or the function's own TimeoutError
            future.cancel()
            raise Refusal(
                504, f"the computation must take at most {limit:g} s; ask for less, or make it a job"
            ) from None

    def _leave(self, _: Future[Any]) -> None:
        with self._lock:
            self._taken -= 1

    def close(self) -> None:
        """Take no more work; what waits is dropped, what runs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
