"""The scorer `vader`: VADER (Hutto and Gilbert 2014) with a small lexicon of finance on top.

Enters: texts. Leaves: VADER's compound score, in [-1, 1] with four decimals. Plain VADER knows no word of "bullish on $TSLA, going long"
and gives it 0.0; `finance_lexicon.tsv` beside this module has the words and phrases added, their weights, and where these come from.
Before VADER sees a text, a cashtag becomes one word without weight, for $SAVE, $WELL or $LOW are names, and a phrase becomes one
word with the phrase's weight, in capitals where the phrase is, so that VADER's rules of negation and emphasis apply to it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from workbench.market.scorer import LONGEST

LEXICON = Path(__file__).with_name("finance_lexicon.tsv")

_CASHTAG = re.compile(r"\$[A-Za-z]{1,6}(?:\.[A-Za-z]{1,2})?(?![A-Za-z0-9_])")
_TAG = "CASHTAG"


@cache
def read_lexicon() -> tuple[tuple[str, float], ...]:
    """Return the terms of the finance lexicon and their weights, in the file's order."""
    lines = LEXICON.read_text(encoding="utf-8").splitlines()
    fields = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return tuple((term, float(weight)) for term, weight, *_ in fields)


def scorer_name() -> str:
    """Return what the scorer is: VADER's version, and the hash of the lexicon on top."""
    return f"vader {version('vaderSentiment')}, finance lexicon {hashlib.sha256(LEXICON.read_bytes()).hexdigest()[:12]}"


class VaderScorer:
    """Scores texts with VADER and the finance lexicon."""

    def __init__(self) -> None:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self.name = scorer_name()
        self._analyzer = SentimentIntensityAnalyzer()
        patterns: dict[str, list[str]] = {}
        for number, (term, weight) in enumerate(read_lexicon()):
            word = term
            if " " in term:
                word = f"finance{number}"
                patterns.setdefault(_key(term), []).append(f"(?P<{word}>{_pattern(term)})")
            elif not term.isascii():
                word = f"finance{number}"
                self._analyzer.emojis[term] = word
            # A word of weight 0 must not be in the lexicon at all: in capitals VADER would make it a negative one.
            if weight:
                self._analyzer.lexicon[word] = weight
            else:
                self._analyzer.lexicon.pop(word, None)
        self._phrases = [
            (key, re.compile(rf"(?<![\w'])(?:{'|'.join(alike)})(?![\w'])", re.IGNORECASE))
            for key, alike in patterns.items()
        ]

    def score(self, texts: Sequence[str]) -> list[tuple[float, bool]]:
        """Return (compound, whether only the first `LONGEST` characters were scored) for each text."""
        return [(self.compound(text[:LONGEST]), len(text) > LONGEST) for text in texts]

    def compound(self, text: str) -> float:
        """Return VADER's compound score of a text, with the finance lexicon on top."""
        if "$" in text:
            text = _CASHTAG.sub(_TAG, text)
        lower = text.lower()
        for key, pattern in self._phrases:
            if key in lower:
                text = pattern.sub(_one_word, text)
        return float(self._analyzer.polarity_scores(text)["compound"])


def _key(term: str) -> str:
    """Return letters that any form of a phrase contains: looking for them is a hundred times faster than for the phrase."""
    words = [word for word in reversed(term.split()) if word not in ("$", "_", "the")]
    return max((_beginning(_choices(word)) for word in words), key=len)


def _beginning(choices: list[str]) -> str:
    """Return the letters with which all of some words begin."""
    first = choices[0]
    return next(first[:n] for n in range(len(first), -1, -1) if all(word.startswith(first[:n]) for word in choices))


def _choices(word: str) -> list[str]:
    return [_TAG if choice == "$" else choice for choice in word.split("/")]


def _pattern(term: str) -> str:
    """Return the regular expression of a phrase."""
    pattern = ""
    for word in term.split():
        if word == "_":
            pattern += r"(?:\s+[\w'%-]+)?"
        else:
            pattern += (r"\s+" if pattern else "") + f"(?:{'|'.join(map(re.escape, _choices(word)))})"
    return pattern


def _one_word(match: re.Match[str]) -> str:
    word = str(match.lastgroup)
    return word.upper() if match[0].isupper() else word
