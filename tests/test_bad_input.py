"""Bad input through the command line: exit 2, one line on stderr that says what is wrong, nothing on stdout, never a traceback."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_market import prices_frame, sentiment_frame, write_small_market

from workbench.cli import run

ROOT = Path(__file__).resolve().parent.parent
Change = Callable[[Path], None]


@pytest.fixture
def market(tmp_path: Path) -> tuple[Path, Path]:
    return write_small_market(tmp_path)


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs the command line, checks how it refuses, and returns the line."""

    def refuse(*arguments: object) -> str:
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert code == 2, err
        assert out == ""
        assert err.startswith("workbench: ") and err.count("\n") == 1 and err.endswith("\n")
        assert "Traceback" not in err and "this is a bug" not in err
        return err

    return refuse


def replaced(old: str, new: str, count: int = 1) -> Change:
    """Return a change that replaces a text in a file."""

    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, count))

    return change


def written(content: bytes) -> Change:
    return lambda path: (path.write_bytes(content), None)[1]


def recoded(encoding: str) -> Change:
    return lambda path: (path.write_text(path.read_text(), encoding=encoding), None)[1]


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def repeated_row(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[1]]))


def second_row(column: int, value: str) -> Change:
    """Return a change that sets one cell of the first data row."""

    def change(path: Path) -> None:
        lines = path.read_text().split("\n")
        cells = lines[1].split(",")
        cells[column] = value
        path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))

    return change


