"""Actors: plain objects of the layers above that live in a Ray worker and answer from there.

Enters: an engine and what the object is made of, put into the object store once. Leaves: the plain object's own answers, to the last
bit. An actor whose process is killed is made again and asked again; the caller notices nothing but the time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pandas as pd

from workbench.cluster.engine import Actors, RayEngine
from workbench.cluster.surroundings import surroundings
from workbench.config import StudyConfig
from workbench.market.tables import SentimentTable
from workbench.plan import Ranking
from workbench.questions import SentimentQuestions, own_signals


class SentimentProcessor:
    """A sentiment table in a Ray actor: the questions of `SentimentQuestions`, answered by it. Open it with `sentiment_processor`."""

    def __init__(self, engine: RayEngine, actors: Actors) -> None:
        self._engine, self._actors = engine, actors

    def ranking(self, config: StudyConfig) -> Ranking:
        """Return `SentimentQuestions.ranking`; its arrays are read-only."""
        ranking: Ranking = self._ask("ranking", config)
        return ranking

    def selection(self, config: StudyConfig) -> dict[str, list[str]]:
        """Return `SentimentQuestions.selection`."""
        selection: dict[str, list[str]] = self._ask("selection", config)
        return selection

    def panel(self, config: StudyConfig) -> pd.DataFrame:
        """Return `SentimentQuestions.panel`."""
        return self._ask("panel", config).copy()

    def values(self, config: StudyConfig, symbol: str) -> pd.DataFrame:
        """Return `SentimentQuestions.values`."""
        return self._ask("values", config, symbol).copy()

    def quality(self, config: StudyConfig) -> dict[str, Any]:
        """Return `SentimentQuestions.quality`."""
        quality: dict[str, Any] = self._ask("quality", config)
        return quality

    def _ask(self, method: str, config: StudyConfig, *arguments: Any) -> Any:
        question = (method, (config, *arguments), own_signals([config]))
        return self._engine.receive(
            self._actors.call(0, surroundings(), "ask", question), "a question about the sentiment table"
        )


@contextlib.contextmanager
def sentiment_processor(engine: RayEngine, table: SentimentTable) -> Iterator[SentimentProcessor]:
    """Have a `SentimentProcessor` within a block; the actor ends with it.

    Parameters
    ----------
    engine
        Where the actor lives. Each answer counts as one task of its account.
    table
        Put into the object store once, and read by the actor with its first question.
    """
    with engine.actors(1, SentimentQuestions, table) as actors:
        yield SentimentProcessor(engine, actors)
