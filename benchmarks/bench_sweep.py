"""How fast is a sweep? The same configurations through plain pandas, through vectorbt, and through `run_sweep` on two cores.

    python benchmarks/bench_sweep.py [FOLDER] [--million]

FOLDER holds sentiment_data.csv and prices.csv.gz (default: WORKBENCH_REAL_DATA, else ../shared/data). Arm (c) runs all 50,000
configurations, from the grid to the SweepResult with everything in it; arms (a) and (b) a sample of them, in turn with it in one run, so
that the ratios hold on a noisy machine. vectorbt is no dependency of the workbench: `pip install vectorbt` beside it, or arm (b) is left
out. Targets: 5,000 x (a), 5,000 x (b), at most 8 us a configuration. --million sweeps 1,000,000 of them into a file and prints peak memory.
"""

import argparse
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from plain_pandas import select, study

from workbench import StudyConfig, load_market
from workbench.execution import LocalEngine
from workbench.sweep.books import Bookkeeper
from workbench.sweep.grid import as_grid
from workbench.sweep.run import run_sweep

GRID = {
    "min_likes": [0, 20, 50, 100, 200],
    "min_comments": [0, 5, 10, 20, 50],
    "execution_lag": [0, 1, 2, 5, 10],
    "drift": [True, False],
    "top_n": list(range(1, 21)),
    "cost_bps": [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0],
}
SAMPLE, ROUNDS = 10, 5


def with_vectorbt(sentiment: pd.DataFrame, prices: pd.DataFrame, config: StudyConfig) -> dict[str, float]:
    """Run one study with vectorbt's Portfolio.from_orders: cash sharing, target percents; the signal is plain pandas."""
    import vectorbt as vbt

    chosen = select(sentiment, config.top_n, config.min_likes, config.min_comments)
    days = prices.index
    size = pd.DataFrame(np.nan, index=days, columns=prices.columns)
    fees = pd.Series(0.0, index=days)
    last = 0
    for period, group in chosen.groupby("period"):
        row = days.searchsorted(period.end_time.normalize(), side="right") - 1 + config.execution_lag
        if row >= len(days) - 1:
            continue
        held = [symbol for symbol in group["symbol"] if pd.notna(prices[symbol].iloc[row])]
        size.iloc[row] = 0.0
        size.loc[days[row], held] = 1.0 / len(held)
        fees.iloc[row] = config.cost_bps / 10_000
        last = days.searchsorted((period + 1).end_time.normalize(), side="right") - 1 + config.execution_lag
    start, stop = int(size.notna().any(axis=1).argmax()), min(last, len(days) - 1) + 1
    if not config.drift:
        size = size.ffill()
    portfolio = vbt.Portfolio.from_orders(
        prices.ffill().iloc[start:stop],
        size=size.iloc[start:stop],
        size_type="targetpercent",
        fees=np.broadcast_to(fees.to_numpy()[start:stop, None], (stop - start, prices.shape[1])),
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        freq="1D",
    )
    returns = portfolio.returns()
    return {
        "total_return": float(portfolio.total_return()),
        "sharpe_ratio": float(returns.mean() / returns.std() * np.sqrt(252)),
        "max_drawdown": float(portfolio.max_drawdown()),
    }


