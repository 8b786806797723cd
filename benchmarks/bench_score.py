"""Posts scored a second, beside raw scorer processes, and the memory that it takes.

    python benchmarks/bench_score.py [POSTS] [ROUNDS] [LARGE]

`score_posts` from a CSV file to the table, with two worker processes and everything in the time (their start, reading, days, sums,
writing), beside two raw processes that run already, have half of the texts in memory each, and only call the same scorer on them, the
same lexicon included (target: at least 0.8 x their posts a second). The same with two Ray actors, on a Ray that runs already; and, for
comparison, the raw processes with VADER as it comes, without the finance lexicon. The arms take turns in one run; medians and the median
of the ratios are printed. Then the peak memory at two sizes, LARGE being the larger one (target: the same within noise). The posts are
made up: words and phrases of such posts in random order, in the order of time, a third of the texts quoted.
"""

import contextlib
import datetime as dt
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from workbench.cluster.engine import RayEngine
from workbench.execution import Engine, LocalEngine
from workbench.market.scorer_vader import VaderScorer
from workbench.market.text import score_posts

WORKERS = 2
SMALL = 100_000
WORDS = (
    "the stock is up today and we are looking at next week with strong growth in cloud revenue while margin pressure persists I think "
    "this a great opportunity but risk remains high watch level closely it could break down into close volume picking nicely new "
    "product launch ahead guidance was weak love hate no idea not good really expensive here holding adding on dips https://t.co/Ab3dE"
).split()
PHRASES = (
    "bullish on ${s}, going long", "bearish on ${s}, adding puts", "${s} beat estimates 🚀", "upgrade for ${s}!", "${s} to the moon",
    "just watching ${s}", "anyone in ${s}?", "${s} looks heavy", "chart of ${s} 📉", "what a quarter, ${s}",
)  # fmt: skip

MEMORY = r"""
import re, resource, sys, time
from pathlib import Path
from workbench.execution import LocalEngine
from workbench.market.text import score_posts


def peak():
    # Linux's ru_maxrss counts the process that forked this one, too.
    if Path("/proc/self/status").exists():
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


start = time.perf_counter()
result = score_posts(sys.argv[1], sys.argv[2], engine=LocalEngine(int(sys.argv[3])))
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"  {result.rows:10,} posts in {time.perf_counter() - start:6.1f} s: {peak():6.0f} MiB, each worker at most {workers:.0f} MiB")
"""


def made_up(posts: int, seed: int = 1) -> list[tuple[str, str, str]]:
    """Return time stamps, symbols and texts, in the order of time."""
    dice = random.Random(seed)
    first, step = dt.datetime(2021, 11, 18), 412 * 86_400 / posts
    rows = []
    for number in range(posts):
        symbol = f"S{dice.randrange(85):03d}"
        text = " ".join(dice.choices(WORDS, k=dice.randint(4, 26)))
        if dice.random() < 0.6:
            text = f"{dice.choice(PHRASES).replace('{s}', symbol)}. {text}"
        rows.append(((first + dt.timedelta(seconds=int(number * step))).isoformat() + "Z", symbol, text))
    return rows


def write_posts(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Write posts as CSV, with made-up counts."""
    dice = random.Random(2)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write("timestamp,symbol,text,likes,comments,impressions\n")
        for stamp, symbol, text in rows:
            cell = f'"{text}"' if "," in text else text
            file.write(f"{stamp},{symbol},{cell},{dice.randrange(500)},{dice.randrange(50)},{dice.randrange(9999)}\n")
    return path


def serve(line: Connection, texts: list[str]) -> None:
    """Be a raw process: score the texts each time that one is told to, with the finance lexicon or without."""
    scorers = {"with lexicon": VaderScorer().compound, "plain": SentimentIntensityAnalyzer().polarity_scores}
    line.send("ready")
    while (which := line.recv()) in scorers:
        score = scorers[which]
        for text in texts:
            score(text)
        line.send("done")


@contextlib.contextmanager
def raw_processes(texts: list[str]) -> Iterator[Callable[[str], None]]:
    """Have processes that hold an equal share of the texts each; give a function that has all of them scored."""
    context, lines = multiprocessing.get_context("spawn"), []
    for place in range(WORKERS):
        mine, theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, texts[place::WORKERS]), daemon=True).start()
        lines.append(mine)

    def answers() -> None:
        for line in lines:
            line.recv()

    def score(which: str) -> None:
        for line in lines:
            line.send(which)
        answers()

    answers()
    yield score
    for line in lines:
        line.send("end")


def seconds(work: Callable[[], Any]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speed(path: Path, texts: list[str], rounds: int) -> None:
    """Time the arms in turn and print what came out."""

    def scored(engine: Engine) -> None:
        assert score_posts(path, path.with_name("table.csv"), engine=engine).scored == len(texts)

    with raw_processes(texts) as raw, RayEngine.open(WORKERS) as ray_engine:
        arms: dict[str, Callable[[], None]] = {
            "raw processes": lambda: raw("with lexicon"),
            "score_posts, local": lambda: scored(LocalEngine(WORKERS)),
            "score_posts, Ray": lambda: scored(ray_engine),
            "raw, plain VADER": lambda: raw("plain"),
        }
        times: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(rounds):
            for name, arm in arms.items():
                times[name].append(seconds(arm))
    for name, own in times.items():
        ratio = statistics.median(base / time for base, time in zip(times["raw processes"], own, strict=True))
        target = " (target: at least 0.8)" if name.startswith("score") else ""
        print(f"  {name:20s} {len(texts) / statistics.median(own):9,.0f} posts/s, {ratio:.2f} x raw{target}")


def memory(folder: Path, large: int) -> None:
    """Score two sizes, each in a process of its own, and print their peak memory."""
    for posts in (SMALL, large):
        path = write_posts(folder / f"{posts}.csv", made_up(posts))
        arguments = (str(path), str(folder / "table.csv"), str(WORKERS))
        subprocess.run([sys.executable, "-c", MEMORY, *arguments], check=True)
        path.unlink()


def machine() -> str:
    """Describe the machine."""
    information = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip() for line in information.read_text().splitlines() if line.startswith("model name")
    ]
    model = names[0] if names else platform.processor()
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {platform.system()}, load {load:.1f} at the start"


def main() -> None:
    """Run both benchmarks."""
    posts, rounds, large = (int(value) for value in [*sys.argv[1:], *("200000", "5", "1000000")[len(sys.argv) - 1 :]])
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        rows = made_up(posts)
        path, texts = write_posts(Path(name) / "posts.csv", rows), [text for _, _, text in rows]
        print(f"{posts:,} posts of {sum(map(len, texts)) / posts:.0f} characters, {WORKERS} workers, {rounds} rounds")
        speed(path, texts, rounds)
        print(f"peak memory of score_posts with {WORKERS} workers (target: the same within noise)")
        memory(Path(name), large)


if __name__ == "__main__":
    main()
