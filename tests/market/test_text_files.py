"""Any bytes at all: read like the csv module reads them where they are well-formed, scored or counted where they are not."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from posts import HEADER, InLine, random_rows, read_table, score, write_rows

from workbench.errors import DataError
from workbench.market import text_records, text_source
from workbench.market.sentiment import read_sentiment
from workbench.market.text_records import cells_of, read_records

CELLS = st.text(st.sampled_from(list('ab ,"\n\r\té🚀\0')), max_size=8)
PIECES = st.lists(
    st.sampled_from([b"a", b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\xff", b'x"y', b'"q"']), max_size=60
)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=5), max_size=20),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_well_formed_records_are_those_of_the_csv_module(rows: list[list[str]], end: str, ended: bool, size: int):
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end).writerows(rows)
    text = file.getvalue() if ended else file.getvalue().removesuffix(end)
    reader = csv.reader(io.StringIO(text, newline=""))
    expected, line = [], 1
    for cells in reader:
        if cells:
            expected.append((line, cells))
        line = reader.line_num + 1
    found = [(line, cells_of((record or b"").decode())) for line, record in read_records(cut(text.encode(), size))]
    assert found == expected


@given(PIECES, st.integers(1, 9), st.sampled_from([1, 7, 40, 1 << 20]))
def test_any_bytes_give_the_same_records_in_blocks_of_any_size(pieces: list[bytes], size: int, longest: int):
    data = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_records, "MAX_RECORD", longest)
        whole = list(read_records([data]))
        assert list(read_records(cut(data, size))) == whole
    ends = text_records._LINE_END.findall(data + b"\n")
    assert all(1 <= line <= len(ends) for line, _ in whole)
    assert [line for line, _ in whole] == sorted({line for line, _ in whole})
    # Nothing is lost: what is not in a record is a line end, or belongs to a line that was too long.
    if not any(record is None for _, record in whole):
        assert sum(len(record or b"") for _, record in whole) >= len(data) - sum(map(len, ends))


def test_a_quote_that_is_never_closed_costs_its_line_alone(tmp_path: Path):
    rows = [",".join(row) for row in ([f"2022-01-03T10:00:0{n}Z", "A", "good", "1", "1", "1"] for n in range(9))]
    rows[2] = '2022-01-03T10:00:00Z,A,"good,1,1,1'
    (tmp_path / "posts.csv").write_text("\n".join([HEADER, *rows]))
    result = score(tmp_path / "posts.csv", tmp_path / "table.csv")
    assert (result.rows, result.posts) == (9, 8)
    assert [(bad.first_line, bad.count) for bad in result.bad] == [(4, 1)]
    assert result.bad[0].reason == "a quoted field must be wholly inside of double quotes"


def test_a_record_longer_than_any_post_costs_its_lines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_records, "MAX_RECORD", 5000)
    monkeypatch.setattr(text_source, "BLOCK_BYTES", 700)
    good = "2022-01-03T10:00:00Z,A,good,1,1,1\n"
    long = good.replace("good", "x" * 4900)
    body = [good, long, good.replace("good", "x" * 5000), good, good.replace("good", '"' + "y\n" * 3000 + '"'), good]
    (tmp_path / "posts.csv").write_text(HEADER + "\n" + "".join(body))
    result = score(tmp_path / "posts.csv", tmp_path / "table.csv")
    # The last of the 3,001 lines of the quoted text begins with its closing quote, which opens one that is never closed.
    assert result.posts == 4
    assert [(bad.count, bad.first_line) for bad in result.bad] == [(1, 4), (2, 6), (2999, 7)]
    assert [bad.reason.split(" ", 2)[1] for bad in result.bad] == ["row", "quoted", "row"]


def test_a_stray_quote_in_a_large_file_is_found_in_bounded_time(tmp_path: Path):
    # Each of the lines opens a quote that the next one closes, and the last one is never closed.
    row = '2022-01-03T10:00:00Z,A,"good,1,1,1\n'
    (tmp_path / "posts.csv").write_text(HEADER + "\n2022-01-03T10:00:00Z,A,good,1,1,1\n" + row * 60_001)
    result = score(tmp_path / "posts.csv", tmp_path / "table.csv")
    assert (result.rows, result.posts) == (30_002, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path, end: str, mark: bytes):
    rows = [[cell.replace("\n", " ") for cell in row] for row in random_rows(60, 4)]
    path = write_rows(tmp_path / "posts.csv", rows)
    score(path, tmp_path / "table.csv")
    expected = read_table(tmp_path / "table.csv")
    path.write_bytes(mark + b"\n\n" * bool(mark) + path.read_bytes().replace(b"\n", end.encode()))
    score(path, tmp_path / "table.csv")
    assert read_table(tmp_path / "table.csv") == expected


TOKENS = [
    *(b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xf0\x9f", b" ", b"-", b";"),
    *(b"nan", b"inf", b"1e400", b"-1", b"1,000", b"2022-02-30T10:00", b"T24:00", b"+99:99", b"9999-12-31T23:59:59Z"),
    *(b"\xe2\x80\xae", b"\xf0\x9f\x9a\x80", b"$AAPL", b"but but but", b'"a\nb"', b"\xe2\x80\xa8", b"\x0b", b"\x1a"),
]  # fmt: skip


def mangle(dice: random.Random, data: bytes) -> bytes:
    """Return the data after one to six mutations."""
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[at + dice.randint(1, 40) :]
            case 2 | 3:
                data = data[:at] + dice.choice(TOKENS) + data[at:]
            case 4:
                data = data[:at]
            case _:
                lines = data.split(b"\n")
                dice.shuffle(lines) if dice.random() < 0.1 else lines.append(dice.choice(lines))
                data = b"\n".join(lines)
    return data


def test_mangled_files_are_scored_and_counted_or_refused_in_one_line(tmp_path: Path):
    base = write_rows(tmp_path / "base.csv", random_rows(12, 3)).read_bytes()
    path, out, outcomes, reasons = tmp_path / "posts.csv", tmp_path / "table.csv", {"scored": 0, "refused": 0}, set()
    for seed in range(500):
        path.write_bytes(mangle(random.Random(seed), base))
        try:
            result = score(path, out, InLine(seed), chunk_bytes=100)
        except DataError as error:
            text = str(error)
            assert text.isprintable() and len(text.splitlines()) == 1 and len(text) < 700, text
            outcomes["refused"] += 1
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}: {path.read_bytes()!r}") from error
        outcomes["scored"] += 1
        reasons |= {bad.reason for bad in result.bad}
        assert result.rows == result.posts + sum(bad.count for bad in result.bad), f"seed {seed}"
        table = read_sentiment(out)
        assert table.losses == () and len(table.frame) == result.table_rows, f"seed {seed}"
        assert table.frame["twitterPosts"].sum() == result.posts == result.scored + result.empty
        assert table.frame["twitterSentiment"].dropna().between(0, 1).all()
    assert min(outcomes.values()) > 40 and len(reasons) > 8, f"the mutations no longer exercise both ends: {outcomes}"


def test_mangled_parquet_is_scored_and_counted_or_refused_in_one_line(tmp_path: Path):
    import pandas as pd

    rows = random_rows(40, 6)
    frame = pd.DataFrame(rows, columns=HEADER.split(","))
    for name in ("likes", "comments", "impressions"):
        frame[name] = pd.to_numeric(frame[name])
    frame.to_parquet(tmp_path / "base.parquet", write_page_checksum=False)
    base = (tmp_path / "base.parquet").read_bytes()
    refused = 0
    for seed in range(200):
        (tmp_path / "posts.parquet").write_bytes(mangle(random.Random(seed), base))
        try:
            result = score(tmp_path / "posts.parquet", tmp_path / "table.csv")
            assert result.rows == result.posts + sum(bad.count for bad in result.bad)
        except DataError as error:
            text = str(error)
            assert text.isprintable() and len(text.splitlines()) == 1 and len(text) < 700, text
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
    assert refused > 100
