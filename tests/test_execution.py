"""The local engine: what a loop would give, in threads or processes, whatever happens to these."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import chunk_work as work
import numpy as np
import psutil
import pytest
from processes import alive, until

from workbench.errors import ConfigError, UnavailableError
from workbench.execution import LocalEngine, _container_cpus, one_blas_thread, usable_cpus
from workbench.workers import RUNS

ROOT = Path(__file__).resolve().parent.parent
A_FEW = 4
MODES = pytest.mark.parametrize("workers,holds_gil", [(1, False), (2, False), (1, True), (2, True), (3, True)])


def worker_processes() -> list[psutil.Process]:
    """Return the worker processes of this process."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("workbench.workers" in word for word in child.cmdline()):
                found.append(child)
    return found


@MODES
def test_every_mode_gives_what_a_loop_gives_to_the_last_bit(workers: int, holds_gil: bool):
    seeds = np.random.default_rng(5).integers(0, 2**32, 12).tolist()
    with one_blas_thread():
        expected = [work.wave(seed, 1.5) for seed in seeds]
    engine = LocalEngine(workers)
    got = dict(engine.map(work.wave, seeds, shared=(1.5,), holds_gil=holds_gil))
    assert [got[position] for position in range(len(seeds))] == expected
    assert worker_processes() == []


@MODES
def test_chunks_are_read_a_few_ahead_and_no_further(workers: int, holds_gil: bool):
    read = 0

    def chunks() -> Iterator[int]:
        nonlocal read
        for chunk in itertools.count():  # there is no end: reading all would never return
            read += 1
            yield chunk

    results = LocalEngine(workers).map(work.double, chunks(), holds_gil=holds_gil)
    for taken in range(1, 20):
        next(results)
        assert read <= taken + workers + A_FEW
    results.close()
    assert worker_processes() == []


def test_no_chunks_start_no_process():
    assert list(LocalEngine(2).map(work.double, [], holds_gil=True)) == []
    assert list(LocalEngine(2).map(work.double, [])) == []


@MODES
def test_what_the_function_raises_comes_out(workers: int, holds_gil: bool):
    with pytest.raises(ValueError) as caught:
        list(LocalEngine(workers).map(work.fail, range(10), shared=("value",), holds_gil=holds_gil))
    assert caught.value.args[0] == "chunk"
    if holds_gil:  # where it was raised is not lost with the process
        assert 'raise ValueError("chunk", chunk)' in caught.value.__notes__[0]
    assert worker_processes() == []


def test_an_exception_that_cannot_be_sent_is_described():
    with pytest.raises(RuntimeError, match="OddError: this and that"):
        list(LocalEngine(2).map(work.fail, [1], shared=("odd",), holds_gil=True))


def test_a_result_that_cannot_be_sent_is_an_error():
    with pytest.raises(TypeError, match="generator"):
        list(LocalEngine(2).map(work.fail, [1], shared=("generator",), holds_gil=True))


def test_an_error_of_the_chunks_themselves_comes_out():
    def chunks() -> Iterator[int]:
        yield from range(5)
        raise OSError("the disk is gone")

    for holds_gil in (False, True):
        with pytest.raises(OSError, match="disk"):
            list(LocalEngine(2).map(work.double, chunks(), holds_gil=holds_gil))
    assert worker_processes() == []


def test_a_killed_worker_costs_nothing_but_time(tmp_path: Path):
    mark = tmp_path / "killed"
    got = dict(LocalEngine(2).map(work.die_once, range(6), shared=(str(mark),), holds_gil=True))
    assert mark.exists()
    assert got == {chunk: chunk * 3 for chunk in range(6)}


def test_workers_killed_from_outside_cost_nothing_but_time():
    engine = LocalEngine(2)
    got: dict[int, int] = {}
    for position, value in engine.map(work.own_pid, range(12), shared=(0.1,), holds_gil=True):
        if position in (1, 5):
            for process in worker_processes():
                process.kill()
        got[position] = value
    assert sorted(got) == list(range(12))
    assert len(set(got.values())) > 2  # others took their place


def test_a_chunk_that_kills_every_worker_is_given_up_by_name(tmp_path: Path):
    log = tmp_path / "log"
    with pytest.raises(UnavailableError, match=f"chunk 2 was lost with its worker process {RUNS} times.*SIGKILL"):
        list(LocalEngine(2).map(work.die_always, range(6), shared=(str(log),), holds_gil=True))
    assert log.stat().st_size == RUNS
    assert worker_processes() == []


@pytest.mark.parametrize("holds_gil", [False, True])
def test_a_consumer_that_leaves_leaves_nothing_running(tmp_path: Path, holds_gil: bool):
    results = LocalEngine(2).map(work.own_pid, range(1000), shared=(0.05,), holds_gil=holds_gil)
    next(results)
    started = time.monotonic()
    with pytest.raises(KeyError):
        for _ in results:
            raise KeyError
    del results
    assert time.monotonic() - started < 5
    assert worker_processes() == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("workbench")]


@MODES
def test_a_chunk_has_one_blas_thread(workers: int, holds_gil: bool):
    before = work.blas_threads(None)
    counts = [count for _, count in LocalEngine(workers).map(work.blas_threads, range(4), holds_gil=holds_gil)]
    assert counts == [{1}] * 4
    assert work.blas_threads(None) == before


def test_blas_threads_are_restored_by_the_last_of_several_blocks():
    before = work.blas_threads(None)
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert work.blas_threads(None) == {1}
    second.__exit__(None, None, None)
    assert work.blas_threads(None) == before


