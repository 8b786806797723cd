"""How much sooner are many reports there? A matrix of reports by two workers, beside the same code with one.

    python benchmarks/bench_matrix.py [REPORTS] [ROUNDS]

The reports (20 by default) are those of the shipped data with different costs; both arms make all of them anew, in turn in one run, and
medians and the median of the ratios are printed (target: at least 1.7 on 2 cores). For comparison stand there what one of these reports
costs by `workbench report`, a process each, and what the whole matrix costs when all of it is there already.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from workbench.execution import LocalEngine, usable_cpus
from workbench.report.batch import run_matrix
from workbench.report.matrix import Matrix, read_matrix


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def make(matrix: Matrix, folder: Path, workers: int, refresh: bool = True) -> None:
    """Make the reports of a matrix; all of them must succeed."""
    batch = run_matrix(matrix, folder, LocalEngine(workers), refresh=refresh)
    assert not batch.failed, batch.failed[0].reason


def single(folder: Path) -> None:
    """Make one report as a command of its own."""
    command = [str(Path(sys.executable).with_name("workbench")), "report", "-o", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def main() -> None:
    """Time both arms and print medians and their ratio."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "matrix.yaml").write_text(f"parameters: {{cost_bps: [{', '.join(map(str, range(number)))}]}}\n")
        matrix = read_matrix(folder / "matrix.yaml")
        single(folder / "out")  # warm the disk cache and the bytecode
        alone = statistics.median(seconds(lambda: single(folder / "out")) for _ in range(3))
        pairs = []
        for turn in range(rounds):
            arms = {workers: 0.0 for workers in ((1, 2) if turn % 2 else (2, 1))}
            for workers in arms:
                arms[workers] = seconds(lambda workers=workers: make(matrix, folder / "out", workers))
            pairs.append((arms[1], arms[2]))
        reused = seconds(lambda: make(matrix, folder / "out", 2, refresh=False))
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(slow / fast for slow, fast in pairs)
    print(f"{number} reports, {usable_cpus()} processors, {rounds} rounds")
    print(f"one worker    {one:6.1f} s  {one / number:5.2f} s a report")
    print(f"two workers   {two:6.1f} s  {two / number:5.2f} s a report   ratio {ratio:.2f} (target: at least 1.7)")
    print(f"a process each, one after the other: {alone:.2f} s a report")
    print(f"all of them there already: {reused:.2f} s")


if __name__ == "__main__":
    main()
