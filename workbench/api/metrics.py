"""What the server counts, in Prometheus' text form.

Enters: finished requests, cache outcomes, gauges that are read when somebody asks. Leaves: the text of `GET /metrics`. Counters are
those of all replicas where PROMETHEUS_MULTIPROC_DIR was set before this module was imported, and go on where a replica ends; gauges are
read in the process that answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from workbench.cluster.surroundings import METRICS_VARIABLE

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """The counters of one application."""

    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._registry, self._gauges = CollectorRegistry(), CollectorRegistry()
        self._requests = Counter(
            "workbench_requests", "Requests answered", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "workbench_request_seconds", "Seconds per request", ("route",), registry=self._registry, buckets=_BUCKETS
        )
        self._cache = Counter(
            "workbench_cache", "Answers looked up in the cache", ("outcome",), registry=self._registry
        )
        for name, (text, read) in gauges.items():
            Gauge(f"workbench_{name}", text, registry=self._gauges).set_function(read)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def looked_up(self, outcome: str) -> None:
        """Count a "hit" or a "miss" of the cache."""
        self._cache.labels(outcome).inc()

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text form."""
        counted = self._registry
        if METRICS_VARIABLE in os.environ:
            MultiProcessCollector(counted := CollectorRegistry())
        return generate_latest(counted) + generate_latest(self._gauges)