def test_lambdas_and_local_functions_arrive_in_processes():
    step = 7

    def local(chunk: int) -> int:
        return chunk + step

    for function in (lambda chunk: chunk + step, local):
        got = dict(LocalEngine(2).map(work.call_on, range(3), shared=(function,), holds_gil=True))
        assert got == {0: 7, 1: 8, 2: 9}


def test_what_a_worker_prints_goes_nowhere(capfd: pytest.CaptureFixture[str]):
    list(LocalEngine(2).map(work.print_much, range(3), holds_gil=True))
    assert capfd.readouterr() == ("", "")


def test_a_pool_makes_its_objects_once_per_worker():
    with LocalEngine(2).pool(work.Counter, 100) as pool:
        got = dict(pool.map("add", range(20)))
        again = dict(pool.map("add", range(20)))
    assert [got[chunk][0] for chunk in range(20)] == list(range(100, 120))
    processes = {process for _, _, process in (*got.values(), *again.values())}
    assert len(processes) <= 2
    assert (
        sum(max(calls for _, calls, at in (*got.values(), *again.values()) if at == each) for each in processes) == 40
    )
    assert worker_processes() == []


def test_a_pool_that_is_left_early_can_be_used_again(tmp_path: Path):
    with LocalEngine(2).pool(work.Counter, 0, str(tmp_path / "killed")) as pool:
        next(pool.map("add", itertools.count()))
        assert dict(pool.map("die_once", range(5))) == {chunk: chunk * 3 for chunk in range(5)}
    assert worker_processes() == []


def test_what_the_making_of_an_object_raises_comes_out():
    with LocalEngine(2).pool(work.no_object) as pool, pytest.raises(LookupError, match="nothing to hold"):
        list(pool.map("add", range(3)))
    assert worker_processes() == []


def test_an_account_tells_what_was_done_and_why():
    engine = LocalEngine(2, why="it was asked for")
    list(engine.map(work.own_pid, range(4), shared=(0.05,)))
    list(engine.map(work.own_pid, range(3), shared=(0.05,), holds_gil=True))
    account = engine.account()
    assert 7 * 0.05 <= account.pop("seconds") < 5
    assert account == {"engine": "local", "why": "it was asked for", "nodes": 1, "cpus": 2, "tasks": 7}


def test_workers_must_be_at_least_one():
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0; leave it out"):
        LocalEngine(0)


def test_an_affinity_and_a_container_bound_the_workers(tmp_path: Path):
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import workbench.execution as e; print(e.usable_cpus())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
    assert _container_cpus(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    for quota, expected in (("-1", None), ("150000", 2)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
        assert _container_cpus(tmp_path) == expected
    for quota, expected in (("max 100000", None), ("50000 100000", 1), ("300000 100000", 3)):
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
        assert _container_cpus(tmp_path) == expected


SCRIPT = """
print("once", flush=True)
from workbench.execution import LocalEngine
step = 3
def add(chunk): return chunk + step
print(sorted(LocalEngine(2).map(add, range(3), holds_gil=True)), flush=True)
"""


@pytest.mark.parametrize("how", ["script", "command", "module"])
def test_a_script_needs_no_main_guard_and_runs_once(tmp_path: Path, how: str):
    folder = tmp_path / "a folder with blanks"
    folder.mkdir()
    script = folder / "my_script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    arguments = {"script": [str(script)], "command": ["-c", SCRIPT], "module": ["-m", "my_script"]}[how]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("once\n[(0, 3), (1, 4), (2, 5)]\n", "")


def test_a_notebook_can_map_functions_of_its_cells(tmp_path: Path):
    import nbformat

    from workbench.report.kernel import execute

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(
            "power = 2\ndef square(chunk): return chunk**power", metadata={"tags": ["parameters"]}
        ),
        nbformat.v4.new_code_cell(
            "from workbench.execution import LocalEngine\nsorted(LocalEngine(2).map(square, range(4), holds_gil=True))"
        ),
    ]
    file = tmp_path / "cells.ipynb"
    nbformat.write(notebook, file)
    executed, failure, _ = execute(file, {}, cell_timeout=60)
    assert failure is None
    assert [output.get("data", output) for output in executed.cells[-1].outputs] == [
        {"text/plain": "[(0, 0), (1, 1), (2, 4), (3, 9)]"}
    ]


INTERRUPTED = """
import sys
sys.path.insert(0, {tests!r})
import chunk_work
from workbench.execution import LocalEngine
list(LocalEngine(2).map(chunk_work.sleep_long, range(4), shared=({log!r},), holds_gil=True))
"""


def start_sleepers(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a process of its own group that maps over two sleeping workers; return it and the workers' numbers."""
    log = tmp_path / "log"
    code = INTERRUPTED.format(tests=str(ROOT / "tests"), log=str(log))
    driver = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: log.exists() and log.read_text().count("\n") == 2, 30)
    return driver, [int(line) for line in log.read_text().split()]


def test_ctrl_c_leaves_nothing_running(tmp_path: Path):
    driver, workers = start_sleepers(tmp_path)
    os.killpg(driver.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the workers too
    _, errors = driver.communicate(timeout=20)
    assert driver.returncode == -signal.SIGINT
    assert errors.strip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") == 1
    until(lambda: not any(map(alive, workers)), 5)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_by_themselves_when_their_driver_is_killed(tmp_path: Path, how: signal.Signals):
    driver, workers = start_sleepers(tmp_path)
    driver.send_signal(how)
    driver.communicate(timeout=20)
    until(lambda: not any(map(alive, workers)), 5)
