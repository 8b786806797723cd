"""How fast is one study? `run_study` on loaded data, result building included, beside the same METHOD in plain pandas.

    python benchmarks/bench_study.py [FOLDER]

FOLDER holds sentiment_data.csv and prices.csv.gz (default: WORKBENCH_REAL_DATA, else ../shared/data). Both arms are
timed in turn in one run, so that the ratio holds on a noisy machine. The target is a ratio of at most 1/10.
"""

import os
import statistics
import sys
import time
from pathlib import Path

import pandas as pd
from plain_pandas import study

from workbench import StudyConfig, load_market, run_study


def main() -> None:
    """Time both arms and print medians and their ratio."""
    default = os.environ.get("WORKBENCH_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else default)
    market = load_market(folder / "sentiment_data.csv", folder / "prices.csv.gz")
    sentiment = market.sentiment.frame
    prices = pd.DataFrame(
        market.prices.values, index=market.prices.days.astype("datetime64[us]"), columns=market.prices.symbols
    )
    config = StudyConfig()
    ours, theirs = run_study(config, market).summary, study(sentiment, prices)
    worst = max(abs(ours[name] - value) for name, value in theirs.items())
    assert worst < 1e-10, f"the two arms differ by {worst}"

    fast, slow = [], []
    for _ in range(30):
        start = time.perf_counter()
        study(sentiment, prices)
        middle = time.perf_counter()
        for _ in range(5):
            run_study(config, market)
        slow.append(middle - start)
        fast.append((time.perf_counter() - middle) / 5)
    ratio = statistics.median(fast) / statistics.median(slow)
    print(f"plain pandas  {1e3 * statistics.median(slow):7.2f} ms")
    print(f"run_study     {1e3 * statistics.median(fast):7.2f} ms   ratio 1/{1 / ratio:.1f} (target: at most 1/10)")
    print(f"largest difference of any number: {worst:.1e}")


if __name__ == "__main__":
    main()
