"""Posts scored by actors on Ray: the bytes of the local engine, also where an actor is killed on the way."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from posts import HEADER, random_rows, score, write_rows

from workbench.cluster.engine import RayEngine
from workbench.errors import DataError
from workbench.execution import LocalEngine
from workbench.market.text import score_posts


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_ray_gives_the_bytes_of_the_local_engine(engine: RayEngine, tmp_path: Path, form: str):
    rows = random_rows(1500, 21)
    rows[0][1] = ""
    first = 2  # in CSV, the line after the header's
    path = write_rows(tmp_path / "posts.csv", rows)
    if form == "parquet":
        columns = [pa.array(column) for column in zip(*rows, strict=True)]
        columns[3:] = [
            pa.array([float(cell) if cell else None for cell in column.to_pylist()]) for column in columns[3:]
        ]
        path, first = tmp_path / "posts.parquet", 1
        pq.write_table(pa.table(columns, names=HEADER.split(",")), path)
    results = [score(path, tmp_path / f"{one.name}.csv", one, chunk_bytes=30_000) for one in (engine, LocalEngine(2))]
    on_ray, local = ((tmp_path / f"{name}.csv").read_bytes() for name in ("ray", "local"))
    assert on_ray == local
    assert (results[0].bad, results[0].losses) == (results[1].bad, results[1].losses)
    assert results[0].account["tasks"] == results[1].account["tasks"] > 2
    assert [(bad.count, bad.first_line) for bad in results[0].bad] == [(1, first)]


def test_an_actor_killed_in_the_middle_changes_nothing(engine: RayEngine, tmp_path: Path):
    path = write_rows(tmp_path / "posts.csv", random_rows(12_000, 22))
    score(path, tmp_path / "whole.csv")
    killed: list[int] = []

    def kill_one(_: int) -> None:
        if killed:
            return
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any(part.startswith("ray::_Holder") for part in process.cmdline()):
                    killed.append(process.pid)
                    os.kill(process.pid, signal.SIGKILL)
                    return

    @contextlib.contextmanager
    def show(*_: object) -> Iterator[Callable[[int], None]]:
        yield kill_one

    result = score_posts(path, tmp_path / "table.csv", engine=engine, progress=show)
    assert killed
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert result.rows == 12_000


def test_a_model_that_an_actor_cannot_load_is_one_line(engine: RayEngine, tmp_path: Path):
    pytest.importorskip("torch", reason="torch is not installed: make venv EXTRAS=transformers")
    pytest.importorskip("transformers", reason="transformers is not installed: make venv EXTRAS=transformers")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert", "id2label": {"0": "positive", "1": "negative"}}')
    (model / "model.safetensors").write_bytes(b"no weights")
    (model / "vocab.txt").write_text("[UNK]\n")
    path = write_rows(tmp_path / "posts.csv", random_rows(50, 2))
    with pytest.raises(DataError, match="cannot be loaded") as caught:
        score(path, tmp_path / "table.csv", engine, scorer="transformers", model=model)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "table.csv").exists()
