"""The sentiment table: what is accepted, what is refused and in which words, and that the two ways of reading agree."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import ConfigError, DataError, WorkbenchError
from workbench.market import delimited, sentiment
from workbench.market.columns import Columns
from workbench.market.encoding import check_text
from workbench.market.sentiment import COLUMNS, COUNTS, parse_columns, read_sentiment, within

HEADER = ",".join(COLUMNS)
GOOD = f"{HEADER}\n2023-01-02,AAPL,1,2,3,4,0.5\n2023-01-02,MSFT,5,6,7,8,\n2023-01-03,AAPL,9,10,11,12,-0.25\n"


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(source: Any, columns: dict[str, str] | None = None, kind: type[WorkbenchError] = DataError) -> str:
    """Return the one line with which the table is refused, the folder of the test cut off."""
    with pytest.raises(kind) as error:
        read_sentiment(source, columns)
    text = str(error.value)
    assert len(text.splitlines()) == 1 and text.isprintable(), text
    return text.replace(str(source), "t.csv") if isinstance(source, Path) else text


def rows_of(content: str, number: int = 2) -> str:
    """Return the good table with line `number` replaced."""
    lines = GOOD.split("\n")
    lines[number - 1] = content
    return "\n".join(lines)


def test_a_table_is_sorted_by_date_and_symbol_and_keeps_its_types(tmp_path: Path) -> None:
    lines = GOOD.strip().split("\n")
    table = read_sentiment(write(tmp_path, "\n".join([lines[0], lines[3], lines[2], lines[1]])))
    frame = table.frame
    assert list(frame.columns) == list(COLUMNS)
    assert [str(dtype) for dtype in frame.dtypes] == ["datetime64[us]", "str", *["float64"] * 5]
    assert frame["symbol"].tolist() == ["AAPL", "MSFT", "AAPL"]
    assert table.days.tolist() == [dt.date(2023, 1, 2), dt.date(2023, 1, 2), dt.date(2023, 1, 3)]
    assert (table.days == frame["date"].to_numpy()).all()
    assert table.symbols == ("AAPL", "MSFT")
    assert table.symbol_codes.tolist() == [0, 1, 0] and table.symbol_codes.dtype == np.int32
    assert frame["twitterSentiment"].tolist() == pytest.approx([0.5, np.nan, -0.25], nan_ok=True)
    assert frame["twitterLikes"].tolist() == [3, 7, 11]
    assert table.losses == ()


ACCEPTED = {
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "CRLF": GOOD.replace("\n", "\r\n").encode(),
    "CR": GOOD.replace("\n", "\r").encode(),
    "no line end at the end": GOOD.rstrip().encode(),
    "empty lines": ("\n\n" + GOOD.replace("\n", "\n\n")).encode(),
    "gzip": gzip.compress(GOOD.encode()),
    "gzip of a byte order mark": gzip.compress(b"\xef\xbb\xbf" + GOOD.encode()),
    "quotes": "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in GOOD.split()).encode(),
    "blanks around numbers and dates": GOOD.replace(",1,2,", ", 1,2\t,").replace("2023-01-03", " 2023-01-03 ").encode(),
    "plus signs, leading zeros and exponents": GOOD.replace(",1,2,3,", ",+1,002,0.3e1,").encode(),
    "columns in another order": "\n".join(",".join(line.split(",")[::-1]) for line in GOOD.split()).encode(),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_forms_of_the_same_table_read_the_same(tmp_path: Path, case: str) -> None:
    expected = read_sentiment(write(tmp_path, GOOD))
    table = read_sentiment(write(tmp_path, ACCEPTED[case], "other.csv"))
    pd.testing.assert_frame_equal(table.frame, expected.frame)
    assert table.source.sha256 != expected.source.sha256
    assert table.fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    "symbol", ["NA", "TRUE", "NULL", "None", "nan", "1E5", "007", "", "a", "BRK B", "Ä", "株", "-", "#N/A"]
)
def test_a_symbol_is_kept_exactly_as_written(tmp_path: Path, symbol: str) -> None:
    content = rows_of(f"2023-01-02,{symbol},1,2,3,4,")
    if not symbol:
        assert "line 2, column symbol: must be a symbol, got ''; fill it in" in refusal(write(tmp_path, content))
        return
    assert read_sentiment(write(tmp_path, content)).frame["symbol"][0 if symbol < "MSFT" else 1] == symbol
    frame = read_sentiment(write(tmp_path, content)).frame
    frame.to_parquet(tmp_path / "t.parquet")
    assert symbol in read_sentiment(tmp_path / "t.parquet").symbols


def test_symbols_are_ordered_by_code_point(tmp_path: Path) -> None:
    symbols = ["a", "Z", "é", "AB", "A", "\U0001f600", "\uffee", "0"]
    rows = "".join(f"2023-01-02,{symbol},1,1,1,1,\n" for symbol in symbols)
    assert read_sentiment(write(tmp_path, f"{HEADER}\n{rows}")).symbols == tuple(sorted(symbols))


LINE_2 = "t.csv: line 2, column "
COUNT_RULE = "must be a finite number >= 0, got "
EMPTY_WAY = "; leave it empty where there is no count"
DAY_RULE = "date: must be an ISO day such as 2023-01-31, got "

REFUSED = {
    "negative count": ("2023-01-02,A,1,-2,3,4,", f"{LINE_2}twitterComments: {COUNT_RULE}'-2'{EMPTY_WAY}"),
    "infinite count": ("2023-01-02,A,inf,2,3,4,", f"{LINE_2}twitterPosts: {COUNT_RULE}'inf'{EMPTY_WAY}"),
    "overflowing count": ("2023-01-02,A,1,2,1e400,4,", f"{LINE_2}twitterLikes: {COUNT_RULE}'1e400'{EMPTY_WAY}"),
    "nan as text": ("2023-01-02,A,1,2,3,nan,", f"{LINE_2}twitterImpressions: {COUNT_RULE}'nan'{EMPTY_WAY}"),
    "text for a count": ("2023-01-02,A,1,2,many,4,", f"{LINE_2}twitterLikes: {COUNT_RULE}'many'{EMPTY_WAY}"),
    "a blank for a count": ("2023-01-02,A,1,2, ,4,", f"{LINE_2}twitterLikes: {COUNT_RULE}' '{EMPTY_WAY}"),
    "hexadecimal": ("2023-01-02,A,1,2,0x10,4,", f"{LINE_2}twitterLikes: {COUNT_RULE}'0x10'{EMPTY_WAY}"),
    "digits of another script": (
        "2023-01-02,A,1,2,\u0663,4,",
        f"{LINE_2}twitterLikes: {COUNT_RULE}'\u0663'{EMPTY_WAY}",
    ),
    "thousands": (
        '2023-01-02,A,1,2,"1,000",4,',
        f"{LINE_2}twitterLikes: {COUNT_RULE[:-6]} without separators, got '1,000'",
    ),
    "thousands with _": ("2023-01-02,A,1,2,1_000,4,", "must be a finite number >= 0 without separators, got '1_000'"),
    "decimal comma": (
        '2023-01-02,A,1,2,3,4,"0,5"',
        f"{LINE_2}twitterSentiment: must be a finite number without separators",
    ),
    "text for a sentiment": (
        "2023-01-02,A,1,2,3,4,good",
        f"{LINE_2}twitterSentiment: must be a finite number, got 'good'",
    ),
    "NA for a sentiment": (
        "2023-01-02,A,1,2,3,4,NA",
        "must be a finite number, got 'NA'; leave it empty where there is no value",
    ),
    "infinite sentiment": (
        "2023-01-02,A,1,2,3,4,-inf",
        f"{LINE_2}twitterSentiment: must be a finite number, got '-inf'",
    ),
    "no date": (",A,1,2,3,4,", f"{LINE_2}{DAY_RULE}''; fill it in or delete the row"),
    "no such day": ("2023-02-30,A,1,2,3,4,", f"{LINE_2}date: must be a day of the calendar, got '2023-02-30'"),
    "compact date": ("20230102,A,1,2,3,4,", f"{LINE_2}{DAY_RULE}'20230102'; write it as YYYY-MM-DD"),
    "short date": ("2023-1-2,A,1,2,3,4,", f"{LINE_2}{DAY_RULE}'2023-1-2'"),
    "American date": ("01/02/2023,A,1,2,3,4,", f"{LINE_2}{DAY_RULE}'01/02/2023'"),
    "date with a time": (
        "2023-01-02 00:00:00,A,1,2,3,4,",
        f"{LINE_2}date: must be a day without a time, got '2023-01-02 00",
    ),
    "date with T": (
        "2023-01-02T09:30:00Z,A,1,2,3,4,",
        f"{LINE_2}date: must be a day without a time, got '2023-01-02T09",
    ),
    "year out of range": (
        "0203-01-02,A,1,2,3,4,",
        f"{LINE_2}date: must be a day in the years 1800 to 2200, got '0203-01-02'",
    ),
    "year of five digits": ("12023-01-02,A,1,2,3,4,", f"{LINE_2}{DAY_RULE}'12023-01-02'"),
    "year zero": ("0000-01-02,A,1,2,3,4,", f"{LINE_2}date: must be a day of the calendar, got '0000-01-02'"),
    "blank before a symbol": (
        "2023-01-02, A,1,2,3,4,",
        "symbol: must have no blanks before or after the symbol, got ' A'",
    ),
    "no-break space after": (
        "2023-01-02,A\u00a0,1,2,3,4,",
        r"must have no blanks before or after the symbol, got 'A\xa0'",
    ),
    "newline in a symbol": ('2023-01-02,"A\nB",1,2,3,4,', r"symbol: must be printable text on one line, got 'A\nB'"),
    "too few fields": ("2023-01-02,A,1,2,3,4", "t.csv: line 2: must have 7 fields like the header, got 6"),
    "too many fields": (
        "2023-01-02,A,1,2,3,4,,",
        "t.csv: line 2: must have 7 fields like the header, got 8; put a field",
    ),
    "unquoted thousands": (
        "2023-01-02,A,1,000,2,3,4,",
        "must have 7 fields like the header, got 8; put a field that holds",
    ),
    "open quote": ('2023-01-02,"A,1,2,3,4,', "t.csv: line 2: must be a record that closes every quote"),
    "text after a quote": ('2023-01-02,"A"B,1,2,3,4,', "t.csv: line 2: must be a record that is well-formed CSV"),
    "NUL": ("2023-01-02,A\0,1,2,3,4,", "t.csv: line 2: must be text, got a NUL byte"),
    "the header again": (HEADER, f"{LINE_2}{DAY_RULE}'date'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_cell_is_named_by_line_column_rule_and_value(tmp_path: Path, case: str) -> None:
    line, words = REFUSED[case]
    message = refusal(write(tmp_path, rows_of(line)))
    assert message.startswith("t.csv: line 2")
    assert words in message
    assert ";" in message, "every message ends with the way out"


WHOLE_FILES = {
    "empty": (b"", "t.csv: is empty"),
    "only line ends": (b"\r\n\n  \n", "t.csv: is empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", "t.csv: is empty"),
    "header only": (HEADER.encode(), "t.csv: has a header but no rows"),
    "header and line end": (HEADER.encode() + b"\n", "t.csv: has a header but no rows"),
    "UTF-16 with mark": (GOOD.encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
    "UTF-16 big-endian with mark": (b"\xfe\xff" + GOOD.encode("utf-16-be"), "is UTF-16 text; save it as UTF-8"),
    "UTF-16 without mark": (GOOD.encode("utf-16-le"), "is UTF-16 text or binary"),
    "latin-1": (GOOD.replace("MSFT", "Ä").encode("latin-1"), "line 3: must be UTF-8 text, got the byte 0xc4"),
    "binary": (bytes(range(256)) * 4, "t.csv: line "),
    "zip": (b"PK\x03\x04" + b"x" * 100, "is a zip or Excel file"),
    "xz": (b"\xfd7zXZ\0" + b"x" * 100, "is compressed with xz"),
    "HTML": (b"<!DOCTYPE html><html>", "is HTML or XML"),
    "semicolons": (GOOD.replace(",", ";").encode(), "must be separated by commas, got semicolons; save it with commas"),
    "tabs": (GOOD.replace(",", "\t").encode(), "must be separated by commas, got tabs"),
    "truncated gzip": (gzip.compress(GOOD.encode())[:-9], "is truncated gzip"),
    "truncated Parquet": (b"PAR1" + b"x" * 100, "is not readable Parquet"),
    "duplicate row": (
        (GOOD + "2023-01-02,MSFT,1,1,1,1,\n").encode(),
        "lines 3 and 5: (date, symbol) must occur once, got (2023-01-02, MSFT)",
    ),
    "duplicate of a row without counts": ((GOOD + "2023-01-02,MSFT,,,,,\n").encode(), "lines 3 and 5: (date, symbol)"),
    "duplicate header": (
        GOOD.replace("twitterPosts", "twitterLikes").encode(),
        "line 1, column twitterLikes: must occur once, got it as columns 3, 5",
    ),
    "missing column": (
        GOOD.replace("twitterLikes", "Likes").encode(),
        "t.csv: line 1: must have a column twitterLikes, got date, symbol",
    ),
    "all counts empty": (
        f"{HEADER}\n2023-01-02,A,,1,1,1,\n".encode(),
        "must have a row with all of its counts, got none",
    ),
    "quoted field over lines before": (
        f'{HEADER},note\n2023-01-02,A,1,1,1,1,,"one\ntwo\r\nthree"\n\n2023-01-02,B,1,1,-1,1,,x\n'.encode(),
        "line 6, column twitterLikes: must be",
    ),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    content, words = WHOLE_FILES[case]
    assert words in refusal(write(tmp_path, content))


def test_a_missing_column_suggests_the_nearest_and_the_mapping(tmp_path: Path) -> None:
    for own in ("Likes", "likes", "twitterlikes", " twitterLikes", "twitterLike"):
        message = refusal(write(tmp_path, GOOD.replace("twitterLikes", own)))
        assert f"did you mean '{own}'?" in message or f"did you mean {own}?" in message
        assert "--columns likes=" in message


def test_named_parquet_or_gz_but_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is named like Parquet but is not"):
        read_sentiment(write(tmp_path, GOOD, "t.parquet"))
    with pytest.raises(DataError, match=r"is named \.gz but is not gzip"):
        read_sentiment(write(tmp_path, GOOD, "t.csv.gz"))


def test_rows_with_an_empty_count_are_dropped_and_each_is_counted_once(tmp_path: Path) -> None:
    rows = [
        "2023-01-05,GONE,,1,1,1,0.5",
        "2023-01-06,B,1,1,1,,0.5",
        "2023-01-07,B,,1,1,,0.5",
        "2023-01-08,B,0,0,0,0,",
        '2023-01-09,B,1,"",1,1,',
    ]
    table = read_sentiment(write(tmp_path, "\n".join([HEADER, *rows])))
    assert table.symbols == ("B",) and table.symbol_codes.tolist() == [0]
    assert table.frame["date"].dt.strftime("%d").tolist() == ["08"]
    found = [(loss.kind, loss.count, loss.first, loss.last, loss.reason.split()[0]) for loss in table.losses]
    assert found == [
        ("empty_count", 2, "2023-01-05", "2023-01-07", "twitterPosts"),
        ("empty_count", 1, "2023-01-09", "2023-01-09", "twitterComments"),
        ("empty_count", 1, "2023-01-06", "2023-01-06", "twitterImpressions"),
    ]


def test_extra_columns_are_kept_as_numbers_where_all_of_them_are_and_else_as_text(tmp_path: Path) -> None:
    header = f"{HEADER},score,sector,mixed,none\n"
    table = read_sentiment(
        write(tmp_path, header + '2023-01-03,A,1,1,1,1,,2,NA,1,\n2023-01-02,A,1,1,1,1,, 1e1,"a,\nb",nan,\n')
    )
    assert table.frame["score"].tolist() == [10.0, 2.0]
    assert table.frame["sector"].tolist() == ["a,\nb", "NA"]
    assert table.frame["mixed"].tolist() == ["nan", "1"]
    assert table.frame["none"].isna().all() and table.frame["none"].dtype == np.float64


class TestMapping:
    def test_own_names_short_or_full_become_methods_names(self, tmp_path: Path) -> None:
        content = GOOD.replace("twitterLikes", "favourites").replace("symbol", "ticker").replace("date", "day")
        for mapping in (
            {"likes": "favourites", "symbol": "ticker", "date": "day"},
            {"twitterLikes": "favourites", "symbol": "ticker", "date": "day"},
        ):
            table = read_sentiment(write(tmp_path, content), mapping)
            assert list(table.frame.columns) == list(COLUMNS)
            assert table.frame["twitterLikes"].tolist() == [3, 7, 11]

    def test_with_a_mapping_what_the_filters_do_not_need_may_be_absent(self, tmp_path: Path) -> None:
        content = "date,symbol,comments,likes\n2023-01-02,A,1,2\n"
        assert "must have a column twitterPosts" in refusal(write(tmp_path, content))
        table = read_sentiment(write(tmp_path, content), {"likes": "likes", "comments": "comments"})
        assert list(table.frame.columns) == ["date", "symbol", "twitterComments", "twitterLikes"]
        assert "must have a column twitterComments" in refusal(write(tmp_path, content), {"likes": "likes"})

    def test_a_mapped_column_that_is_absent_is_an_error(self, tmp_path: Path) -> None:
        message = refusal(write(tmp_path, GOOD), {"posts": "tweets"})
        assert "must have a column tweets" in message and "--columns posts=" in message

    def test_an_unmapped_column_of_the_same_name_is_an_error(self, tmp_path: Path) -> None:
        content = GOOD.replace("twitterPosts", "favourites")
        assert "must not have a column twitterLikes" in refusal(write(tmp_path, content), {"likes": "favourites"})

    def test_two_columns_can_be_swapped(self, tmp_path: Path) -> None:
        table = read_sentiment(write(tmp_path, GOOD), {"likes": "twitterComments", "comments": "twitterLikes"})
        assert table.frame["twitterComments"].tolist() == [3, 7, 11]
        assert table.frame["twitterLikes"].tolist() == [2, 6, 10]

    def test_errors_name_the_files_own_column(self, tmp_path: Path) -> None:
        content = rows_of("2023-01-02,A,1,2,x,4,").replace("twitterLikes", "favourites")
        assert "line 2, column favourites" in refusal(write(tmp_path, content), {"likes": "favourites"})

    @pytest.mark.parametrize(
        ("mapping", "words"),
        [
            ({"likez": "x"}, "did you mean likes?"),
            ({"likes": "x", "twitterLikes": "y"}, "must map twitterLikes once"),
            ({"likes": "x", "comments": "x"}, "each column of the file once, got 'x' twice"),
        ],
    )
    def test_a_wrong_mapping_is_a_config_error(self, tmp_path: Path, mapping: dict[str, str], words: str) -> None:
        assert words in refusal(write(tmp_path, GOOD), mapping, ConfigError)

    def test_the_command_lines_text_is_parsed(self) -> None:
        assert parse_columns("likes=favourites, symbol=my ticker") == {"likes": "favourites", "symbol": "my ticker"}
        for text in ("likes", "likes=", "=x", "", "likes=a,likes=b", "lkies=x", "likes=a,"):
            with pytest.raises(ConfigError) as error:
                parse_columns(text)
            assert len(str(error.value).splitlines()) == 1


def frame_of(rows: int = 3, **columns: Any) -> pd.DataFrame:
    days = [f"2023-01-{day + 2:02d}" for day in range(rows)]
    base: dict[str, Any] = {"date": pd.to_datetime(days), "symbol": ["AAPL"] * rows}
    base |= {name: np.arange(1.0, rows + 1) for name in COLUMNS[2:]}
    return pd.DataFrame(base | columns)


class TestTypedTables:
    @pytest.mark.parametrize(
        "dates",
        [
            ["2023-01-02", "2023-01-03", "2023-01-04"],
            [dt.date(2023, 1, 2), dt.date(2023, 1, 3), dt.date(2023, 1, 4)],
            [dt.datetime(2023, 1, 2), pd.Timestamp("2023-01-03"), "2023-01-04"],
            pd.date_range("2023-01-02", periods=3).as_unit("ns"),
            pd.date_range("2023-01-02", periods=3).as_unit("s"),
            pd.Categorical(["2023-01-02", "2023-01-03", "2023-01-04"]),
            pd.array([dt.date(2023, 1, day) for day in (2, 3, 4)], dtype=pd.ArrowDtype(pa.date32())),
        ],
    )
    def test_days_of_any_type_are_days(self, dates: Any) -> None:
        table = read_sentiment(frame_of(date=dates))
        assert [str(day) for day in table.days] == ["2023-01-02", "2023-01-03", "2023-01-04"]

    @pytest.mark.parametrize(
        ("column", "values", "words"),
        [
            (
                "date",
                pd.to_datetime(["2023-01-02", "2023-01-03 09:30", "2023-01-04"], format="ISO8601"),
                "row 2, column date: must be a day without a time",
            ),
            ("date", pd.to_datetime(["2023-01-02", None, "2023-01-04"]), "row 2, column date: must be an ISO day"),
            (
                "date",
                pd.date_range("2023-01-02", periods=3, tz="UTC"),
                "row 1, column date: must be a day without a time zone",
            ),
            (
                "date",
                [dt.date(2023, 1, 2), dt.datetime(2023, 1, 3, tzinfo=dt.UTC), None],
                "row 2, column date: must be a day without a time zone",
            ),
            (
                "date",
                [dt.date(2023, 1, 2), dt.datetime(2023, 1, 3, 5), None],
                "row 2, column date: must be a day without a time,",
            ),
            (
                "date",
                np.array(["1700-01-02", "2023-01-03", "2023-01-04"], dtype="datetime64[us]"),
                "row 1, column date: must be a day in the years",
            ),
            ("date", [20230102, 20230103, 20230104], "row 1, column date: must be a date, got 20230102"),
            ("date", ["2023-01-02", "2023-01-03 00:00:00", ""], "row 2, column date: must be a day without a time"),
            ("symbol", ["A", None, "B"], "row 2, column symbol: must be a symbol"),
            ("symbol", ["A", "", "B"], "row 2, column symbol: must be a symbol"),
            ("symbol", ["A", " B", "B"], "row 2, column symbol: must have no blanks"),
            ("symbol", ["A", True, "B"], "row 2, column symbol: must be text, got True"),
            ("symbol", [1, 2, 3], "row 1, column symbol: must be text, got 1"),
            ("symbol", pd.Series(["A", "B\ud800", "B"], dtype=object), "row 2, column symbol: must be printable"),
            ("twitterLikes", [1, 2, -3], "row 3, column twitterLikes: must be a finite number >= 0, got -3.0"),
            ("twitterLikes", [1, np.inf, 3], "row 2, column twitterLikes: must be a finite number >= 0, got inf"),
            ("twitterLikes", ["1", "2", "3"], "row 1, column twitterLikes: must be a finite number >= 0, got '1'"),
            ("twitterLikes", [True, False, True], "row 1, column twitterLikes: must be a finite number >= 0, got True"),
            ("twitterLikes", [1, 10**400, 3], "row 2, column twitterLikes: must be a finite number >= 0, got inf"),
            ("twitterLikes", [1 + 0j, 1, 1], "row 1, column twitterLikes: must be a finite number"),
            (
                "twitterSentiment",
                [0.1, -np.inf, 1],
                "row 2, column twitterSentiment: must be a finite number, got -inf",
            ),
            (
                "twitterSentiment",
                pd.to_datetime(["2023-01-02"] * 3),
                "row 1, column twitterSentiment: must be a finite number",
            ),
        ],
    )
    def test_a_wrong_value_is_named_by_row_and_column(self, column: str, values: Any, words: str) -> None:
        message = refusal(frame_of(**{column: values}))
        assert message.startswith("DataFrame: ") and words in message

    def test_numbers_of_any_type_are_numbers_and_a_missing_one_is_an_empty_cell(self) -> None:
        kinds: list[Any] = [
            pd.array([1, None, 3], dtype="Int64"),
            pd.array([1, None, 3], dtype="Float64"),
            pd.array([1, None, 3], dtype=pd.ArrowDtype(pa.int32())),
            [decimal.Decimal(1), None, decimal.Decimal(3)],
            pd.Series([1, pd.NA, 3.0], dtype=object),
            np.array([1, np.nan, 3], dtype=np.float32),
        ]
        for values in kinds:
            table = read_sentiment(frame_of(twitterLikes=values))
            assert table.frame["twitterLikes"].tolist() == [1.0, 3.0]
            assert [(loss.kind, loss.count, loss.first) for loss in table.losses] == [("empty_count", 1, "2023-01-03")]

    def test_an_index_with_a_name_or_of_dates_is_a_column(self) -> None:
        frame = frame_of()
        expected = read_sentiment(frame).frame
        indexed = [
            frame.set_index(["date", "symbol"]),
            frame.set_index("date"),
            frame.set_index("date").rename_axis(None),
        ]
        for other in indexed:
            pd.testing.assert_frame_equal(read_sentiment(other).frame, expected)
        assert list(read_sentiment(frame[frame["twitterLikes"] > 1]).frame.columns) == list(COLUMNS)
        assert "as a column and in the index" in refusal(frame.set_index("date", drop=False))

    def test_frames_that_are_no_tables_are_refused(self) -> None:
        frame = frame_of()
        assert "must have a column twitterLikes" in refusal(frame.drop(columns="twitterLikes"))
        assert "has no rows" in refusal(frame.iloc[:0])
        assert "column names must be text" in refusal(frame.rename(columns={"twitterLikes": 5}))
        assert "must occur once" in refusal(frame.rename(columns={"twitterLikes": "twitterPosts"}))
        assert "one level of column names" in refusal(pd.concat({"a": frame}, axis=1))
        assert "rows 1 and 4: (date, symbol) must occur once" in refusal(pd.concat([frame, frame.iloc[[0]]]))
        refusal(pd.DataFrame())

    def test_a_frame_is_not_changed_and_its_hash_names_its_content(self) -> None:
        frame = frame_of(note=["a", None, [1]])
        copy = frame.copy(deep=True)
        source = read_sentiment(frame).source
        pd.testing.assert_frame_equal(frame, copy)
        assert source.path == "memory" and source == read_sentiment(copy).source
        for column, value in (
            ("twitterLikes", 99.0),
            ("symbol", "B"),
            ("note", "c"),
            ("date", pd.Timestamp("2023-02-01")),
        ):
            other = frame.copy()
            other.loc[0, column] = value
            assert read_sentiment(other).source.sha256 != source.sha256, column

    def test_parquet_says_row_and_column_and_reads_any_index(self, tmp_path: Path) -> None:
        path = tmp_path / "t.parquet"
        frame_of(twitterLikes=[1, -2, 3]).to_parquet(path)
        assert "row 2, column twitterLikes: must be a finite number >= 0, got -2.0" in refusal(path)
        expected = read_sentiment(frame_of()).frame
        for frame in (frame_of(), frame_of().set_index("date"), frame_of().set_index("date").rename_axis(None)):
            frame.to_parquet(path)
            pd.testing.assert_frame_equal(read_sentiment(path).frame, expected)
        frame_of().set_index(pd.Index([5, 6, 7])).to_parquet(path)
        pd.testing.assert_frame_equal(read_sentiment(path).frame, expected)


class TestBounds:
    def table(self, tmp_path: Path) -> Any:
        days = ["2023-01-02", "2023-01-02", "2023-01-05", "2023-02-01"]
        rows = [f"{day},{symbol},1,1,1,1," for day, symbol in zip(days, ["A", "D", "B", "C"], strict=True)]
        return read_sentiment(write(tmp_path, "\n".join([HEADER, *rows, "2023-01-05,A,,1,1,1,"])))

    def test_both_bounds_are_inclusive_and_what_lies_outside_is_counted(self, tmp_path: Path) -> None:
        table = self.table(tmp_path)
        cut = within(table, "2023-01-03", dt.date(2023, 1, 5))
        assert cut.symbols == ("B",) and cut.symbol_codes.tolist() == [0] and cut.frame["symbol"].tolist() == ["B"]
        assert cut.frame.index.tolist() == [0] and [str(day) for day in cut.days] == ["2023-01-05"]
        assert cut.source == table.source
        found = [(loss.kind, loss.count, loss.first, loss.last) for loss in cut.losses]
        assert found == [
            ("empty_count", 1, "2023-01-05", "2023-01-05"),
            ("outside_bounds", 2, "2023-01-02", "2023-01-02"),
            ("outside_bounds", 1, "2023-02-01", "2023-02-01"),
        ]
        assert within(table, "2023-01-02", "2023-02-01") is table
        assert within(table, None, None) is table
        assert len(within(table, pd.Timestamp("2023-01-05"), None).frame) == 2

    @pytest.mark.parametrize(
        ("start", "end", "words"),
        [
            ("2023-02-01", "2023-01-01", "start must not lie after end"),
            ("yesterday", None, "start must be an ISO day"),
            (None, "2023-02-30", "end must be a day of the calendar"),
            (None, "2023-02-01 10:00", "end must be a day without a time"),
            (pd.Timestamp("2023-01-05 10:00"), None, "start must be a day without a time"),
            ("", None, "start must be an ISO day"),
        ],
    )
    def test_wrong_bounds_are_config_errors(self, tmp_path: Path, start: Any, end: Any, words: str) -> None:
        with pytest.raises(ConfigError, match=words) as error:
            within(self.table(tmp_path), start, end)
        assert len(str(error.value).splitlines()) == 1

    @pytest.mark.parametrize(
        ("start", "end"), [("2023-02-02", None), (None, "2023-01-01"), ("2023-01-03", "2023-01-04")]
    )
    def test_bounds_that_leave_nothing_name_the_tables_range(self, tmp_path: Path, start: Any, end: Any) -> None:
        with pytest.raises(DataError, match="its dates run from 2023-01-02 to 2023-02-01"):
            within(self.table(tmp_path), start, end)


def layout(name: str, header: Any) -> Any:
    return sentiment._layout({})(name, header)


def same(one: Columns, two: Columns) -> None:
    assert one.symbols == two.symbols and one.codes.tolist() == two.codes.tolist()
    assert one.days.tolist() == two.days.tolist() and one.codes.dtype == two.codes.dtype
    for mine, yours in ((one.numbers, two.numbers), (one.extras, two.extras)):
        assert list(mine) == list(yours)
        for column in mine:
            pd.testing.assert_series_equal(pd.Series(mine[column]), pd.Series(yours[column]), check_exact=True)


def both_ways(content: bytes) -> tuple[Columns | None, Columns | str]:
    """Return what the fast and the slow path make of a file; the slow one's complaint where it refuses."""
    try:
        body = check_text("t", content)
        _, header = delimited._header("t", body)
        delimited.check_header("t", header)
        kinds = layout("t", header)
    except DataError as error:
        return None, str(error)
    fast = delimited._fast(body, kinds)
    try:
        return fast, delimited._slow("t", body, kinds)
    except DataError as error:
        return fast, str(error)


