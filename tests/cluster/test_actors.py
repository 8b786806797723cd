"""A table in an actor, and studies in tasks: the plain functions' answers, to the last bit, whatever happens to the processes."""

from __future__ import annotations

import os
import signal

import numpy as np
import pandas as pd
import psutil
import pytest
from small_market import write_small_market

from workbench.batch import run_batches, run_studies
from workbench.config import StudyConfig
from workbench.engines import sentiment_questions
from workbench.errors import DataError
from workbench.execution import LocalEngine
from workbench.market.load import load_market
from workbench.market.tables import Market
from workbench.questions import SentimentQuestions
from workbench.registry import register_signal
from workbench.result import StudyResult
from workbench.sweep.result import FailedStudy


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return load_market(*write_small_market(tmp_path_factory.mktemp("market")))


def actor_process() -> int:
    """Return the process of the one actor that this Ray has."""
    found = [
        child.pid for child in psutil.Process().children(recursive=True) if child.name().startswith("ray::_Holder")
    ]
    assert len(found) == 1
    return found[0]


def test_an_actor_answers_as_the_plain_object_does_even_after_it_was_killed(engine, market: Market):
    shift = 0.25
    register_signal("shifted_ratio", lambda table: table["twitterComments"] / table["twitterLikes"] + shift, "1")
    plain = SentimentQuestions(market.sentiment)
    configs = [StudyConfig(top_n=2), StudyConfig(top_n=3, min_likes=400, signal="shifted_ratio", exclude="CCC")]
    with sentiment_questions(engine, market.sentiment) as processor:
        for killed in (False, True):
            for config in configs:
                if killed:
                    os.kill(actor_process(), signal.SIGKILL)
                expected, got = plain.ranking(config), processor.ranking(config)
                assert got.eligible.tobytes() == expected.eligible.tobytes()
                assert [list(chosen) for chosen in got.chosen] == [list(chosen) for chosen in expected.chosen]
                assert processor.selection(config) == plain.selection(config)
                assert processor.quality(config) == plain.quality(config)
                pd.testing.assert_frame_equal(processor.panel(config), plain.panel(config), check_exact=True)
                pd.testing.assert_frame_equal(
                    processor.values(config, "NA"), plain.values(config, "NA"), check_exact=True
                )
        panel = processor.panel(configs[0])
        panel.iloc[0, 0] = 1.0  # what Ray itself hands out is read-only
        with pytest.raises(DataError, match="symbol must be one of the 4"):
            processor.values(configs[0], "ZZZ")
        assert engine.account()["tasks"] == 2 * 2 * 5 + 1


def test_the_plain_object_answers_where_there_is_no_ray(market: Market):
    with sentiment_questions(LocalEngine(1), market.sentiment) as questions:
        assert isinstance(questions, SentimentQuestions)


def test_studies_in_batches_are_those_of_a_loop(engine, market: Market):
    register_signal("plain_ratio", lambda table: table["twitterComments"] / table["twitterLikes"], "1")
    register_signal("broken", lambda table: table["no such column"], "1")
    random = np.random.default_rng(3)
    configs = [
        StudyConfig(
            top_n=int(random.integers(1, 6)),  # 5 is more than there are symbols
            execution_lag=int(random.integers(0, 3)),
            drift=bool(random.integers(2)),
            signal=str(random.choice(["engagement_ratio", "plain_ratio", "broken"])),
        )
        for _ in range(12)
    ]
    expected = run_studies(configs, market)
    assert {type(result) for result in expected} == {StudyResult, FailedStudy}
    for where in (engine, LocalEngine(2)):
        got = run_batches(configs, market, where)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert one.config == other.config
            if isinstance(other, FailedStudy):
                assert one == other
            else:
                assert one.to_dict() == other.to_dict()
                pd.testing.assert_frame_equal(one.returns, other.returns, check_exact=True)
