"""A market small enough for a test: four symbols, a benchmark, four months, written as CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

SYMBOLS = ("AAA", "BBB", "CCC", "NA")  # a ticker that pandas would read as missing
BENCHMARK = "QQQ"


def sentiment_frame() -> pd.DataFrame:
    """Return a row per day and symbol from 2022-01-01 to 2022-04-30, all above the default thresholds."""
    random = np.random.default_rng(7)
    days = pd.date_range("2022-01-01", "2022-04-30")
    index = pd.MultiIndex.from_product([days.strftime("%Y-%m-%d"), SYMBOLS], names=["date", "symbol"])
    frame = pd.DataFrame(index=index).reset_index()
    frame["twitterPosts"] = random.integers(30, 90, len(frame))
    frame["twitterComments"] = random.integers(20, 200, len(frame))
    frame["twitterLikes"] = random.integers(200, 900, len(frame))
    frame["twitterImpressions"] = random.integers(5_000, 9_000, len(frame))
    frame["twitterSentiment"] = random.random(len(frame)).round(4)
    return frame


def prices_frame() -> pd.DataFrame:
    """Return a wide table of adjusted closes on weekdays from 2021-12-01 to 2022-06-30."""
    random = np.random.default_rng(8)
    days = pd.bdate_range("2021-12-01", "2022-06-30")
    moves = random.normal(0, 0.02, (len(days), len(SYMBOLS) + 1))
    frame = pd.DataFrame((50 * np.exp(np.cumsum(moves, axis=0))).round(4), columns=[*SYMBOLS, BENCHMARK])
    frame.insert(0, "date", days.strftime("%Y-%m-%d"))
    return frame


def write_small_market(folder: Path) -> tuple[Path, Path]:
    """Write both tables; return the paths of the sentiment table and of the prices."""
    sentiment, prices = folder / "posts.csv", folder / "closes.csv"
    sentiment_frame().to_csv(sentiment, index=False)
    prices_frame().to_csv(prices, index=False)
    return sentiment, prices
