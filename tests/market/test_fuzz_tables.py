"""Mangled tables: each is either read, with no value that is not in the file, or refused in one line. Nothing else may happen.

The mutations are seeded, so a failure names a seed that repeats it. Text is judged by an independent, lenient look at the
file: every number and word of the table must stand there. Parquet is judged against the values that were written into it.
"""

from __future__ import annotations

import gzip
import io
import random
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import DataError
from workbench.market.prices import FileSource
from workbench.market.sentiment import COLUMNS, read_sentiment

SENTIMENT = (
    ",".join(COLUMNS)
    + ",note\n"
    + "".join(
        f"2023-01-{day:02d},{symbol},{day},{day * 7}.0,{day * 31},{day * 1009},{'' if day % 3 else -0.25 * day},n{day}\n"
        for day in range(2, 6)
        for symbol in ("AAPL", "NA", "MSFT")
    )
).encode()
PRICES = (
    "date,symbol,close,adj_close\n"
    + "".join(f"2023-01-{day:02d},{symbol},1,{day * 1.5}\n" for day in range(2, 8) for symbol in ("QQQ", "NA"))
).encode()
TOKENS = [
    *(
        b"",
        b",",
        b'"',
        b"\n",
        b"\r",
        b"\r\n",
        b";",
        b"\t",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b" ",
        b"-",
        b".",
    ),
    *(
        b"nan",
        b"NaN",
        b"inf",
        b"-inf",
        b"1e400",
        b"1e-400",
        b"0x10",
        b"1_000",
        b"1,000",
        b'"1,000"',
        b"-1",
        b"0",
        b"NA",
        b"None",
    ),
    *(
        b"2023-02-30",
        b"2023-01-02 00:00",
        b"0001-01-01",
        b"9999-12-31",
        b"20230101",
        b'""',
        b'"a\nb"',
        b"\xe2\x80\xa8",
        b"\x0b",
    ),
]


def mangle(dice: random.Random, data: bytes) -> bytes:
    """Return the data after one to three mutations, mostly one."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.randrange(len(data) + 1) if data else 0
        match dice.randrange(9):
            case 0:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[at + dice.randint(1, 12) :]
            case 2:
                data = data[:at] + dice.choice(TOKENS) + data[at:]
            case 3:
                data = data[:at]
            case 4:
                lines = data.split(b"\n")
                dice.shuffle(lines) if dice.random() < 0.2 else lines.append(dice.choice(lines))
                data = b"\n".join(lines)
            case 5:
                lines = data.split(b"\n")
                row = dice.randrange(len(lines))
                cells = lines[row].split(b",")
                cells[dice.randrange(len(cells))] = dice.choice(TOKENS)
                lines[row] = b",".join(cells)
                data = b"\n".join(lines)
            case 6 | 7:
                digits = [place for place, byte in enumerate(data) if byte in b"0123456789"]
                place = dice.choice(digits or [0])
                data = data[:place] + dice.choice((b"1", b"2", b"5", b"8", b"", b"9.", b" 3")) + data[place + 1 :]
            case _:
                lines = data.split(b"\n")
                row = dice.randrange(len(lines))
                cells = lines[row].split(b",")
                one, two = dice.randrange(len(cells)), dice.randrange(len(cells))
                cells[one], cells[two] = cells[two], cells[one]
                lines[row] = b",".join(cells)
                data = b"\n".join(lines)
    return data


def in_one_line(error: DataError) -> None:
    text = str(error)
    assert text.isprintable() and len(text.splitlines()) == 1 and len(text) < 700, text


def numbers_in(text: str) -> set[float]:
    """Return every number that some field of the text could mean, found without any CSV parser."""
    found = set()
    for field in re.split(r'[,"\r\n]', text):
        try:
            found.add(float(field))
        except ValueError:
            continue
    return found


def check_sentiment(path: Path, text: str) -> None:
    frame = read_sentiment(path).frame
    assert len(frame) and not frame.duplicated(["date", "symbol"]).any()
    assert set(frame["date"].dt.strftime("%Y-%m-%d")) <= set(re.findall(r"\d{4}-\d{2}-\d{2}", text))
    assert all(symbol in text or symbol in text.replace('""', '"') for symbol in frame["symbol"])
    values = frame[list(COLUMNS[2:])].to_numpy()
    assert not np.isnan(values[:, :4]).any() and (values[:, :4] >= 0).all() and not np.isinf(values).any()
    assert set(values[~np.isnan(values)].tolist()) <= numbers_in(text)


def check_prices(path: Path, text: str) -> None:
    table = FileSource(path).load()
    given = table.values[~np.isnan(table.values)]
    assert len(given) and (given > 0).all() and not np.isinf(given).any()
    assert set(given.tolist()) <= numbers_in(text)
    assert {str(day) for day in table.days} <= set(re.findall(r"\d{4}-\d{2}-\d{2}", text))
    assert all(symbol in text or symbol in text.replace('""', '"') for symbol in table.symbols)


@pytest.mark.parametrize("base", [SENTIMENT, PRICES], ids=["sentiment", "prices"])
def test_mangled_text_is_read_literally_or_refused_in_one_line(tmp_path: Path, base: bytes) -> None:
    check = check_sentiment if base is SENTIMENT else check_prices
    outcomes = {"read": 0, "refused": 0}
    for seed in range(400):
        data = mangle(random.Random(seed), base)
        path = tmp_path / ("t.csv.gz" if seed % 4 == 0 else "t.csv")
        path.write_bytes(gzip.compress(data) if seed % 4 == 0 else data)
        try:
            check(path, data.decode("utf-8", "replace"))
            outcomes["read"] += 1
        except DataError as error:
            in_one_line(error)
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {data!r}") from error
    assert min(outcomes.values()) > 40, f"the mutations no longer exercise both ends: {outcomes}"


def test_mangled_gzip_is_read_as_it_was_or_refused_in_one_line(tmp_path: Path) -> None:
    packed, path = gzip.compress(SENTIMENT), tmp_path / "t.csv.gz"
    path.write_bytes(packed)
    whole = read_sentiment(path).frame
    refused = 0
    for seed in range(200):
        path.write_bytes(mangle(random.Random(seed), packed))
        try:
            # gzip's checksum leaves nothing between the two, but for bytes of its header that carry no content.
            pd.testing.assert_frame_equal(read_sentiment(path).frame, whole)
        except DataError as error:
            in_one_line(error)
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("checksum", [True, False])
def test_mangled_parquet_is_read_or_refused_in_one_line(tmp_path: Path, checksum: bool) -> None:
    frame = pd.read_csv(io.BytesIO(SENTIMENT), keep_default_na=False, na_values=[""], parse_dates=["date"])
    path = tmp_path / "t.parquet"
    frame.to_parquet(path, write_page_checksum=checksum)
    data, whole = path.read_bytes(), read_sentiment(path).frame
    written = set(whole[list(COLUMNS[2:])].to_numpy().ravel().tolist())
    refused = 0
    for seed in range(200):
        path.write_bytes(mangle(random.Random(seed), data))
        try:
            values = read_sentiment(path).frame[list(COLUMNS[2:])].to_numpy()
        except DataError as error:
            in_one_line(error)
            refused += 1
            continue
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        assert not np.isnan(values[:, :4]).any() and (values[:, :4] >= 0).all() and not np.isinf(values).any()
        # Without checksums a flipped bit is another value, and it is the one that is in the file.
        assert not checksum or set(values[~np.isnan(values)].tolist()) <= written, f"seed {seed}"
    assert refused > 100
