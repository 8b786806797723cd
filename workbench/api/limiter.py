"""A rate limit: one bucket of tokens per caller, filled at a constant rate.

Enters: who calls. Leaves: 0 where the call may go on, else the seconds after which it may.
"""

from __future__ import annotations

import time
from collections import OrderedDict

_MOST_CALLERS = 10_000  # those that called longest ago are forgotten: their buckets are full again anyway


class RateLimit:
    """Token buckets.

    Parameters
    ----------
    per_second
        Tokens that flow into a bucket; 0 for no limit.
    burst
        Tokens that a bucket holds.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._rate, self._burst = per_second, float(burst)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take a token; return how many seconds to wait where there is none."""
        if self._rate == 0:
            return 0.0
        now = time.monotonic()
        tokens, before = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._rate)
        wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate
        self._buckets[caller] = (tokens - 1.0 if not wait else tokens, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait
