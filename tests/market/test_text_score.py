"""From posts to the daily table: what the numbers are, and that nothing but the posts decides them."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from posts import HEADER, InLine, by_plain_loop, random_rows, read_table, score, write_rows
from processes import alive
from small_market import prices_frame

from workbench import StudyConfig, load_market, run_study
from workbench.errors import ConfigError, DataError, UnavailableError, WorkbenchError
from workbench.execution import LocalEngine
from workbench.losses import KINDS, UNITS
from workbench.market.sentiment import COLUMNS, read_sentiment
from workbench.market.text import score_posts

ROOT = Path(__file__).resolve().parents[2]


def one_line(error: pytest.ExceptionInfo[WorkbenchError]) -> str:
    text = str(error.value)
    assert text.isprintable() and len(text.splitlines()) == 1 and len(text) < 700, text
    assert error.value.exit_code == (3 if isinstance(error.value, UnavailableError) else 2)
    return text


# ---- the numbers -------------------------------------------------------------------------------------------------------


def test_a_table_small_enough_to_do_by_hand(tmp_path: Path):
    # VADER: good weighs 1.9 and gives 1.9 / sqrt(1.9^2 + 15) = 0.4404; bad weighs -2.5 and gives -0.5423.
    (tmp_path / "posts.csv").write_text(
        "date,symbol,text,likes,comments,impressions\n"
        "2022-01-03,AAPL,good,10,1,100\n"
        "2022-01-03,AAPL,bad,20,2,200\n"
        "2022-01-03,AAPL,,5,,50\n"
        "2022-01-03,MSFT,table,1,0,\n"
        "2022-01-04,AAPL,good,7,3,70\n"
        "2022-01-04,MSFT,  ,0,0,0\n"
    )
    result = score(tmp_path / "posts.csv", tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == (
        "date,symbol,twitterPosts,twitterComments,twitterLikes,twitterImpressions,twitterSentiment\n"
        "2022-01-03,AAPL,3,3,35,350,0.474525\n"  # (1 + (0.4404 - 0.5423) / 2) / 2
        "2022-01-03,MSFT,1,0,1,0,0.5\n"
        "2022-01-04,AAPL,1,3,7,70,0.7202\n"  # (1 + 0.4404) / 2
        "2022-01-04,MSFT,1,0,0,0,\n"
    )
    assert (result.rows, result.posts, result.scored, result.empty, result.bad) == (6, 6, 4, 2, ())
    assert (result.days, result.symbols, result.table_rows) == (2, 2, 4)
    told = [(loss.kind, loss.count, loss.first, loss.last) for loss in result.losses]
    assert told == [
        ("empty_text", 2, "2022-01-03", "2022-01-04"),
        ("empty_post_count", 1, "2022-01-03", "2022-01-03"),
        ("empty_post_count", 1, "2022-01-03", "2022-01-03"),
    ]
    assert {loss.kind for loss in result.losses} <= KINDS.keys() & UNITS.keys()


@pytest.mark.parametrize("seed", range(3))
def test_random_posts_give_what_a_plain_loop_gives(tmp_path: Path, seed: int):
    rows = random_rows(700, seed)
    zone, cutoff = (("America/New_York", "16:00"), ("Asia/Tokyo", "15:00"), ("UTC", "00:00"))[seed]
    path = write_rows(tmp_path / "posts.csv", rows)
    result = score(path, tmp_path / "table.csv", chunk_bytes=4000, timezone=zone, cutoff=cutoff)
    assert read_table(tmp_path / "table.csv") == by_plain_loop(rows, zone, dt.time.fromisoformat(cutoff))
    assert result.rows == result.posts == 700


def test_the_mean_is_the_nearest_double_however_many_posts_there_are(tmp_path: Path):
    # 0.4404 cannot be summed in binary without error; a thousand of them must still average to it.
    write_rows(
        tmp_path / "posts.csv", [["2022-01-03", "A", "good", "1", "1", "1"]] * 1000, HEADER.replace("timestamp", "date")
    )
    score(tmp_path / "posts.csv", tmp_path / "table.csv")
    assert read_table(tmp_path / "table.csv")[0][-1] == "0.7202"


# ---- nothing but the posts decides -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def posts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Any]:
    """A file of 1,000 posts with some bad rows among them, its table, and the result."""
    folder = tmp_path_factory.mktemp("posts")
    rows = random_rows(1000, 5)
    for place in range(0, 1000, 97):
        rows[place][3] = "many"
    path = write_rows(folder / "posts.csv", rows)
    result = score(path, folder / "table.csv")
    return path, (folder / "table.csv").read_bytes(), result


@pytest.mark.parametrize("chunk_bytes", [1, 700, 5000, 10**9])
@pytest.mark.parametrize("seed", [None, 3])
def test_chunks_and_their_order_change_no_bit(posts: Any, tmp_path: Path, chunk_bytes: int, seed: int | None):
    path, table, whole = posts
    engine = InLine(seed)
    result = score(path, tmp_path / "table.csv", engine, chunk_bytes)
    assert (tmp_path / "table.csv").read_bytes() == table
    assert (result.bad, result.losses, result.rows) == (whole.bad, whole.losses, whole.rows)
    assert (engine.tasks > 10) == (chunk_bytes < 6000)


def test_csv_gzip_and_parquet_give_the_same_table(posts: Any, tmp_path: Path):
    path, table, whole = posts
    (tmp_path / "posts.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    columns = [pa.array(column) for column in zip(*rows[1:], strict=True)]
    # Counts are numbers in Parquet: a cell that is none could not be there, so it is made a bad one of another kind.
    columns[3:] = [
        pa.array([None if cell == "" else -1.0 if cell == "many" else float(cell) for cell in column.to_pylist()])
        for column in columns[3:]
    ]
    pq.write_table(pa.table(columns, names=rows[0]), tmp_path / "posts.parquet", row_group_size=300)
    for name in ("posts.csv.gz", "posts.parquet"):
        for chunk_bytes in (1, 10**9):
            result = score(tmp_path / name, tmp_path / "table.csv", chunk_bytes=chunk_bytes)
            assert (tmp_path / "table.csv").read_bytes() == table, name
            assert [rows.count for rows in result.bad] == [rows.count for rows in whole.bad]
            assert result.posts == whole.posts


def test_worker_processes_give_the_same_bytes(posts: Any, tmp_path: Path):
    path, table, whole = posts
    result = score(path, tmp_path / "table.csv", LocalEngine(2), chunk_bytes=20_000)
    assert (tmp_path / "table.csv").read_bytes() == table
    assert result == whole.__class__(**(vars(whole) | {"out": tmp_path / "table.csv"}))
    assert result.account["tasks"] > 2


def is_worker(process: psutil.Process) -> bool:
    """Tell a worker of the local engine that is alive from what an earlier test may have left."""
    try:
        return any("workbench.workers" in word for word in process.cmdline())
    except psutil.Error:  # it is gone, or waits to be
        return False


def test_a_worker_killed_in_the_middle_changes_nothing(tmp_path: Path):
    path = write_rows(tmp_path / "posts.csv", random_rows(12_000, 9))
    score(path, tmp_path / "whole.csv")
    killed = []

    def kill_one(done: int) -> None:
        if not killed:
            killed.append(next(child.pid for child in psutil.Process().children() if is_worker(child)))
            os.kill(killed[0], signal.SIGKILL)

    class Show:
        def __call__(self, *_: object) -> Show:
            return self

        def __enter__(self) -> Any:
            return kill_one

        def __exit__(self, *_: object) -> None:
            pass

    result = score_posts(path, tmp_path / "table.csv", engine=LocalEngine(2), progress=Show())
    assert killed and not alive(killed[0])
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert result.rows == 12_000
    assert not any(map(is_worker, psutil.Process().children()))


MEMORY = """
import re, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from posts import InLine, score
from workbench.market import text_tally


class Silent:
    name = "silent"

    def score(self, texts):
        return [(0.0, False)] * len(texts)


text_tally.make_scorer = lambda spec: Silent()  # what is measured is the stream, not VADER
source = Path(sys.argv[2])
result = score(source, source.with_name("table.csv"), chunk_bytes=1 << 16)
print(result.rows, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell a process' peak memory")
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_five_times_the_posts_need_no_more_memory(tmp_path: Path, form: str):
    peaks = []
    rows = [[*row[:2], row[2] * 60, *row[3:]] for row in random_rows(500, 2)]
    for times in (16, 80):
        path = write_rows(tmp_path / f"{times}.csv", rows * times)
        if form == "parquet":
            table = pd.read_csv(path, keep_default_na=False, na_values={"likes": "", "comments": "", "impressions": ""})
            path = path.with_suffix(".parquet")
            table.to_parquet(path, row_group_size=10**6, compression=None, use_dictionary=False)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(Path(__file__).parents[1]), str(path)],
            cwd=ROOT, capture_output=True, text=True, check=True,
            env=os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"},  # Arrow's own one keeps what it once had
        )  # fmt: skip
        read, peak = map(int, done.stdout.split())
        assert read == 500 * times
        peaks.append(peak)
    # The smaller file has filled all buffers; had the larger one been held, let alone its rows as objects, this would show.
    assert path.stat().st_size > 75_000_000
    assert peaks[1] < peaks[0] + 25_000, f"peak memory in KiB: {peaks}"


