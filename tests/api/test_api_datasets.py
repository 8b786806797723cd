"""Tables that clients send: registered whole and right, or not at all; the server opens nothing that a client names."""

from __future__ import annotations

import gzip
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_market import prices_frame, sentiment_frame

from workbench.api.job_commands import JSON_ROWS
from workbench.cli_sweep import JSON_ROWS as COMMAND_LINE_ROWS

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"


def upload(client: Any, name: str, body: Any, form: str = CSV, **query: str) -> Any:
    return client.post("/datasets", params={"name": name, **query}, content=body, headers={"content-type": form})


def left_behind(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "api" / "tables").iterdir())


def test_uploaded_tables_can_be_studied_and_survive_a_restart(connect: Any, home: Path):
    client = connect()
    renamed = sentiment_frame().rename(columns={"twitterLikes": "favs"})
    posts = upload(
        client, "posts", gzip.compress(renamed.to_csv(index=False).encode()), "application/gzip", columns="likes=favs"
    )
    assert posts.status_code == 201
    about = posts.json()["about"]
    assert (about["rows"], about["symbols"], about["first"], about["data_kind"]) == (480, 4, "2022-01-01", "real")
    file = io.BytesIO()
    prices_frame().to_parquet(file)
    assert upload(client, "closes", file.getvalue(), PARQUET, kind="prices", benchmark="QQQ").status_code == 201

    later = connect()
    listed = {item["name"]: item for item in later.get("/datasets").json()["datasets"]}
    assert list(listed) == ["default", "closes", "posts", "small"]
    assert (listed["posts"]["has_sentiment"], listed["posts"]["has_prices"]) == (True, False)
    assert (listed["closes"]["has_sentiment"], listed["closes"]["has_prices"]) == (False, True)
    assert str(home) not in json.dumps(listed)
    body = {"top_n": 2}
    mine = later.post("/portfolio/analyze", json={"dataset": "posts", "prices": "closes", **body}).json()["study"]
    small = later.post("/portfolio/analyze", json={"dataset": "small", **body}).json()["study"]
    assert mine["summary"] == small["summary"]
    assert (mine["provenance"]["sentiment"], mine["provenance"]["prices"]) == ("posts.csv.gz", "closes.parquet")


def huge_parquet() -> bytes:
    """A file of some kilobytes that unpacks to 160 GB: one text, named by two million rows."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000_000, pa.int32()), pa.array(["x" * 80_000]))
    table = pa.table({name: text for name in ("date", "symbol", "adj_close")})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", "sentiment", "garbage"),
        (b"\x00\x01\x02garbage\xff" * 1000, "sentiment", "garbage"),
        (b"PAR1" + b"\x00" * 100 + b"PAR1", "sentiment", "garbage"),
        (gzip.compress(b"date,symbol\n")[:-4], "sentiment", "truncated gzip"),
        (gzip.compress(b"\0" * 600_000_000, 1), "sentiment", "must unpack to at most 536,870,912 bytes"),
        (b"date,symbol,adj_close\n2022-01-03,QQQ,-1\n", "prices", "garbage: line 2"),
    ],
    ids=["empty", "binary", "parquet", "truncated", "bomb", "negative"],
)
def test_garbage_is_refused_with_the_readers_line_and_leaves_nothing(shared: Any, body: bytes, kind: str, words: str):
    home = shared.app.state.server.settings.home
    answer = upload(shared, "garbage", body, "application/octet-stream", kind=kind)
    assert answer.status_code == 422 and words in answer.json()["detail"]
    assert str(home) not in answer.text and ".incoming" not in answer.text
    assert left_behind(home) == []
    assert "garbage" not in shared.get("/datasets").text
    assert shared.get("/health").status_code == 200


def test_a_table_that_unpacks_beyond_memory_kills_nobody(client: Any, home: Path):
    body = huge_parquet()
    assert len(body) < 1 << 20
    answer = upload(client, "garbage", body, PARQUET, kind="prices")
    assert answer.status_code == 422
    assert left_behind(home) == [] and client.get("/health").status_code == 200


def test_row_limits_hold(connect: Any, home: Path):
    client = connect(table_rows=100)
    answer = upload(client, "posts", sentiment_frame().to_csv(index=False))
    assert answer.status_code == 422 and "at most 100 rows" in answer.json()["detail"]
    file = io.BytesIO()
    sentiment_frame().to_parquet(file)
    assert upload(client, "posts", file.getvalue(), PARQUET).status_code == 422
    assert left_behind(home) == []


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "A", "a.csv", "default", "simulated", "snapshot", "x" * 65, "é", "-a", "a\n"]
)
def test_a_name_that_could_be_more_than_a_name_is_refused(shared: Any, name: str):
    assert upload(shared, name, b"x").status_code == 422
    assert left_behind(shared.app.state.server.settings.home) == []


def test_what_is_wrong_with_the_query_is_said_before_the_body_is_read(client: Any):
    assert client.post("/datasets", content=b"x", headers={"content-type": CSV}).json() == {
        "detail": "name must be given"
    }
    for query in (
        {"kind": "other"},
        {"columns": "likes"},
        {"columns": "nope=x"},
        {"benchmark": " "},
        {"benchmark": "A" * 99},
    ):
        answer = client.post("/datasets", params={"name": "x", **query}, content=b"x", headers={"content-type": CSV})
        assert answer.status_code == 422 and "\n" not in answer.json()["detail"]


def test_a_name_is_given_once_whoever_asks(connect: Any, home: Path):
    clients = [connect(uploads=10), connect(uploads=10)]
    body = sentiment_frame().to_csv(index=False)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: upload(clients[i % 2], "posts", body), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert len(left_behind(home)) == 1
    assert upload(clients[0], "small", body).status_code == 409
    full = connect(datasets=1)
    assert upload(full, "more", body).status_code == 507


def test_too_many_uploads_at_a_time_are_refused(connect: Any):
    client = connect(uploads=1)
    body = sentiment_frame().to_csv(index=False)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: upload(client, f"posts-{i}", body), range(4)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused and all("retry-after" in answer.headers for answer in refused)
    assert len(refused) + sum(answer.status_code == 201 for answer in answers) == 4


def test_the_limit_of_rows_as_json_is_the_command_lines():
    assert JSON_ROWS == COMMAND_LINE_ROWS
