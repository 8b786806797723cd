"""The matrix of adjusted closes from the price store: how fast, and with what memory.

    python benchmarks/bench_store.py [FOLDER] [ROUNDS]

85 symbols x 4 years: from their files, checksums verified (target: at most 6 x), and from the matrix cache (target: at
most 1.5 x), each beside `pyarrow.parquet.read_table` of the same bars in one file, written as the store writes its
files; beside one written with pyarrow's defaults as well. The arms take turns in one run; medians and the median of
the ratios are printed. Then 500 symbols x 20 years in a process of its own: time and peak memory (target: under 2 GiB).
FOLDER holds the real data (default: WORKBENCH_REAL_DATA, else ../shared/data; simulated bars where there are none).
"""

import datetime as dt
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.market.bars import COLUMNS, Bars, bars_of
from workbench.market.coverage import DayRange
from workbench.market.store import Origin, PriceStore

LARGE = r"""
import re, resource, sys, time
from pathlib import Path
from workbench.market.store import PriceStore


def peak():
    # Linux's ru_maxrss counts the process that forked this one, too.
    if Path("/proc/self/status").exists():
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


store, before = PriceStore(sys.argv[1]), peak()
symbols = store.symbols()
for name in ("from the files", "from the cache"):
    start = time.perf_counter()
    values = store.matrix(symbols).values
    print(f"    {name}: {time.perf_counter() - start:6.2f} s, {values.shape}, peak {peak():,.0f} MiB ({before:,.0f} at the start)")
"""


def real_bars(folder: Path) -> dict[str, Bars]:
    """Return the bars of the real price table by symbol."""
    table = pd.read_csv(folder / "prices.csv.gz", keep_default_na=False, na_values=[""], parse_dates=["date"])
    table = table[~table["symbol"].isin(["QQQ", "SPY"])].assign(dividends=0.0, splits=0.0)
    return {str(symbol): bars_of(str(symbol), group) for symbol, group in table.groupby("symbol")}


def simulated_bars(symbols: int, years: int) -> dict[str, Bars]:
    """Return random walks as bars, with a dividend a quarter."""
    generator = np.random.default_rng(1)
    days = np.arange(np.datetime64("2023-12-29") - 366 * years, np.datetime64("2023-12-30"))
    days = days[np.is_busday(days)]
    made = {}
    for number in range(symbols):
        close = np.round(100 * np.exp(np.cumsum(generator.normal(0, 0.02, len(days)))), 2)
        values = np.zeros((len(days), len(COLUMNS)))
        values[:, :4] = np.round(close[:, None] * (1 + generator.normal(0, 0.005, (len(days), 4))), 2)
        values[:, 3], values[:, 5] = close, generator.integers(10**5, 10**8, len(days))
        values[::63, 6] = 0.25
        kept = 1 - values[:, 6] / close
        values[:, 4] = close * np.append(np.cumprod(kept[::-1])[::-1][1:], 1.0)
        made[f"SIM{number:03d}"] = Bars(days, values)
    return made


def stored(folder: Path, bars: dict[str, Bars]) -> PriceStore:
    """Return a store with these bars."""
    store = PriceStore(folder)
    for symbol, own in bars.items():
        asked = DayRange(own.days[0].item(), own.days[-1].item())
        store.update(
            symbol, own, asked, Origin("benchmark", symbol, "USD", "NYQ", "America/New_York"), dt.datetime.now(dt.UTC)
        )
    return store


def one_file(path: Path, bars: dict[str, Bars], **options: object) -> Path:
    """Write all bars into one Parquet file."""
    columns = {"symbol": np.repeat(list(bars), [len(own) for own in bars.values()])}
    columns["date"] = np.concatenate([own.days for own in bars.values()])
    columns |= {name: np.concatenate([own.column(name) for own in bars.values()]) for name in COLUMNS}
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path, **options)
    return path


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, ours: Callable[[], object], base: Callable[[], object], target: float, rounds: int) -> None:
    """Time both arms in turn and print what came out."""
    ours(), base()  # warm the disk cache
    pairs = [(seconds(ours), seconds(base)) for _ in range(rounds)]
    mine, theirs = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:34s} {mine:7.2f} ms beside {theirs:6.2f} ms: ratio {ratio:5.2f} (target: at most {target:g})")


def small(folder: Path, bars: dict[str, Bars], rounds: int) -> None:
    """Compare the store with one file."""
    store = stored(folder / "store", bars)
    like_ours = one_file(
        folder / "ours.parquet",
        bars,
        compression="lz4",
        use_dictionary=["symbol", "dividends", "splits"],
        write_statistics=False,
    )
    default = one_file(folder / "default.parquet", bars)
    rows = sum(len(own) for own in bars.values())
    sizes = [sum(file.stat().st_size for file in store.folder.glob("objects/*")), like_ours.stat().st_size]
    print(
        f"{len(bars)} symbols, {rows:,} bars; {sizes[0]:,} bytes in the store, {sizes[1]:,} in one file, {rounds} rounds"
    )
    cache = store.folder / "cache"

    def from_files() -> object:
        for path in cache.iterdir():
            path.unlink()
        return store.matrix(bars)

    for name, path in (("", like_ours), (", pyarrow's defaults", default)):
        compare(f"from the files{name}", from_files, lambda path=path: pq.read_table(path), 6.0, rounds)
        store.matrix(bars)
        compare(f"from the cache{name}", lambda: store.matrix(bars), lambda path=path: pq.read_table(path), 1.5, rounds)
    assert store.counts["cache_hit"] > rounds


def main() -> None:
    """Run both benchmarks."""
    default = os.environ.get("WORKBENCH_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    data = Path(sys.argv[1] if len(sys.argv) > 1 else default)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 41
    real = (data / "prices.csv.gz").is_file()
    print("real bars" if real else f"simulated bars (no prices.csv.gz in {data})")
    with tempfile.TemporaryDirectory() as name:
        small(Path(name), real_bars(data) if real else simulated_bars(85, 4), rounds)
        start = time.perf_counter()
        large = stored(Path(name) / "large", simulated_bars(500, 20))
        print(
            f"500 symbols x 20 years (target: under 2,048 MiB); simulated and stored in {time.perf_counter() - start:.1f} s"
        )
        subprocess.run([sys.executable, "-c", LARGE, str(large.folder)], check=True)


if __name__ == "__main__":
    main()