# ---- days --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "day"),
    [
        ("2022-01-03T16:00:00-05:00", "2022-01-03"),  # at the cutoff: still that day
        ("2022-01-03T16:00:00.000001-05:00", "2022-01-04"),
        ("2022-01-03 21:00:00Z", "2022-01-03"),  # winter: New York is UTC-5
        ("2022-07-05 20:00:00Z", "2022-07-05"),  # summer: UTC-4
        ("2022-07-05 20:00:01 UTC", "2022-07-06"),
        ("2022-07-05 20:00:01 +0000", "2022-07-06"),
        ("2022-07-05T20:00:01+00", "2022-07-06"),
        ("2022-01-04T02:00:00+09:00", "2022-01-03"),  # a day earlier in New York
        ("2022-01-03T16:00", "2022-01-03"),  # no offset: New York's clock
        ("2022-01-03 16:01", "2022-01-04"),
        ("2022-01-03T15:59:59,999", "2022-01-03"),
        ("2022-12-31T23:59:59-05:00", "2023-01-01"),
        ("2022-01-03T24:00:00-05:00", "2022-01-04"),
        ("2022-01-03T24:00", "2022-01-04"),
        ("2022-03-13T02:30:00", "2022-03-13"),  # an hour that New York left out
        ("2022-11-06T01:30:00", "2022-11-06"),  # and one that it had twice
        ("2022-03-13T20:00:00Z", "2022-03-13"),  # 16:00 on the day of the change
        ("2022-03-13T20:00:01Z", "2022-03-14"),
        ("2022-11-06T21:00:00Z", "2022-11-06"),
        ("2022-11-06T21:00:01Z", "2022-11-07"),
        ("  2022-01-03T10:00:00Z ", "2022-01-03"),
        ("1800-01-01T12:00:00", "1800-01-01"),
        ("2200-12-31T12:00:00", "2200-12-31"),
        ("2024-02-28T23:00:00", "2024-02-29"),
    ],
)
def test_the_day_of_a_time_stamp(tmp_path: Path, stamp: str, day: str):
    path = write_rows(tmp_path / "posts.csv", [[stamp, "A", "good", "1", "1", "1"]])
    score(path, tmp_path / "table.csv")
    assert read_table(tmp_path / "table.csv")[0][0] == day