def main() -> None:
    """Time the arms and print medians and ratios."""
    parser = argparse.ArgumentParser()
    default = os.environ.get("WORKBENCH_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("folder", nargs="?", default=default, type=Path)
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    market = load_market(options.folder / "sentiment_data.csv", options.folder / "prices.csv.gz")
    if options.million:
        million(market)
        return
    sentiment = market.sentiment.frame
    prices = pd.DataFrame(
        market.prices.values, index=market.prices.days.astype("datetime64[us]"), columns=market.prices.symbols
    )
    engine, grid = LocalEngine(workers=2), as_grid(GRID)
    rows = [int(row) for row in np.random.default_rng(1).choice(len(grid), SAMPLE, replace=False)]
    configs = [grid.config(row) for row in rows]
    result = run_sweep(grid, market, engine)
    worst = max(_difference(study(sentiment, prices, **_knobs(one)), result.summary(row))
                for one, row in zip(configs, rows, strict=True))  # fmt: skip
    assert worst < 1e-10, f"plain pandas differs by {worst}"
    arms = {"plain pandas": lambda one: study(sentiment, prices, **_knobs(one))}
    try:
        off = max(abs(with_vectorbt(sentiment, prices, one)["total_return"] - result.summary(row)["total_return"])
                  for one, row in zip(configs, rows, strict=True))  # fmt: skip
        arms["vectorbt"] = lambda one: with_vectorbt(sentiment, prices, one)
    except ImportError:
        off = None
    times: dict[str, list[float]] = {name: [] for name in (*arms, "run_sweep")}
    for _ in range(ROUNDS):
        for name, arm in arms.items():
            for one in configs:
                start = time.perf_counter()
                arm(one)
                times[name].append(time.perf_counter() - start)
        start = time.perf_counter()
        run_sweep(GRID, market, engine)
        times["run_sweep"].append((time.perf_counter() - start) / len(grid))
    ours = statistics.median(times["run_sweep"])
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}")
    print(f"{grid!r}; {len(market.prices.symbols)} price columns, {result.summary(rows[0])['n_days']} days")
    for name in arms:
        median = statistics.median(times[name])
        print(f"{name:13s} {1e3 * median:9.2f} ms a configuration   {median / ours:8,.0f} x run_sweep (target 5,000)")
    print(f"{'run_sweep':13s} {1e6 * ours:9.2f} us a configuration   (target: at most 8)")
    print(
        f"largest difference: plain pandas {worst:.1e}"
        + ("" if off is None else f", vectorbt's total return {off:.1e}")
    )
    bound(grid, market, ours)


def bound(grid, market, ours: float) -> None:
    """Say where the time goes, and how far the whole is from its compiled loop alone on all cores."""
    from workbench.sweep import kernel

    spent, plain = [], kernel.evaluate

    def timed(*arguments):
        start = time.perf_counter()
        plain(*arguments)
        spent.append(time.perf_counter() - start)

    timed.signatures = plain.signatures  # by which run_sweep knows what is compiled
    kernel.evaluate = timed
    try:
        start = time.perf_counter()
        run_sweep(grid, market, LocalEngine(workers=1))
        whole = time.perf_counter() - start
    finally:
        kernel.evaluate = plain
    books = Bookkeeper(market, 20)
    start = time.perf_counter()
    for likes in GRID["min_likes"]:
        for comments in GRID["min_comments"]:
            books.ranked(StudyConfig(min_likes=likes, min_comments=comments))
    ranking = time.perf_counter() - start
    n = len(grid)
    print(f"one core: {1e6 * whole / n:.2f} us, of which compiled loop {1e6 * sum(spent) / n:.2f} us, "
          f"rankings {1e6 * ranking / n:.2f} us, the rest {1e6 * (whole - sum(spent) - ranking) / n:.2f} us")  # fmt: skip
    floor = sum(spent) / n / 2
    print(f"bound: arithmetic of one core each (the loop's data fit the second-level cache). Were all but the compiled loop free and both "
          f"cores busy with it: {1e6 * floor:.2f} us; we are {ours / floor:.1f} x above that")  # fmt: skip


def million(market) -> None:
    """Sweep a million configurations into a file; print time, bytes and peak memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grid = as_grid(GRID | {"max_weight": [1.0, 0.5, 0.25, 0.2, 0.15], "risk_free_rate": [0.0, 0.01, 0.02, 0.04]})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sweep.parquet"
        start = time.perf_counter()
        run_sweep(grid, market, LocalEngine(workers=2), out=out)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{len(grid):,} configurations in {seconds:.1f} s ({1e6 * seconds / len(grid):.2f} us each) into "
              f"{out.stat().st_size / 1e6:.0f} MB; peak memory {peak / 2**20:.2f} GiB, {(peak - before) / 2**20:.2f} of it the sweep's "
              "(target: below 2)")  # fmt: skip


def _knobs(config: StudyConfig) -> dict:
    return {
        "top_n": config.top_n,
        "lag": config.execution_lag,
        "cost_bps": config.cost_bps,
        "drift": config.drift,
        "min_likes": config.min_likes,
        "min_comments": config.min_comments,
    }


def _difference(theirs: dict, ours: dict) -> float:
    return max(abs(ours[name] - value) for name, value in theirs.items())


if __name__ == "__main__":
    sys.exit(main())
