"""From a name to an engine: "local", "ray", or the rule of "auto".

Enters: what a user asked for, and how much work there is. Leaves: an engine within a `with` block; a Ray that was started for it ends with
the block. Ray is imported only where it is used.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from workbench.cluster import session
from workbench.cluster.address import VARIABLE
from workbench.errors import ConfigError
from workbench.execution import Engine, LocalEngine

if TYPE_CHECKING:
    from workbench.cluster.actors import SentimentProcessor
    from workbench.cluster.engine import RayEngine
    from workbench.market.ensure import Fetch
    from workbench.market.tables import SentimentTable
    from workbench.questions import SentimentQuestions

NAMES = ("auto", "local", "ray")

RAY_SECONDS = 60.0
"""Serial work from which on the start of a Ray, 10 to 25 s, is worth its while."""


@contextlib.contextmanager
def choose(
    engine: str | Engine = "auto", serial_seconds: float = 0.0, *, workers: int | None = None
) -> Iterator[Engine]:
    """Have an engine within a block.

    Parameters
    ----------
    engine
        "local", "ray" or "auto"; an engine is given back as it is. "auto" is the Ray that is initialised in this process, that
        RAY_ADDRESS names or that this Lab has; without one it is local, unless there is more than a minute of work. A Lab's Ray that
        is not up is never waited for.
    serial_seconds
        The work as one processor would do it, estimated; 0 for a single study, for which no Ray is ever started.
    workers
        Chunks that run at the same time; by default all that the engine has.

    Raises
    ------
    ConfigError
        There is no such engine, `workers` is below 1, or RAY_ADDRESS has the wrong form.
    UnavailableError
        The Ray that is to be used cannot be: a local run never takes its place in silence.
    """
    if not isinstance(engine, str):
        yield engine
        return
    if engine not in NAMES:
        raise ConfigError(f"engine must be one of {', '.join(NAMES)}, got {engine!r}")
    name, why = _rule(serial_seconds) if engine == "auto" else (engine, "named")
    if name == "local":
        yield LocalEngine(workers, why)
        return
    session.check()
    from workbench.cluster.engine import RayEngine

    with RayEngine.open(workers, why) as ray_engine:
        yield ray_engine


def prepare(engine: str | Engine) -> contextlib.ExitStack:
    """Start or join Ray in the background where `choose(engine)` will want it whatever the work: while data loads, say.

    Returns
    -------
    ExitStack
        To be left, or closed, when Ray is no longer needed. What goes wrong is raised by `choose`.
    """
    if engine == "ray" or (engine == "auto" and session.in_use()):
        return session.start_in_background()
    return contextlib.ExitStack()


def _rule(serial_seconds: float) -> tuple[str, str]:
    """Return what "auto" means now, and why."""
    present = session.in_use()
    if present:
        return "ray", present
    not_up = session.not_up()
    if not_up:
        return "local", f"the Ray of this Lab is not up: {not_up}"
    if serial_seconds > RAY_SECONDS:
        return "ray", f"about {serial_seconds:.0f} s of serial work"
    return "local", "no Ray is in use, and there is little work"


@contextlib.contextmanager
def sentiment_questions(engine: Engine, table: SentimentTable) -> Iterator[SentimentQuestions | SentimentProcessor]:
    """Have a sentiment table that answers questions within a block: here, or in a Ray actor where the engine is Ray."""
    if engine.name == "ray":
        from workbench.cluster.actors import sentiment_processor

        with sentiment_processor(cast("RayEngine", engine), table) as processor:
            yield processor
    else:
        from workbench.questions import SentimentQuestions

        yield SentimentQuestions(table)


@contextlib.contextmanager
def exported(engine: Engine) -> Iterator[None]:
    """Let processes that are started within the block join the engine's Ray instead of starting one; nothing where it is local."""
    if engine.name != "ray":
        yield
        return
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = cast("RayEngine", engine).address
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def price_fetcher(engine: Engine) -> Fetch:
    """Return what asks Yahoo for prices: threads here, or Ray's download tasks, counted in the engine's account."""
    if engine.name == "ray":
        from workbench.cluster.tasks import fetch_with

        return functools.partial(fetch_with, cast("RayEngine", engine))
    from workbench.market.remote import fetch_in_threads

    return fetch_in_threads