@pytest.mark.parametrize(
    "stamp",
    [
        *(
            "",
            "now",
            "2022-01-03",
            "20220103T160000",
            "1641243600",
            "2022-W01-1T10:00",
            "2022-01-03T16",
            "2022-1-3T16:00",
        ),
        *(
            "2022-13-01T10:00:00",
            "2022-02-30T10:00:00",
            "2022-01-03T25:00:00",
            "2022-01-03T10:61:00",
            "2022-01-03T24:00:01",
        ),
        *("2022-01-03T10:00:60", "2022-01-03T10:00:00+99:00", "2022-01-03T10:00:00 EST", "٢٠٢٢-01-03T10:00:00"),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T24:00:00", "9999-12-31T23:59:59-23:59", "1799-12-31T23:00:00"),
        "2200-12-31T16:00:01",  # of the next day, which is beyond the years of a table
    ],
)
def test_what_is_no_time_stamp_is_a_bad_row(tmp_path: Path, stamp: str):
    rows = [["2022-01-03T10:00:00Z", "A", "good", "1", "1", "1"], [stamp, "A", "good", "1", "1", "1"]]
    result = score(write_rows(tmp_path / "posts.csv", rows), tmp_path / "table.csv")
    assert (result.posts, [(rows.count, rows.first_line) for rows in result.bad]) == (1, [(1, 3)])
    assert result.bad[0].reason.startswith("timestamp must be a ")


@pytest.mark.parametrize(
    ("cutoff", "days"),
    [
        ("24:00", ["2022-01-03", "2022-01-03", "2022-01-03"]),
        ("24:00:00", ["2022-01-03", "2022-01-03", "2022-01-03"]),
        ("00:00", ["2022-01-03", "2022-01-04", "2022-01-04"]),
        ("12:00", ["2022-01-03", "2022-01-03", "2022-01-04"]),
        ("11:59:59", ["2022-01-03", "2022-01-04", "2022-01-04"]),
    ],
)
def test_a_cutoff_of_ones_own(tmp_path: Path, cutoff: str, days: list[str]):
    stamps = ("2022-01-03T00:00", "2022-01-03T12:00", "2022-01-03T23:59:59.999999")
    for stamp, day in zip(stamps, days, strict=True):
        path = write_rows(tmp_path / "posts.csv", [[stamp, "A", "good", "1", "1", "1"]])
        score(path, tmp_path / "table.csv", cutoff=cutoff)
        assert read_table(tmp_path / "table.csv")[0][0] == day


def test_a_date_is_taken_as_it_is_whatever_the_defaults_for_time_stamps(tmp_path: Path):
    header = HEADER.replace("timestamp", "date")
    path = write_rows(tmp_path / "posts.csv", [["2022-01-03", "A", "good", "1", "1", "1"]], header)
    score(path, tmp_path / "table.csv")
    assert read_table(tmp_path / "table.csv")[0][0] == "2022-01-03"
    for option in ({"cutoff": "16:00"}, {"timezone": "UTC"}):
        with pytest.raises(ConfigError, match="must only be given for posts with a timestamp") as caught:
            score(path, tmp_path / "table.csv", **option)
        one_line(caught)


