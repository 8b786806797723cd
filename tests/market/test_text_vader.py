"""The scorer vader: what the finance lexicon adds, what it must not touch, and that the rest is VADER's own."""

from __future__ import annotations

import random

import pytest
from posts import WORDS
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from workbench.market import scorer_vader
from workbench.market.scorer import LONGEST
from workbench.market.scorer_vader import VaderScorer, read_lexicon


@pytest.fixture(scope="module")
def plain() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


@pytest.fixture(scope="module")
def finance() -> VaderScorer:
    return VaderScorer()


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ("bullish on $TSLA, going long", "bearish on $TSLA, going short"),
        ("long $TSLA", "short $TSLA"),
        ("$TSLA calls printing", "$TSLA puts printing"),
        ("bought more calls today", "bought more puts today"),
        ("sold puts", "sold calls"),
        ("$NVDA beat analyst estimates", "$NVDA missed analyst estimates"),
        ("$NVDA beat on revenue", "$NVDA misses on revenue"),
        ("raised its guidance", "cut its guidance"),
        ("upgrade for $MSFT", "downgrade for $MSFT"),
        ("the stock will rally", "the stock will plunge"),
        ("$GME to the moon", "$GME is a pump and dump"),
        ("🚀🚀", "📉📉"),
        ("GOING LONG", "going SHORT"),
    ],
)
def test_the_market_s_words_count_and_plain_vader_knows_few_of_them(finance: VaderScorer, up: str, down: str):
    assert finance.compound(up) > 0 > finance.compound(down)


@pytest.mark.parametrize("text", ["bullish on $TSLA, going long", "bearish on $TSLA, going short", "to the moon 🚀"])
def test_plain_vader_gives_these_nothing(plain: SentimentIntensityAnalyzer, text: str):
    assert plain.polarity_scores(text)["compound"] == 0.0


@pytest.mark.parametrize(
    "text",
    [
        *("a long day at the office", "it took so long", "a short video", "in short: read this", "long-term and short-term rates"),
        *("he puts it into words", "the earnings call is at five", "conference calls all day", "he beats eggs"),
        *("the moon is out tonight", "a tank of water", "the rocket launch of SpaceX", "belongs to them", "alongside $AAPL"),
        *("open interest and short interest", "gross margin and market value", "the share price of Best Buy", "crude oil"),
        *("SHARES", "THE SHARE COUNT of it", "interest rates", "$SAVE", "$WELL and $LOW", "$LOVE $FUN $HOPE", "$brk.b"),
    ],
)  # fmt: skip
def test_words_that_mean_something_else_there_count_nothing(finance: VaderScorer, text: str):
    assert finance.compound(text) == 0.0


def test_negation_and_emphasis_apply_to_phrases(finance: VaderScorer):
    assert finance.compound("not going long here") < 0 < finance.compound("going long here")
    assert finance.compound("GOING LONG here") > finance.compound("going long here")
    assert finance.compound("really going long here") > finance.compound("going long here")
    assert finance.compound("no longer bearish") > 0


def test_a_text_without_a_word_of_finance_has_vader_s_own_score(
    finance: VaderScorer, plain: SentimentIntensityAnalyzer
):
    own = {term for term, _ in read_lexicon() if " " not in term}
    keys = [key for key, _ in finance._phrases]
    others = [
        word
        for word in WORDS
        if not ({word.lower(), *word} & own or "$" in word or any(key in word.lower() for key in keys))
    ]
    dice = random.Random(11)
    for _ in range(400):
        text = " ".join(dice.choices(others, k=8))
        assert finance.compound(text) == plain.polarity_scores(text)["compound"], text


def test_each_line_of_the_lexicon_is_in_force():
    terms = [term for term, _ in read_lexicon()]
    assert len(terms) == len(set(terms)) > 100
    finance = VaderScorer()
    for term, weight in read_lexicon():
        assert -4 <= weight <= 4
        text = " ".join(
            "very" if word == "_" else "$TSLA" if word == "$" else word.split("/")[0] for word in term.split()
        )
        if " " in term:
            assert len(scorer_vader._key(term)) >= 3, term
        score = finance.compound(f"xx {text} xx")
        assert (score > 0) == (weight > 0) and (score < 0) == (weight < 0), (term, score)


def test_only_the_beginning_of_a_long_text_is_scored(finance: VaderScorer):
    texts = ["good " * (LONGEST // 5), "good " * (LONGEST // 5) + "bad " * 1000, "x" * LONGEST + " good"]
    (one, two, three) = finance.score(texts)
    assert (one[1], two[1], three) == (False, True, (0.0, True))
    assert one[0] == two[0]
