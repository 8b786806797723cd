"""What the routes of one application share: settings, data, cache, threads, jobs, counters.

Enters: settings, and a view of the cluster where there is one. Leaves: the object that `app.state.server` is. Whatever several server
processes must agree on lies in files.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request

import workbench
from workbench.api.answers import analyze_answer, stocks_answer
from workbench.api.bodies import StocksRequest
from workbench.api.cache import ResultCache
from workbench.api.compute import Pool
from workbench.api.datasets import Data, Registry
from workbench.api.jobs import Jobs
from workbench.api.markets import Markets, without_path
from workbench.api.metrics import Metrics
from workbench.api.problems import Refusal
from workbench.api.settings import Settings
from workbench.api.uploads import Uploads
from workbench.api.words import in_api_words
from workbench.config import StudyConfig
from workbench.stocks import analyze_stocks
from workbench.study import run_study


class Cluster(Protocol):
    """What a server may ask of the cluster that it runs on."""

    def initialized(self) -> bool:
        """Tell whether Ray is up; asked by every health check, so it must be cheap."""

    def status(self) -> dict[str, Any]:
        """Return `nodes`, a list, and `resources`, a dict."""

    def job_environment(self) -> dict[str, str]:
        """Return the environment that the processes of jobs start from."""


@dataclass(frozen=True)
class NoCluster:
    """A machine on its own."""

    def initialized(self) -> bool:
        """Return False: there is no Ray."""
        return False

    def status(self) -> dict[str, Any]:
        """Return this machine as the one node."""
        resources = {"CPU": float(os.cpu_count() or 1)}
        return {"nodes": [{"name": platform.node(), "alive": True, "resources": resources}], "resources": resources}

    def job_environment(self) -> dict[str, str]:
        """Return this process's."""
        return dict(os.environ)


class Server:
    """One application's state."""

    def __init__(self, settings: Settings, cluster: Cluster | None = None) -> None:
        self.settings = settings
        self.cluster = cluster or NoCluster()
        self.registry = Registry(settings)
        self.uploads = Uploads(settings, self.registry)
        self.markets = Markets(settings.markets)
        self.cache = ResultCache(settings.folder / "cache", settings.cache_bytes)
        self.pool = Pool(settings)
        self.jobs = Jobs(settings, self.cluster.job_environment)
        self.metrics = Metrics(
            {
                "computations": ("Computations that run or wait", lambda: self.pool.taken),
                "jobs_queued": ("Jobs that wait", lambda: self.jobs.counts()["queued"]),
                "jobs_running": ("Jobs that run", lambda: self.jobs.counts()["running"]),
                "cache_entries": ("Answers in the cache", lambda: len(self.cache)),
                "cache_bytes": ("Bytes of the cache", self.cache.volume),
            }
        )

    def close(self) -> None:
        """Let go of threads and files; jobs run on."""
        self.jobs.stop()
        self.pool.close()
        self.cache.close()

    def analyze(self, config: StudyConfig, data: Data, key: str) -> bytes:
        """Run a study, keep the answer, return it."""
        started = time.perf_counter()
        result = run_study(config, self.markets.market(data))
        answer = analyze_answer(result, data, time.perf_counter() - started)
        self.cache.put(key, answer)
        return answer

    def analyze_stocks(self, asked: StocksRequest, data: Data, key: str) -> bytes:
        """Measure single stocks, keep the answer, return it."""
        started = time.perf_counter()
        prices = self.markets.prices(data)
        result = analyze_stocks(prices, asked.symbols, asked.start, asked.end)
        answer = stocks_answer(result, prices, data, time.perf_counter() - started)
        self.cache.put(key, answer)
        return answer

    def hide_paths(self, text: str) -> str:
        """Return an error's line as a client may read it: without paths of this machine, in words of this door."""
        return in_api_words(self.without_paths(text))

    def without_paths(self, text: str) -> str:
        """Return a text in which the places of this server's state and of its installation have names."""
        places = {self.settings.home: "WORKBENCH_HOME", Path.cwd(): ".", Path(sys.prefix): "PREFIX"}
        for path, name in (places | {Path(workbench.__file__).parents[1]: "WORKBENCH"}).items():
            if path != Path(path.root):
                text = without_path(text, path, name)
        return text


def server_of(request: Request) -> Server:
    """Return the server behind a request."""
    server: Server = request.app.state.server
    return server


async def json_body(request: Request) -> bytes:
    """Return a request's body.

    Raises
    ------
    Refusal
        415: it is not called JSON. A page in a browser can send other types without asking first.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "Content-Type must be application/json")
    return await request.body()