def test_typed_days_and_time_stamps_of_parquet(tmp_path: Path):
    new_york = dt.datetime(2022, 1, 3, 16, 0, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5)))
    one = {
        "symbol": ["A"],
        "text": ["good"],
        "likes": [1],
        "comments": [2.0],
        "impressions": pa.array([3], pa.decimal128(5)),
    }
    cases: list[tuple[str, Any, str]] = [
        *(
            ("timestamp", pa.array([new_york], pa.timestamp(unit, "UTC")), "2022-01-04")
            for unit in ("s", "ms", "us", "ns")
        ),
        ("timestamp", pa.array([new_york.replace(tzinfo=None)], pa.timestamp("us")), "2022-01-04"),
        ("timestamp", pa.array(["2022-01-03T15:59:59"]), "2022-01-03"),
        ("date", pa.array([dt.date(2022, 1, 3)], pa.date32()), "2022-01-03"),
        ("date", pa.array([dt.date(2022, 1, 3)], pa.date64()), "2022-01-03"),
        ("date", pa.array([dt.datetime(2022, 1, 3)], pa.timestamp("ns")), "2022-01-03"),
        ("date", pa.array(["2022-01-03"]).dictionary_encode(), "2022-01-03"),
    ]
    for name, column, day in cases:
        pq.write_table(pa.table({name: column, **one}), tmp_path / "posts.parquet")
        score(tmp_path / "posts.parquet", tmp_path / "table.csv")
        assert read_table(tmp_path / "table.csv") == [[day, "A", "1", "2", "1", "3", "0.7202"]], column.type


def test_values_of_parquet_that_are_none_are_bad_rows(tmp_path: Path):
    far = 2**62
    days = pa.array([0, None, far, -far, 18_000 * 86_400_000_000 + 1, 0, 0, 0], pa.int64()).cast(pa.timestamp("us"))
    columns = {
        "date": days,
        "symbol": pa.array([b"A", b"A", b"A", b"A", b"A", None, b"\xff", b"A"]).cast(pa.binary()),
        "text": pa.array([b"good"] * 7 + [b"\xed\xa0\x80"]).cast(pa.binary()),
        "likes": [1.0, 1, 1, 1, 1, 1, 1, 1],
        "comments": pa.nulls(8),
        "impressions": [1, 1, 1, 1, 1, 1, 1, 1],
    }
    pq.write_table(pa.table(columns), tmp_path / "posts.parquet")
    result = score(tmp_path / "posts.parquet", tmp_path / "table.csv")
    assert [(rows.count, rows.first_line) for rows in result.bad] == [(1, 2), (2, 3), (1, 5), (1, 6), (2, 7)]
    assert result.posts == 1


# ---- bad rows ----------------------------------------------------------------------------------------------------------


def test_bad_rows_are_counted_by_reason_with_the_first_line_of_each(tmp_path: Path):
    good = b"2022-01-03T10:00:00Z,AAPL,good,1,1,1\n"
    lines = [
        b'2022-01-03T10:00:00Z,AAPL,"two\nlines",1,1,1\n',
        b",AAPL,good,1,1,1\n",
        b"2022-01-03T10:00:00Z,,good,1,1,1\n",
        b"\n",
        b"2022-01-03T10:00:00Z, AAPL,good,1,1,1\n",
        b"2022-01-03T10:00:00Z,AAPL,g\xff\xfed,1,1,1\n",
        b"2022-01-03T10:00:00Z,AAPL,good,1,1\n",
        b"2022-01-03T10:00:00Z,AAPL,good, very good,1,1,1\n",
        b"2022-01-03T10:00:00Z,AAPL,good,-1,1,1\n",
        b"2022-01-03T10:00:00Z,AAPL,good,1,inf,1\n",
        b"2022-01-03T10:00:00Z,AAPL,good,1,1,1e999\n",
        b"2022-01-03T10:00:00Z,AAPL,good,1.5,1,1\n",
        b"2022-01-03T10:00:00Z,AAPL,good,1,nan,1\n",
        b'2022-01-03T10:00:00Z,AAPL,good,"1,000",1,1\n',
        b"2022-01-03T10:00:00Z,AAPL,good,1,1,1000000000001\n",
        b'2022-01-03T10:00:00Z,AAPL,"good"!,1,1,1\n',
        b"2022-01-03T10:00:00Z,AA\0PL,good,1,1,1\n",
        b"2022-01-03T10:00:00Z,AAPL,good,-7,1,1\n",
    ]
    (tmp_path / "posts.csv").write_bytes(HEADER.encode() + b"\n" + good + b"".join(lines) + good)
    result = score(tmp_path / "posts.csv", tmp_path / "table.csv")
    assert (result.rows, result.posts) == (19, 3)
    assert {
        rows.first_line: (rows.count, re.split(r" (must|fields)", rows.reason)[0], rows.got) for rows in result.bad
    } == {
        5: (1, "timestamp", ""),
        6: (1, "symbol", ""),
        8: (1, "symbol", " AAPL"),
        9: (1, "a row", "the byte 0xff"),
        10: (2, "a row", "5 fields"),
        12: (2, "likes", "-1"),
        13: (2, "comments", "inf"),
        14: (1, "impressions", "1e999"),
        15: (1, "likes", "1.5"),
        17: (1, "likes", "1,000"),
        18: (1, "impressions", "1000000000001"),
        19: (1, "a quoted field", '2022-01-03T10:00:00Z,AAPL,"good"!,1,1,1'),
        20: (1, "symbol", "AA\\x00PL"),
    }
    assert result.bad[0].reason == "timestamp must be a time stamp such as 2023-01-31T15:59:00-05:00"
    assert sum(loss.count for loss in result.losses if loss.kind == "bad_post") == 16