TOKENS = st.sampled_from(
    [
        *("", " ", "5", "+5", "-5", "5.", ".5", "5e2", "5E-2", "1e400", "nan", "NaN", "-nan", "inf", "0x1"),
        *("1_0", "1,0", '"', '""', "\t5 ", "true", "NA", "null", "2023-01-02", "2023-02-30", "0001-01-01"),
        *(" 2023-01-05", "2023-1-2", "\n", "\r", "\r\n", ",", "x", "\xe9", "1e-400", "9007199254740993", "0.1"),
        *("1e", "e5", "--1", "\xa05", "\ufeff", "\u2028", "\x0b", "\x85", "nan(1)", "'5'", "5f"),
    ]
)
CELL = st.one_of(TOKENS, st.lists(TOKENS, max_size=3).map("".join), st.floats().map(repr), st.text(max_size=4))


def quoted(cell: str, how: int) -> str:
    return [cell, '"' + cell.replace('"', '""') + '"', '"' + cell + '"'][how]


@given(
    st.lists(st.lists(st.tuples(CELL, st.integers(0, 2)), min_size=1, max_size=3), min_size=1, max_size=3), st.data()
)
def test_what_the_fast_path_accepts_the_slow_path_accepts_with_the_same_values(rows: Any, data: Any) -> None:
    lines = [f"{HEADER},extra"]
    for number, cells in enumerate(rows):
        line = [f"2023-01-{number + 1:02d}", "AB"[number % 2], "1", "2", "3", "4", "0.5", "x"]
        for cell, how in cells:
            line[data.draw(st.integers(0, 7))] = quoted(cell, how)
        lines.append(",".join(line))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
    fast, slow = both_ways((end.join(lines) + data.draw(st.sampled_from(["", end, '"']))).encode("utf-8", "replace"))
    if fast is not None:
        assert isinstance(slow, Columns), slow
        same(fast, slow)
    elif isinstance(slow, str):
        assert slow.isprintable()


