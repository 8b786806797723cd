"""How long does one wait for a command? Cold processes beside the least that any such command must do.

    python benchmarks/bench_commands.py [FOLDER] [ROUNDS]

`workbench backtest` on the real table beside `python -c "import pandas, pyarrow"` (target: at most 2 x); `workbench
report` of the shipped data beside papermill of an empty notebook plus nbconvert of it, as the separate processes that
a script would call (target: at most 1.3 x). The arms take turns in one run; medians and their ratio are printed.
FOLDER holds the real data (default: WORKBENCH_REAL_DATA, else ../shared/data).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
EMPTY = (
    '{"cells": [], "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}, '
    '"nbformat": 4, "nbformat_minor": 5}'
)


def run(*command: object, cwd: Path) -> None:
    """Run a command, silently; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([str(part) for part in command], cwd=cwd, env=environment, check=True, capture_output=True)


def seconds(work: Callable[[], None]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, ours: Callable[[], None], base: Callable[[], None], target: float, rounds: int) -> None:
    """Time both arms in turn and print what came out."""
    ours(), base()  # warm the disk cache and the bytecode
    pairs = [(seconds(ours), seconds(base)) for _ in range(rounds)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"{name:10s} {mine:6.2f} s beside {theirs:6.2f} s: ratio {ratio:.2f} (target: at most {target:g}), {rounds} rounds"
    )


def main() -> None:
    """Run both comparisons."""
    default = os.environ.get("WORKBENCH_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    data = Path(sys.argv[1] if len(sys.argv) > 1 else default).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.ipynb").write_text(EMPTY)
        files = ("--sentiment", data / "sentiment_data.csv", "--prices", data / "prices.csv.gz")

        def jupyter() -> None:
            run(BIN / "papermill", "empty.ipynb", "out.ipynb", cwd=folder)
            run(BIN / "jupyter-nbconvert", "--to", "html", "out.ipynb", cwd=folder)

        compare(
            "backtest",
            lambda: run(BIN / "workbench", "backtest", *files, cwd=folder),
            lambda: run(sys.executable, "-c", "import pandas, pyarrow", cwd=folder),
            2.0,
            3 * rounds,
        )
        compare(
            "report", lambda: run(BIN / "workbench", "report", "-o", folder / "out", cwd=folder), jupyter, 1.3, rounds
        )


if __name__ == "__main__":
    main()