def test_texts_of_all_kinds_are_scored(tmp_path: Path):
    texts = {
        "🚀🚀🚀": "positive", "$TSLA $AAPL": "neutral", "مرحبا بالعالم": "neutral", "\u202eשלום": "neutral",
        "good\0bad\0": "neutral", "x" * 100_000: "neutral", "good " * 20_000: "positive", "but bad " * 13_000: "negative",
        "a\r\nb\nc\rd": "neutral", "\ufeffgood": "neutral", "good\u2028bad": "negative", "\u3000\x85\x1f": "empty", "👩\u200d🚀": "any",
        '"""': "neutral", "=cmd|' /C calc'!A0": "any", "\ud7ff\ue000": "neutral", "﷽" * 5000: "neutral", "?!" * 5000: "any",
    }  # fmt: skip
    header = HEADER.replace("timestamp", "date")
    rows = [["2022-01-03", f"S{place}", text, "1", "1", "1"] for place, text in enumerate(texts)]
    started = time.monotonic()
    result = score(write_rows(tmp_path / "posts.csv", rows, header), tmp_path / "table.csv")
    assert time.monotonic() - started < 5
    given = {row[1]: row[-1] for row in read_table(tmp_path / "table.csv")}
    for place, kind in enumerate(texts.values()):
        sentiment = given[f"S{place}"]
        above = float(sentiment or "nan") - 0.5
        said = "positive" if above > 0 else "negative" if above < 0 else "neutral" if above == 0 else "empty"
        assert kind in (said, "any"), (place, sentiment)
    assert (result.rows, result.posts, result.empty) == (len(texts), len(texts), 1)
    assert [(loss.kind, loss.count) for loss in result.losses] == [("empty_text", 1), ("long_text", 5)]
    assert "4,000 characters" in result.losses[1].reason


# ---- whole files -------------------------------------------------------------------------------------------------------

