"""The engine on Ray: what the local one gives, to the last bit, whatever happens to the workers."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import chunk_work as work
import numpy as np
import pytest
from processes import alive, until

from workbench.errors import ConfigError, UnavailableError
from workbench.execution import LocalEngine


def test_ray_gives_what_the_local_engine_gives_to_the_last_bit(engine):
    seeds = np.random.default_rng(9).integers(0, 2**32, 12).tolist()
    local = LocalEngine(2)
    expected = dict(local.map(work.wave, seeds, shared=(1.5,), holds_gil=True))
    assert dict(engine.map(work.wave, seeds, shared=(1.5,))) == expected
    assert dict(local.map(work.wave, seeds, shared=(1.5,))) == expected


def test_chunks_are_read_a_few_ahead_and_the_rest_is_cancelled(engine, tmp_path: Path):
    read, log = 0, tmp_path / "log"

    def chunks() -> Iterator[int]:
        nonlocal read
        for chunk in itertools.count():
            read += 1
            yield chunk

    results = engine.map(work.double, chunks())
    for taken in range(1, 20):
        next(results)
        assert read <= taken + engine.workers + 4
    results.close()
    sleepers = engine.map(work.sleep_long, range(9), shared=(str(log),))
    with pytest.raises(UnavailableError, match=r"Ray gave no result within 2 s.*workbench doctor"):
        engine._timeout = 2.0
        next(sleepers)
    pids = [int(line) for line in log.read_text().split()]
    assert len(pids) == 2
    until(lambda: not any(map(alive, pids)))


def test_leaving_as_chunks_end_is_harmless(engine):
    for _ in range(25):  # a task that ends while it is cancelled would abort this process
        results = engine.map(work.double, itertools.count())
        next(results)
        results.close()


def test_what_the_function_raises_comes_out(engine):
    with pytest.raises(ValueError) as caught:
        list(engine.map(work.fail, range(3), shared=("value",)))
    assert type(caught.value) is ValueError
    assert caught.value.args[0] == "chunk"
    assert 'raise ValueError("chunk", chunk)' in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="OddError: this and that"):
        list(engine.map(work.fail, [1], shared=("odd",)))
    with pytest.raises(TypeError, match="generator"):
        list(engine.map(work.fail, [1], shared=("generator",)))


def test_a_worker_killed_from_outside_costs_nothing_but_time(engine):
    got: dict[int, int] = {}
    for position, pid in engine.map(work.own_pid, range(12), shared=(0.1,)):
        if not got:
            os.kill(pid, signal.SIGKILL)
            until(lambda killed=pid: not alive(killed))
        got[position] = pid
    assert sorted(got) == list(range(12))


def test_a_chunk_has_one_blas_thread(engine):
    assert [count for _, count in engine.map(work.blas_threads, range(4))] == [{1}] * 4


def test_what_chunks_share_is_sent_to_each_worker_once(engine, tmp_path: Path):
    log = tmp_path / "log"
    assert len(list(engine.map(work.use, range(30), shared=(work.LoadedOnce(str(log)),)))) == 30
    assert 1 <= log.stat().st_size <= 2


def test_variables_are_handed_on_and_taken_back(engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_HOME", "state")
    monkeypatch.setenv("WORKBENCH_TEST", "a value with blanks")
    for _, seen in engine.map(work.variables, range(4)):
        assert seen == work.variables(None) | {"WORKBENCH_HOME": str(tmp_path / "state")}
    monkeypatch.delenv("WORKBENCH_TEST")
    for _, seen in engine.map(work.variables, range(4)):
        assert "WORKBENCH_TEST" not in seen


def test_lambdas_and_modules_from_anywhere_arrive(engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "beside_the_notebook.py").write_text("def third(chunk): return chunk / 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import beside_the_notebook

    for function in (lambda chunk: chunk / 3, beside_the_notebook.third):
        assert dict(engine.map(work.call_on, range(3), shared=(function,))) == {0: 0.0, 1: 1 / 3, 2: 2 / 3}


def test_fewer_workers_than_cpus_are_kept_to(ray_with_two_workers, tmp_path: Path):
    from workbench.cluster.engine import RayEngine

    assert len(list(RayEngine(workers=1).map(work.alone, range(10), shared=(str(tmp_path / "mark"),)))) == 10
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        RayEngine(workers=0)


def test_a_pool_holds_objects_and_replaces_those_that_die(engine, tmp_path: Path):
    with engine.pool(work.Counter, 100, str(tmp_path / "killed")) as pool:
        got = dict(pool.map("add", range(20)))
        assert [got[chunk][0] for chunk in range(20)] == list(range(100, 120))
        pids = {pid for _, _, pid in got.values()}
        assert len(pids) == 2
        assert dict(pool.map("die_once", range(5))) == {chunk: chunk * 3 for chunk in range(5)}
        replaced = {pid for _, (_, _, pid) in pool.map("add", range(20))}
        assert len(pids & replaced) == 1
        left = pool.map("sleep", [0.0, 600.0, 600.0, 600.0])
        assert next(left) == (0, None)
        left.close()
        pids |= replaced
        until(lambda: not any(map(alive, pids)))
        assert next(pool.map("add", [1]))[1][0] == 101


def test_an_account_tells_what_was_done_and_why(engine):
    list(engine.map(work.own_pid, range(4), shared=(0.05,)))
    account = engine.account()
    assert 4 * 0.05 <= account.pop("seconds") < 5
    assert account == {"engine": "ray", "why": "the test asked for it", "nodes": 1, "cpus": 2, "tasks": 4}