HEADER = ",".join(sentiment_frame().columns)
DATE, SYMBOL, COMMENTS, LIKES = 0, 1, 3, 4
SENTIMENT_FAULTS: dict[str, tuple[Change, str]] = {
    "missing column": (replaced("twitterLikes", "likes"), "twitterLikes"),
    "column given twice": (replaced("twitterPosts", "twitterLikes"), "must occur once"),
    "bad date": (second_row(DATE, "2022-02-30"), "line 2, column date"),
    "date the other way round": (second_row(DATE, "01/02/2022"), "ISO day"),
    "date with a time": (second_row(DATE, "2022-01-01 00:00:00"), "without a time"),
    "empty date": (second_row(DATE, ""), "line 2, column date"),
    "empty symbol": (second_row(SYMBOL, ""), "line 2, column symbol"),
    "duplicate row": (repeated_row, "must occur once"),
    "negative count": (second_row(LIKES, "-1"), "line 2, column twitterLikes"),
    "infinite count": (second_row(COMMENTS, "inf"), "line 2, column twitterComments"),
    "text for a number": (second_row(LIKES, "many"), "line 2, column twitterLikes"),
    "thousands separators": (second_row(LIKES, '"1,234"'), "without separators"),
    "infinite sentiment": (second_row(6, "-inf"), "line 2, column twitterSentiment"),
    "empty file": (written(b""), "is empty"),
    "header only": (written(f"{HEADER}\n".encode()), "has a header but no rows"),
    "binary file": (written(bytes(range(256)) * 20), "posts.csv"),
    "zip file": (written(b"PK\x03\x04" + bytes(100)), "zip or Excel"),
    "web page": (written(b"<!doctype html><html></html>"), "HTML"),
    "UTF-16": (recoded("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (recoded("utf-16-le"), "UTF-16"),
    "Latin-1": (written(f"{HEADER}\n2022-01-01,\xe9,1,1,1,1,1\n".encode("latin-1")), "must be UTF-8"),
    "truncated gzip": (lambda path: path.write_bytes(gzip.compress(path.read_bytes())[:-200]), "truncated gzip"),
    "directory": (directory, "is a folder"),
    "semicolons": (lambda path: path.write_text(path.read_text().replace(",", ";")), "separated by commas"),
    "tabs": (lambda path: path.write_text(path.read_text().replace(",", "\t")), "separated by commas"),
    "short row": (lambda path: path.write_text(path.read_text() + "2022-05-01,AAA,1\n"), "must have 7 fields"),
    "open quote": (lambda path: path.write_text(path.read_text() + '"2022-05-01,AAA,1'), "quote"),
    "no such file": (Path.unlink, "no such file"),
}
PRICE_FAULTS: dict[str, tuple[Change, str]] = {
    "price of zero": (second_row(1, "0"), "line 2, column AAA"),
    "negative price": (second_row(1, "-3.5"), "line 2, column AAA"),
    "infinite price": (second_row(1, "inf"), "line 2, column AAA"),
    "text for a price": (second_row(1, "n/a"), "line 2, column AAA"),
    "no benchmark": (replaced("QQQ", "SPY"), "prices of the benchmark"),
    "no date column": (replaced("date", "when"), "must have a column date"),
    "day twice": (repeated_row, "must occur once"),
    "other years": (
        lambda path: (
            prices_frame().assign(date=lambda f: f["date"].str.replace("202", "201")).to_csv(path, index=False)
        ),
        "prices in the time of the sentiment table",
    ),
    "empty file": (written(b""), "is empty"),
    "simulated symbols": (replaced("AAA", "SIM001"), "must both be simulated or both not"),
}
OPTION_FAULTS: dict[str, tuple[tuple[str, ...], str]] = {
    "top_n 0": (("--top-n", "0"), "top_n must be at least 1, got 0"),
    "top_n above the universe": (("--top-n", "5"), "top_n must be between 1 and 4 (symbols in the table), got 5"),
    "top_n not whole": (("--top-n", "2.5"), "top_n must be a whole number, got '2.5'"),
    "top_n huge": (("--top-n", "9" * 30), "top_n must be at most 9007199254740991, got a number of 30 digits"),
    "min_likes beyond a float": (("--min-likes", "9" * 400), "min_likes must be at most 9007199254740991"),
    "thousands of digits": (("--min-comments", "9" * 5_000), "min_comments must be a whole number, got '999"),
    "half a character": (("--exclude", "AAA,\ud800"), "exclude must name symbols of printable text"),
    "NaN cost": (("--cost-bps", "nan"), "cost_bps must be a finite number, got nan"),
    "infinite cost": (("--cost-bps", "inf"), "cost_bps must be a finite number"),
    "negative cost": (("--cost-bps", "-1"), "cost_bps must be at least 0"),
    "lag below zero": (("--execution-lag", "-1"), "execution_lag must be at least 0"),
    "unknown signal": (("--signal", "engagement"), "did you mean engagement_ratio?"),
    "unknown weighting": (("--weighting", "equals"), "weighting must be one of equal"),
    "unknown rebalance": (("--rebalance", "daily"), "rebalance must be one of monthly"),
    "weight above one": (("--max-weight", "1.5"), "max_weight must be at most 1"),
    "dates reversed": (("--start", "2022-03-01", "--end", "2022-02-01"), "start must not lie after end"),
    "start no day": (("--start", "March"), "start must be an ISO day"),
    "nothing within the bounds": (("--start", "2030-01-01"), "must have rows from start to end"),
    "unknown benchmark": (("--benchmark", "QQQQ"), "did you mean QQQ?"),
    "empty benchmark": (("--benchmark", ""), "benchmark must not be empty"),
    "columns without =": (("--columns", "likes"), "columns must be like likes=favourites"),
    "columns unknown": (("--columns", "like=twitterLikes"), "did you mean likes?"),
    "unknown option": (("--topn", "5"), "no such option --topn; did you mean --top-n?"),
    "option without a value": (("--top-n",), "'--top-n' requires an argument"),
    "extra argument": (("posts.csv",), "unexpected extra argument"),
    "trades of unknown kind": (("--trades", "trades.xls"), "trades must be a file named .csv or .parquet"),
    "trades in no folder": (("--trades", "no/such/trades.csv"), "a folder that can be written"),
    "line break in a value": (("--signal", "a\nb"), "signal must be one of"),
}


@pytest.mark.parametrize("fault", SENTIMENT_FAULTS)
def test_a_faulty_sentiment_table_is_refused(refused, market: tuple[Path, Path], fault: str):
    change, words = SENTIMENT_FAULTS[fault]
    sentiment, prices = market
    change(sentiment)
    line = refused("backtest", "--json", "--top-n", 2, "--sentiment", sentiment, "--prices", prices)
    assert words in line and "posts.csv" in line


@pytest.mark.parametrize("fault", PRICE_FAULTS)
def test_a_faulty_price_table_is_refused(refused, market: tuple[Path, Path], fault: str):
    change, words = PRICE_FAULTS[fault]
    sentiment, prices = market
    change(prices)
    line = refused("backtest", "--top-n", 2, "--sentiment", sentiment, "--prices", prices)
    assert words in line and "closes.csv" in line


@pytest.mark.parametrize("fault", OPTION_FAULTS)
def test_a_wrong_option_is_refused(refused, market: tuple[Path, Path], fault: str, monkeypatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    arguments, words = OPTION_FAULTS[fault]
    sentiment, prices = market
    given = () if fault == "option without a value" else ("--sentiment", sentiment, "--prices", prices)
    defaults = ("--top-n", 2) if "--top-n" not in arguments else ()
    assert words in refused("backtest", *given, *defaults, *arguments)


@pytest.mark.parametrize(
    "fault", ["top_n 0", "top_n above the universe", "NaN cost", "unknown signal", "dates reversed"]
)
def test_a_report_refuses_the_same_before_a_kernel_starts(
    refused, market: tuple[Path, Path], fault: str, tmp_path: Path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "workbench.report.kernel", None)
    arguments, words = OPTION_FAULTS[fault]
    sentiment, prices = market
    assert words in refused("report", "-o", tmp_path / "out", "--sentiment", sentiment, "--prices", prices, *arguments)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda text: "\ufeff" + text, True),
        (lambda text: text.replace("\n", "\r\n"), True),
        (lambda text: text.rstrip("\n"), True),
        (lambda text: text.replace("AAA", "TRUE"), False),
    ],
    ids=["byte order mark", "CRLF", "no line end", "a ticker TRUE"],
)
def test_what_is_only_unusual_is_accepted(market: tuple[Path, Path], capfd, change, same: bool):
    sentiment, prices = market
    arguments = ["backtest", "--json", "--top-n", "4", "--sentiment", str(sentiment), "--prices", str(prices)]
    assert run(arguments) == 0
    before = capfd.readouterr().out
    sentiment.write_bytes(change(sentiment.read_text()).encode())
    assert run(arguments) == 0
    after, err = capfd.readouterr()
    assert err == ""
    assert '"NA"' in after, "a ticker NA stays a ticker"
    assert (before.split('"provenance"')[0] == after.split('"provenance"')[0]) is same
    assert same or '"TRUE"' in after


@pytest.mark.parametrize("fault", ["no such file", "binary file"])
def test_a_process_refuses_in_the_same_way(market: tuple[Path, Path], fault: str):
    sentiment, prices = market
    SENTIMENT_FAULTS[fault][0](sentiment)
    command = [sys.executable, "-m", "workbench", "backtest", "--sentiment", str(sentiment), "--prices", str(prices)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("workbench: ")