ROW = "2022-01-03T10:00:00Z,AAPL,good,1,1,1\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (HEADER.encode(), "has a header but no rows"),
        (HEADER.encode() + b"\n\n\n", "has a header but no rows"),
        (HEADER.encode() + b"\nx\ny\n", "must have a row that can be read, got 2 that cannot; line 2: a row must have 6 fields"),
        (HEADER.replace("text", "body").encode() + b"\n" + ROW.encode(), "must have a column text.*--columns text=NAME"),
        (HEADER.replace("likes", "Likes").encode() + b"\n" + ROW.encode(), "did you mean 'Likes'"),
        (HEADER.replace("timestamp", "when").encode() + b"\n" + ROW.encode(), "must have a column date or timestamp.*created_at"),
        ((HEADER + ",date\n").encode(), "got both; choose with --columns"),
        ((HEADER + ",text\n").encode(), "must occur once"),
        (HEADER.replace(",", ";").encode() + b"\n", "separated by commas, got semicolons"),
        (b'"timestamp,symbol\n' + ROW.encode(), "must close every quote in the header"),
        (HEADER.encode("utf-16"), "is UTF-16"),
        (b"PK\x03\x04abc", "is a zip or Excel file"),
        (b"<html></html>", "is HTML or XML"),
        (b"PAR1 and nothing", "is not readable Parquet"),
        (b"\x1f\x8bnot gzip", "is damaged gzip"),
        (gzip.compress((HEADER + "\n" + ROW * 5000).encode())[:200], "is damaged gzip"),
        (gzip.compress((HEADER + "\n" + ROW).encode()) + b"more", "is damaged gzip"),
        (b"x" * 3_000_000, "must be a header line"),
        (b"\xff" + HEADER.encode(), "must be UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "posts.csv").write_bytes(content)
    (tmp_path / "table.csv").write_text("the old one")
    with pytest.raises(DataError, match=message) as caught:
        score(tmp_path / "posts.csv", tmp_path / "table.csv")
    assert one_line(caught).startswith(str(tmp_path / "posts.csv"))
    assert (tmp_path / "table.csv").read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["posts.csv", "table.csv"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"date": pa.array([1], pa.int64())}, "column date: must be days, .*got int64"),
        ({"timestamp": pa.array([dt.date(2022, 1, 3)])}, "column timestamp: must be time stamps .*got date32"),
        ({"date": pa.array([dt.datetime(2022, 1, 3)], pa.timestamp("us", "UTC"))}, "without a zone"),
        ({"date": ["2022-01-03"], "symbol": [1]}, "column symbol: must be text, got int64"),
        ({"date": ["2022-01-03"], "text": [["good"]]}, "column text: must be text, got list"),
        ({"date": ["2022-01-03"], "likes": ["1"]}, "column likes: must be numbers, got string"),
        ({"date": ["2022-01-03"], "likes": [True]}, "column likes: must be numbers, got bool"),
    ],
)
def test_a_parquet_column_of_the_wrong_type_is_refused(tmp_path: Path, columns: dict[str, Any], message: str):
    rest = {"symbol": ["A"], "text": ["good"], "likes": [1], "comments": [1], "impressions": [1]}
    pq.write_table(pa.table(rest | columns), tmp_path / "posts.parquet")
    with pytest.raises(DataError, match=message) as caught:
        score(tmp_path / "posts.parquet", tmp_path / "table.csv")
    one_line(caught)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": "New York"}, "timezone must be a name such as America/New_York, got 'New York'"),
        ({"timezone": "America"}, "timezone must be a name"),
        ({"timezone": "../../etc/passwd"}, "timezone must be a name"),
        ({"timezone": "America/New_Yrok"}, "did you mean America/New_York"),
        ({"cutoff": "4pm"}, "cutoff must be a time of day from 00:00 to 24:00, got '4pm'"),
        ({"cutoff": "24:01"}, "cutoff must be a time of day"),
        ({"cutoff": "16"}, "cutoff must be a time of day"),
        ({"scorer": "vadr"}, "scorer must be one of vader, transformers, got 'vadr'; did you mean vader"),
        ({"model": "folder"}, "model must only be given for the scorer transformers"),
        ({"columns": "text"}, "columns must be like"),
        ({"columns": "txt=body"}, "columns must map .*did you mean text"),
        ({"columns": "text=body,text=body"}, "columns must name text once"),
        ({"columns": "text=a,symbol=a"}, "columns must map each column of the file once"),
        ({"columns": "date=a,timestamp=b"}, "columns must map date or timestamp, got both"),
        ({"columns": "text=body"}, "must have a column body"),
        ({"out": "table.txt"}, "out must be a file named .csv or .parquet, got 'table.txt'"),
        ({"out": "no/such/folder/table.csv"}, "out must be a file in a folder that can be written"),
        ({"out": "posts.csv"}, "out must not be the file of posts itself"),
        ({"path": "post.csv"}, "no such file .*did you mean posts.csv"),
        ({"path": "."}, "is not a regular file"),
        ({"path": "https://example.invalid/posts.csv"}, "must be a file, got an address"),
    ],
)
def test_an_argument_that_is_wrong_is_refused_in_one_line(
    tmp_path: Path, monkeypatch, options: dict[str, Any], message: str
):
    monkeypatch.chdir(tmp_path)
    Path("posts.csv").write_text(HEADER + "\n" + ROW)
    arguments = {"path": Path("posts.csv"), "out": Path("table.csv")} | options
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        score(**{name: Path(value) if name == "out" else value for name, value in arguments.items()})
    one_line(caught)
    assert [path.name for path in tmp_path.iterdir()] == ["posts.csv"]


