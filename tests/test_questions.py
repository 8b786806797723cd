"""Questions about a sentiment table: the parts of `rank`, without a price."""

from __future__ import annotations

import numpy as np
import pytest
from small_market import SYMBOLS, write_small_market

from workbench.config import StudyConfig
from workbench.errors import ConfigError, DataError
from workbench.market.load import load_market
from workbench.market.tables import Market
from workbench.plan import rank
from workbench.questions import SentimentQuestions
from workbench.registry import Signal, find_signal


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return load_market(*write_small_market(tmp_path_factory.mktemp("market")))


def test_a_ranking_is_that_of_a_study_though_there_is_no_price(market: Market):
    config = StudyConfig(top_n=3, exclude="BBB", min_likes=300)
    expected, got = rank(config, market), SentimentQuestions(market.sentiment).ranking(config)
    assert got.eligible.tobytes() == expected.eligible.tobytes()
    assert got.panel.values.tobytes() == expected.panel.values.tobytes()
    assert [list(chosen) for chosen in got.chosen] == [list(chosen) for chosen in expected.chosen]
    assert (got.first, got.labels, got.partial) == (expected.first, expected.labels, expected.partial)


def test_selection_panel_and_values_are_parts_of_the_ranking(market: Market):
    questions, config = SentimentQuestions(market.sentiment), StudyConfig(top_n=2)
    panel, selection = questions.panel(config), questions.selection(config)
    assert list(panel.columns) == list(SYMBOLS)
    assert list(selection) == list(panel.index) == ["2022-01", "2022-02", "2022-03", "2022-04"]
    for label, chosen in selection.items():
        assert chosen == list(panel.loc[label].sort_values(ascending=False).index[:2])
    frame = market.sentiment.frame
    january = frame[(frame["symbol"] == "NA") & (frame["date"] < "2022-02-01")]
    values = questions.values(config, "NA")
    assert values.loc["2022-01", "value"] == pytest.approx(
        (january["twitterComments"] / january["twitterLikes"]).mean()
    )
    assert values["n_observations"].to_list() == [31, 28, 31, 30]
    assert not values["partial"].any()


def test_an_answer_that_is_changed_does_not_change_the_next_one(market: Market):
    questions, config = SentimentQuestions(market.sentiment), StudyConfig(top_n=2)
    before = questions.panel(config)
    panel, values = questions.panel(config), questions.values(config, "AAA")
    panel.iloc[:, :] = 0.0
    values["value"] = 0.0
    assert questions.panel(config).equals(before)


def test_quality_counts_what_the_table_holds_and_what_the_filters_take(market: Market):
    config = StudyConfig(top_n=2, min_likes=500)
    quality = SentimentQuestions(market.sentiment).quality(config)
    frame = market.sentiment.frame
    below = int((frame["twitterLikes"] <= 500).sum())
    assert quality == {
        "rows": 480,
        "symbols": 4,
        "days": 120,
        "first_date": "2022-01-01",
        "last_date": "2022-04-30",
        "periods": 4,
        "partial_periods": [],
        "missing": dict.fromkeys(frame.columns[2:], 0),
        "losses": {},
        "below_threshold": below,
        "undefined": 0,
        "qualifying": {"2022-01": 4, "2022-02": 4, "2022-03": 4, "2022-04": 4},
    }


def test_more_configurations_than_are_kept_are_answered_alike(market: Market):
    questions = SentimentQuestions(market.sentiment)
    configs = [StudyConfig(top_n=2, min_likes=level) for level in range(0, 400, 10)]
    first = [questions.panel(config) for config in configs]
    assert len(questions._rankings) == 16
    assert all(questions.panel(config).equals(panel) for config, panel in zip(configs, first, strict=True))


def test_a_signal_comes_with_the_question_that_names_it(market: Market, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.registry._SIGNALS", dict(find_signal.__globals__["_SIGNALS"]))
    own = Signal("likes_alone", lambda table: table["twitterLikes"], "1")
    with pytest.raises(ConfigError, match="likes_alone"):
        find_signal("likes_alone")
    config = StudyConfig(signal="likes_alone", top_n=1)
    panel = SentimentQuestions(market.sentiment).ask(("panel", (config,), (own,)))
    assert np.isfinite(panel.to_numpy()).all()
    with pytest.raises(ValueError, match=r"question must be one of ranking, .*, got '__init__'"):
        SentimentQuestions(market.sentiment).ask(("__init__", (), ()))


def test_wrong_questions_name_the_way_out(market: Market):
    questions = SentimentQuestions(market.sentiment)
    with pytest.raises(DataError, match=r"symbol must be one of the 4 in .*posts.csv, got 'AAB'; did you mean AAA"):
        questions.values(StudyConfig(top_n=2), "AAB")
    with pytest.raises(ConfigError, match="top_n must be between 1 and 4"):
        questions.ranking(StudyConfig(top_n=5))
