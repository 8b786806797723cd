"""What the tests of scoring share: posts made at random, an engine in this process, and the sums by a plain loop."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cloudpickle

from workbench.market.scorer_vader import VaderScorer
from workbench.market.text import ScoreResult, plan_scores, run_scores

HEADER = "timestamp,symbol,text,likes,comments,impressions"
SYMBOLS = ("AAPL", "NA", "BRK.B", "TRUE", "a,b")
WORDS = (
    "good bad bullish bearish $AAPL going long short not very but love hate the a of earnings beat missed estimates "
    "puts calls 🚀 📉 مرحبا שלום 株価 \u202eabc GREAT :) :( !!! to moon the dip buy"
).split()


class InLine:
    """An engine in this process that finishes chunks in an order of its own; what it is sent and what it answers is pickled."""

    name, workers = "in line", 2

    def __init__(self, seed: int | None = None) -> None:
        self._dice = None if seed is None else random.Random(seed)
        self.tasks = 0

    @contextlib.contextmanager
    def pool(self, factory: Callable[..., Any], *arguments: Any) -> Iterator[InLine]:
        factory, arguments = cloudpickle.loads(cloudpickle.dumps((factory, arguments)))
        self._held = factory(*arguments)
        yield self

    def map(self, method: str, chunks: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        numbered = enumerate(chunks)
        while ahead := list(itertools.islice(numbered, 4)):
            if self._dice is not None:
                self._dice.shuffle(ahead)
            for position, chunk in ahead:
                self.tasks += 1
                sent = cloudpickle.loads(cloudpickle.dumps(chunk))
                yield position, cloudpickle.loads(cloudpickle.dumps(getattr(self._held, method)(sent)))

    def account(self) -> dict[str, Any]:
        return {"engine": self.name, "tasks": self.tasks}


def score(path: Path, out: Path, engine: Any = None, chunk_bytes: int | None = None, **options: Any) -> ScoreResult:
    """Score a file of posts, by default in this process."""
    return run_scores(plan_scores(path, out, **options), engine or InLine(), chunk_bytes=chunk_bytes)


def random_rows(n: int, seed: int = 1) -> list[list[str]]:
    """Return posts as rows of text: time stamps with and without offsets, texts with anything in them, counts that may be empty."""
    dice = random.Random(seed)
    rows = []
    for _ in range(n):
        second = dice.randrange(40 * 86_400)
        stamp = dt.datetime(2022, 2, 20) + dt.timedelta(seconds=second)  # over a change of the clocks
        zone = dice.choice(("", "Z", "-05:00", "+0900", " UTC"))
        text = dice.choice((" ", "\n", ", ", '"')).join(dice.choices(WORDS, k=dice.randrange(0, 14)))
        counts = [dice.choice(("", "0", str(dice.randrange(10**6)), f"{dice.randrange(99)}.0")) for _ in range(3)]
        rows.append([f"{stamp.isoformat(sep=dice.choice('T '))}{zone}", dice.choice(SYMBOLS), text, *counts])
    return rows


def write_rows(path: Path, rows: list[list[str]], header: str = HEADER) -> Path:
    """Write posts as CSV."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return path


def by_plain_loop(rows: list[list[str]], zone: str, cutoff: dt.time) -> list[list[str]]:
    """Return the rows of the table as text, worked out row by row with exact fractions."""
    scorer = VaderScorer()
    found: dict[tuple[dt.date, str], dict[str, Any]] = {}
    for stamp, symbol, text, likes, comments, impressions in rows:
        moment = dt.datetime.fromisoformat(stamp.replace(" UTC", "Z"))
        wall = moment if moment.tzinfo is None else moment.astimezone(ZoneInfo(zone))
        day = wall.date() + (dt.timedelta(days=1) if wall.time() > cutoff else dt.timedelta())
        cell = found.setdefault((day, symbol), {"posts": 0, "counts": [0, 0, 0], "scores": []})
        cell["posts"] += 1
        for place, count in enumerate((comments, likes, impressions)):
            cell["counts"][place] += int(float(count or 0))
        if text.strip():
            cell["scores"].append(Fraction(str(scorer.compound(text))))
    table = []
    for (day, symbol), cell in sorted(found.items()):
        scores = cell["scores"]
        sentiment = repr(float((1 + sum(scores) / len(scores)) / 2)) if scores else ""
        table.append([day.isoformat(), symbol, str(cell["posts"]), *map(str, cell["counts"]), sentiment])
    return table


def read_table(path: Path) -> list[list[str]]:
    """Return the rows of a CSV table, without its header."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]