@given(st.text(st.sampled_from('A1,"\n\r -.'), max_size=30))
def test_the_two_paths_agree_on_any_arrangement_of_quotes_commas_and_line_ends(text: str) -> None:
    fast, slow = both_ways(f"{HEADER},note\n2023-01-02,A,1,2,3,4,0.5,{text}\n2023-01-03,B,1,2,3,4,,\n".encode())
    if fast is not None:
        assert isinstance(slow, Columns), slow
        same(fast, slow)


def test_clean_files_take_the_fast_path() -> None:
    for case in ("byte order mark", "CRLF", "CR", "empty lines", "quotes", "blanks around numbers and dates"):
        fast, slow = both_ways(ACCEPTED[case])
        assert fast is not None and isinstance(slow, Columns), case
        same(fast, slow)


SYMBOL = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)
COUNT = st.one_of(st.none(), st.floats(0, 1e18), st.integers(0, 2**60).map(float))
ROW = st.tuples(
    st.dates(dt.date(1800, 1, 1), dt.date(2200, 12, 31)),
    SYMBOL,
    *[COUNT] * 4,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


@given(
    st.lists(ROW, min_size=1, max_size=12, unique_by=lambda row: row[:2]),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), min_size=12, max_size=12
    ),
    st.sampled_from(["csv", "csv.gz", "parquet", "frame"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_any_valid_table_reads_back_equal_in_every_form(
    tmp_path_factory: Any, rows: Any, notes: list[str], form: str, quoting: int
) -> None:
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame = frame.astype(dict.fromkeys(COLUMNS[2:], "float64"))
    frame["note"] = [f"n{note}" for note in notes[: len(rows)]]
    path = tmp_path_factory.getbasetemp() / f"round.{form}"
    source: Any = path
    if form.startswith("csv"):
        text = io.StringIO(newline="")
        writer = csv.writer(text, quoting=quoting)  # type: ignore[arg-type]
        writer.writerow(frame.columns)
        writer.writerows(["" if cell != cell else cell for cell in row] for row in frame.itertuples(index=False))
        content = text.getvalue().encode()
        path.write_bytes(gzip.compress(content) if form == "csv.gz" else content)
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        source = frame
    expected = frame.dropna(subset=list(COUNTS)).sort_values(["date", "symbol"], key=lambda column: column.map(ordinal))
    if expected.empty:
        assert "must have a row with all of its counts" in refusal(source)
        return
    table = read_sentiment(source)
    for column in frame.columns:
        ours, theirs = table.frame[column].tolist(), expected[column].tolist()
        if column == "date":
            ours = [stamp.date() for stamp in ours]
        assert [cell if cell == cell else None for cell in ours] == [cell if cell == cell else None for cell in theirs]
    assert [table.symbols[code] for code in table.symbol_codes] == expected["symbol"].tolist()
    assert sum(loss.count for loss in table.losses) == len(frame) - len(expected)


def ordinal(cell: object) -> Any:
    return cell.toordinal() if isinstance(cell, dt.date) else cell


def test_the_real_table_is_what_its_readme_says(real_data: Path) -> None:
    table = read_sentiment(real_data / "sentiment_data.csv")
    frame = table.frame
    assert table.source.sha256.startswith("73a9c7ce")
    assert (len(frame), len(table.symbols)) == (27_235, 85)
    assert (str(table.days[0]), str(table.days[-1])) == ("2021-11-18", "2023-01-04")
    assert frame["twitterSentiment"].isna().sum() == 4_240
    assert ((frame["twitterLikes"] == 0) & (frame["twitterComments"] > 0)).sum() == 21
    assert table.losses == ()


def test_the_real_table_reads_the_same_both_ways(real_data: Path) -> None:
    fast, slow = both_ways((real_data / "sentiment_data.csv").read_bytes())
    assert fast is not None and isinstance(slow, Columns)
    same(fast, slow)
