"""What do workers buy where the work is an optimiser's? The same sweep on Ray with one worker and with two.

    python benchmarks/bench_ray.py [FOLDER]

FOLDER holds sentiment_data.csv and prices.csv.gz (default: WORKBENCH_REAL_DATA, else ../shared/data). Ray is started once, its
workers are warm before the clock starts, every fit has one BLAS thread in both arms, and the arms take turns. Target: at least 1.7 x.
"""

import os
import platform
import statistics
import sys
import time
from pathlib import Path

import psutil

from workbench import load_market
from workbench.engines import choose
from workbench.scaling import same_bits, timed

GRID = "weighting=min_variance,risk_parity,min_cvar,max_sharpe;top_n=5,10,15,20;lookback_days=60,126;max_weight=1,0.3"
ROUNDS = 3


def main() -> None:
    """Time both arms and print medians and their ratio."""
    default = os.environ.get("WORKBENCH_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else default)
    market = load_market(folder / "sentiment_data.csv", folder / "prices.csv.gz")
    times: dict[int, list[float]] = {1: [], 2: []}
    shares = []
    with choose("ray"):
        for _ in range(ROUNDS):
            results = {}
            for workers in times:
                psutil.cpu_percent()
                seconds, results[workers] = timed(GRID, market, "ray", workers, 1)
                times[workers].append(seconds)
                if workers == 1:
                    shares.append(psutil.cpu_percent() / 100)
            assert same_bits(results[1], results[2])
    one, two = (statistics.median(times[workers]) for workers in (1, 2))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"one worker   {one:6.2f} s (the machine was {statistics.median(shares):.0%} busy meanwhile; 50 % would be this alone)"
    )
    print(f"two workers  {two:6.2f} s   {one / two:.2f} x one (target: at least 1.7); same bits")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"all of it, starts included: {time.perf_counter() - start:.0f} s")
