"""What a table had lost before it was written as Parquet is read with it, or refused, never forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.errors import DataError
from workbench.losses import Loss
from workbench.market.prices import FileSource
from workbench.market.sentiment import COLUMNS, read_sentiment
from workbench.market.typed import LOSSES_KEY, losses_metadata

POSTS = pd.DataFrame([["2023-01-02", "A", 1.0, 2.0, 3.0, 4.0, 0.5], ["2023-01-03", "A", 1.0, 2.0, 3.0, None, 0.5]])
POSTS.columns = pd.Index(COLUMNS)
CLOSES = pd.DataFrame({"date": ["2023-01-02"], "QQQ": [1.0]})
LOSSES = (
    Loss("outside_bounds", None, None, 7, "2022-01-01", "2022-12-31", "before start 2023-01-01"),
    Loss("not_priced", "2022-01", "Ω", 0, None, None, 'asked for, "not there"'),
)


def written(path: Path, frame: pd.DataFrame, metadata: dict[bytes, bytes]) -> Path:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata}), path)
    return path


def test_losses_that_were_stored_come_before_those_of_reading(tmp_path: Path) -> None:
    table = read_sentiment(written(tmp_path / "a.parquet", POSTS, losses_metadata(LOSSES)))
    assert table.losses[:2] == LOSSES
    assert [loss.kind for loss in table.losses[2:]] == ["empty_count"]
    assert FileSource(written(tmp_path / "b.parquet", CLOSES, losses_metadata(LOSSES))).load().losses == LOSSES


def test_a_table_that_lost_nothing_has_no_metadata_of_it(tmp_path: Path) -> None:
    assert losses_metadata(()) == {}
    assert FileSource(written(tmp_path / "b.parquet", CLOSES, {})).load().losses == ()
    assert FileSource(written(tmp_path / "b.parquet", CLOSES, {b"workbench.other": b"?"})).load().losses == ()


GOOD: dict[str, Any] = LOSSES[0].to_dict()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"\xff",
        b"7",
        b"[7]",
        b"{}x",
        b"[[1,2,3,4,5,6,7]]",
        *(
            json.dumps([record]).encode()
            for record in (
                {},
                GOOD | {"more": 1},
                GOOD | {"kind": "of another version"},
                GOOD | {"kind": ["outside_bounds"]},
                GOOD | {"count": -1},
                GOOD | {"count": 1.5},
                GOOD | {"count": True},
                GOOD | {"symbol": 7},
                GOOD | {"reason": None},
            )
        ),
        b"[" * 100_000,
    ],
)
def test_losses_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    for frame, read in ((POSTS, read_sentiment), (CLOSES, lambda path: FileSource(path).load())):
        path = written(tmp_path / "a.parquet", frame, {LOSSES_KEY: content})
        with pytest.raises(DataError, match=r"its metadata workbench\.losses must be a list of losses") as error:
            read(path)
        assert len(str(error.value).splitlines()) == 1 and str(error.value).isprintable()
        assert "write the table again" in str(error.value)