def test_columns_of_ones_own_names_and_without_a_count(tmp_path: Path):
    path = tmp_path / "posts.csv"
    path.write_text(
        "id,created_at,ticker,body,favourites,comments\n1,2022-01-03T10:00Z,A,good,5,2\n2,2022-01-03T10:00Z,A,bad,5,\n"
    )
    names = "timestamp=created_at,symbol=ticker,text=body,likes=favourites"
    result = score(path, tmp_path / "table.csv", columns=names)
    assert read_table(tmp_path / "table.csv") == [["2022-01-03", "A", "2", "2", "10", "0", "0.474525"]]
    told = {loss.reason: loss.count for loss in result.losses}
    assert told == {"comments is empty: 0 was added": 1, "impressions has no column: it is 0 throughout": 2}


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch):
    path = write_rows(tmp_path / "posts.csv", random_rows(50))
    (tmp_path / "table.csv").write_text("the old one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match=r"table\.csv: cannot be written: No space left") as caught:
        score(path, tmp_path / "table.csv")
    one_line(caught)
    assert (tmp_path / "table.csv").read_text() == "the old one"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["posts.csv", "table.csv"]


# ---- what the table is for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_scored_table_is_loaded_and_studied(tmp_path: Path, form: str):
    rows = [
        [f"2022-{month:02d}-{day:02d}T12:00:00Z", symbol, text, "300", "40", "9000"]
        for month in (1, 2, 3)
        for day in (4, 12, 20, 27)
        for symbol, text in (("AAA", "bullish"), ("BBB", "bearish"), ("CCC", "a table"), ("NA", ""))
    ]
    rows.append(["2022-03-28T12:00:00Z", "AAA", "x", "-1", "1", "1"])
    out = tmp_path / f"table.{form}"
    result = score(write_rows(tmp_path / "posts.csv", rows), out)
    prices_frame().to_csv(tmp_path / "closes.csv", index=False)
    market = load_market(out, tmp_path / "closes.csv")
    study = run_study(StudyConfig(signal="twitter_sentiment", top_n=1), market)
    assert {symbol for names in study.selection.values() for symbol in names} == {"AAA"}
    table = read_sentiment(out)
    assert list(table.frame.columns) == list(COLUMNS) and len(table.frame) == result.table_rows == 48
    assert table.frame.loc[table.frame["symbol"] == "NA", "twitterSentiment"].isna().all()
    # A Parquet table brings along what was lost before it was written.
    assert table.losses == (result.losses if form == "parquet" else ())
    assert [loss.kind for loss in result.losses] == ["bad_post", "empty_text"]


def test_csv_and_parquet_tables_hold_the_same_doubles(tmp_path: Path):
    path = write_rows(tmp_path / "posts.csv", random_rows(400, 8))
    for form in ("csv", "parquet"):
        score(path, tmp_path / f"table.{form}")
    one, two = (read_sentiment(tmp_path / f"table.{form}").frame for form in ("csv", "parquet"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
