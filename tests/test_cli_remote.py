"""`--url`: what an API computes is printed as if it had been computed here, byte for byte; and what may go wrong on the way."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from processes import until
from scripted import answer, scripted
from served import Served, free_port, serving
from small_market import prices_frame, sentiment_frame

from workbench import StudyConfig, cli, load_market, registry, run_study
from workbench import client as client_module
from workbench.report.store import whole_report

ROOT = Path(__file__).resolve().parent.parent
ABOUT = answer(200, {"name": "workbench", "version": "9.9.9"})
SLOW = ("--grid", "weighting=min_cvar;lookback_days=100..200:2;top_n=5,10,15,20")
MINE = ("--sentiment", "mine.csv", "--prices", "closes.csv", "--columns", "date=day,likes=favourites")


class Answer(NamedTuple):
    """What one command line gave; `err` without what progress there was."""

    code: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # The address in its environment is for clients: its own jobs must not heed it.
    with serving(tmp_path_factory.mktemp("served"), WORKBENCH_URL="http://127.0.0.1:9") as server:
        yield server


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.delenv("WORKBENCH_URL", raising=False)

    def in_process(*arguments: object) -> Answer:
        code = cli.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        lines = [
            line
            for line in err.splitlines(keepends=True)
            if not re.match("workbench: (sweep: |optimiser: |compiling|the report is)", line)
        ]
        return Answer(code, out, "".join(lines))

    return in_process


@pytest.fixture
def both(call: Call, served: Served) -> Callable[..., tuple[Answer, Answer]]:
    """Give a function that runs a command here and there."""

    def here_and_there(*arguments: object) -> tuple[Answer, Answer]:
        return call(*arguments), call(*arguments, "--url", served.url)

    return here_and_there


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a table under the user's own column names, and prices."""
    sentiment_frame().rename(columns={"date": "day", "twitterLikes": "favourites"}).to_csv(
        tmp_path / "mine.csv", index=False
    )
    prices_frame().to_csv(tmp_path / "closes.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- the same bytes ----------------------------------------------------------------------------------------------------

SIMULATED = [
    ("backtest",),
    ("backtest", "--json"),
    ("backtest", "--top-n", "7", "--execution-lag", "0", "--no-drift", "--exclude", "SIM001,NOBODY", "--json"),
    ("backtest", "--weighting", "hrp", "--start", "2022-01-01", "--end", "2022-12-31"),
    ("stocks", "SIM001", "SIM002", "SIM999"),
    ("stocks", "SIM001", "--start", "2022-03-01", "--end", "2022-06-30"),
    ("sweep", "--grid", "top_n=1..5;cost_bps=0,10"),
    ("sweep", "--grid", "top_n=3,99;execution_lag=0,1;exclude=SIM001+NOBODY,SIM002", "--cost-bps", "5", "--json"),
]


@pytest.mark.parametrize("arguments", SIMULATED, ids=" ".join)
def test_the_simulated_market_gives_the_same_bytes_here_and_there(both, arguments: tuple[str, ...]):
    here, there = both(*arguments)
    assert here.code == 0 and here.out
    assert there == here  # the warnings too


def test_stocks_as_json_differ_only_in_where_the_packaged_prices_lie(both):
    here, there = (json.loads(got.out) for got in both("stocks", "SIM001", "SIM002", "--json"))
    assert there["provenance"].pop("prices") == "simulated"
    assert Path(here["provenance"].pop("prices")).name == "simulated_prices.parquet"
    assert there == here


OWN = [
    ("backtest", *MINE, "--top-n", "2"),
    ("backtest", *MINE, "--top-n", "2", "--exclude", "NA,XX", "--json"),
    ("stocks", "AAA", "NA", "--prices", "./closes.csv", "--json"),
    ("stocks", "NA", "ZZZ", "--prices", "closes.csv", "--start", "2022-01-10"),
    ("sweep", *MINE, "--grid", "top_n=1,2,9;exclude=XX,AAA", "--json"),
    ("sweep", *MINE, "--grid", "top_n=1,2"),
]


@pytest.mark.parametrize("arguments", OWN, ids=" ".join)
def test_a_table_of_ones_own_gives_the_same_bytes(both, mine: Path, arguments: tuple[str, ...]):
    here, there = both(*arguments)
    assert here.code == 0 and here.out
    assert there == here


def test_a_table_is_sent_once_and_again_when_it_or_its_columns_change(call: Call, served: Served, mine: Path):
    def registered() -> int:
        return len(list((served.home / "api" / "datasets").glob("*.json")))

    study = ("backtest", "--top-n", "2", "--url", served.url)
    assert call(*study, *MINE).code == 0
    before = registered()
    (mine / "copy.csv").write_bytes((mine / "mine.csv").read_bytes())
    assert call(*study, "--sentiment", "copy.csv", *MINE[2:]).code == 0
    assert registered() == before
    table = pd.read_csv(mine / "mine.csv", keep_default_na=False)
    table.assign(favourites=table["favourites"] + 1).to_csv(mine / "mine.csv", index=False)
    assert call(*study, *MINE).code == 0
    assert registered() == before + 1
    table.assign(other=table["favourites"]).to_csv(mine / "mine.csv", index=False)
    for likes in ("favourites", "other"):
        assert call(*study, *MINE[:4], "--columns", f"date=day,likes={likes}").code == 0
    assert registered() == before + 3


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet"])
def test_tables_of_any_format_are_sent(both, mine: Path, suffix: str):
    frame = sentiment_frame()
    write = frame.to_parquet if suffix == ".parquet" else frame.to_csv
    write(mine / f"table{suffix}", index=False)
    here, there = both("backtest", "--sentiment", f"table{suffix}", "--prices", "closes.csv", "--top-n", "2", "--json")
    assert here.code == 0 and there == here


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("backtest", *MINE, "--top-n", "20"), "between 1 and 4"),
        (("backtest", *MINE[:4]), "mine.csv: line 1: must have a column date"),
        (("backtest", "--sentiment", "mine.csv", *MINE[4:]), "prices must be given for mine.csv"),
        (("backtest", *MINE, "--benchmark", "SPY"), "closes.csv: must have prices of the benchmark"),
        (("backtest", "--sentiment", "min.csv"), "min.csv: no such file"),
        (("backtest", "--prices", "closes.csv"), "must both be simulated or both not"),
        (("backtest", "--start", "2022-13-01"), "start must be"),
        (("backtest", "--top-n", "0"), "top_n must be at least 1"),
        (("backtest", "--signal", "nothing"), "signal must be"),
        (("stocks", "ZZZ", "--prices", "closes.csv"), "symbols must have prices in closes.csv"),
        (("sweep", *MINE, "--grid", "topn=1"), "unknown parameter 'topn'"),
        (("sweep", *MINE, "--grid", "top_n=1", "--top-n", "2"), "an option or in the grid"),
        (("sweep", *MINE, "--grid", "top_n=1", "-o", "x.csv"), "-o must name a .parquet file"),
        (("report", "-p", "topn=3"), "portfolio_report has no parameter 'topn'; did you mean top_n?"),
    ],
)
def test_a_mistake_is_the_same_line_and_names_the_tables_of_here(
    both, mine: Path, command: tuple[str, ...], word: str, monkeypatch: pytest.MonkeyPatch
):
    # Other tests of this process have registered signals of their own, of which no server knows.
    own = {name: known for name, known in registry._SIGNALS.items() if known.function.__module__ == registry.__name__}
    monkeypatch.setattr(registry, "_SIGNALS", own)
    here, there = both(*command)
    assert (here.code, there.code, here.out, there.out) == (2, 2, "", "")
    assert word in here.err and there.err.count("\n") == 1
    # The server speaks of fields, not of options.
    spoken = re.sub(r"--([a-z-]+)(?: FILE)?", lambda option: option[1].replace("-", "_"), here.err)
    assert there.err in (here.err, spoken)


def test_real_data_gives_the_same_bytes(both, real_data: Path):
    data = ("--sentiment", real_data / "sentiment_data.csv", "--prices", real_data / "prices.csv.gz")
    for arguments in (("--json",), (), ("--top-n", "10", "--weighting", "inverse_volatility", "--json")):
        here, there = both("backtest", *data, *arguments)
        assert here.code == 0 and there == here
    here, there = both("stocks", "AAPL", "MSFT", *data[2:], "--json")
    assert here.code == 0 and there == here


def test_the_same_study_in_python_and_there_on_real_data(call: Call, served: Served, real_data: Path):
    sentiment, prices = real_data / "sentiment_data.csv", real_data / "prices.csv.gz"
    got = call("backtest", "--sentiment", sentiment, "--prices", prices, "--json", "--url", served.url)
    assert json.loads(got.out)["summary"] == run_study(StudyConfig(), load_market(sentiment, prices)).summary


# ---- which server, which data ------------------------------------------------------------------------------------------


def test_the_environment_names_the_server_and_an_empty_option_none(call: Call, served: Served, monkeypatch):
    before = client_calls(served)
    assert call("backtest").code == 0
    assert client_calls(served) == before
    monkeypatch.setenv("WORKBENCH_URL", served.url)
    assert call("backtest", "--seed", "5").code == 0
    assert client_calls(served) > before
    before = client_calls(served)
    assert call("backtest", "--url", "").code == 0
    assert client_calls(served) == before
    monkeypatch.setenv("WORKBENCH_URL", "")
    assert call("backtest").code == 0


def client_calls(served: Served) -> int:
    return served.log.read_text().count('"path": "/portfolio/analyze"')


def test_a_registered_table_is_named(call: Call, served: Served, mine: Path):
    register = {"sentiment": str(mine / "mine.csv"), "columns": {"date": "day", "likes": "favourites"}}
    (served.home / "api" / "datasets" / "theirs.json").write_text(json.dumps(register))
    (served.home / "api" / "datasets" / "their-closes.json").write_text(
        json.dumps({"prices": str(mine / "closes.csv")})
    )
    here = json.loads(call("backtest", *MINE, "--top-n", "2", "--json").out)
    for prices in ("their-closes", "closes.csv"):
        got = call("backtest", "--dataset", "theirs", "--prices", prices, "--top-n", "2", "--json", "--url", served.url)
        assert json.loads(got.out)["summary"] == here["summary"]
        assert json.loads(got.out)["provenance"]["sentiment"] == "theirs.csv"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--dataset", "nobody"), "dataset must be the name of a registered table, got 'nobody'"),
        (("--dataset", "default", "--sentiment", "x.csv"), "--sentiment must be left out with --dataset"),
        (("--dataset", "default", "--columns", "date=day"), "--columns must be left out with --dataset"),
        (("--prices", "yfinance"), "prices must be a file, simulated or snapshot:ID with --url, got yfinance"),
        (("--sentiment", "https://host/table.csv"), "sentiment must be a file with --url, got an address"),
        (("--prices", "http://host/closes.csv"), "prices must be a file with --url, got an address"),
        (("--prices", "snapshot:0123456789abcdef"), "snapshot"),
        (("--allow-mixed-data",), "--allow-mixed-data must be left out with --url"),
    ],
)
def test_data_that_an_api_cannot_have_is_refused(call: Call, served: Served, arguments: tuple[str, ...], line: str):
    got = call("backtest", *arguments, "--url", served.url)
    assert (got.code in (2, 3), got.out, got.err.count("\n")) == (True, "", 1)
    assert line in got.err and got.err.startswith("workbench: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("backtest", "--trades", "trades.csv"),
        ("sweep", "--grid", "top_n=1", "--returns", "returns.parquet"),
        ("sweep", "--grid", "top_n=1", "--resume"),
        ("sweep", "--grid", "top_n=1", "--engine", "local"),
        ("report", "--engine", "auto"),
        ("report", "--notebook", "01_data_quality"),
        ("report", "--matrix", "studies.yaml"),
        ("report", "--refresh"),
        ("report", "-p", "engine=local"),
    ],
    ids=" ".join,
)
def test_what_only_works_here_is_refused_before_anybody_is_asked(call: Call, mine: Path, arguments: tuple[str, ...]):
    got = call(*arguments, "--url", f"http://127.0.0.1:{free_port()}")
    assert (got.code, got.out, got.err.count("\n")) == (2, "", 1)
    assert re.search(r'must be left out with --url or WORKBENCH_URL: .*; --url "" does the work here$', got.err.strip())


def test_a_dataset_needs_a_server(call: Call):
    got = call("backtest", "--dataset", "default")
    assert got == (
        2,
        "",
        "workbench: --dataset must come with --url or WORKBENCH_URL: it names a table of an API; here, name --sentiment\n",
    )


# ---- files -------------------------------------------------------------------------------------------------------------

EXPORTED = [
    ("backtest", "--top-n", "4"),
    ("stocks", "SIM001", "SIM002"),
    ("sweep", "--grid", "top_n=1..3,99;cost_bps=0,10"),
]


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
@pytest.mark.parametrize("command", EXPORTED, ids=lambda command: command[0])
def test_an_export_is_the_same_file_here_and_there(
    call: Call, served: Served, tmp_path: Path, command: tuple[str, ...], suffix: str
):
    here, there = tmp_path / f"here{suffix}", tmp_path / f"there{suffix}"
    printed = call(*command, "--json", "--export", here)
    assert call(*command, "--json", "--export", there, "--url", served.url).code == printed.code == 0
    if suffix == ".json":
        assert here.read_text() == printed.out
    if (command[0], suffix) == ("stocks", ".json"):  # which differ in where the packaged prices lie
        assert json.loads(there.read_text())["stocks"] == json.loads(here.read_text())["stocks"]
    else:
        assert there.read_bytes() == here.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [here.name, there.name]


def test_an_exported_study_has_a_row_per_trading_day(call: Call, tmp_path: Path):
    for suffix, read in ((".csv", lambda path: pd.read_csv(path, parse_dates=["date"])), (".parquet", pd.read_parquet)):
        assert call("backtest", "--export", tmp_path / f"days{suffix}").code == 0
        frame = read(tmp_path / f"days{suffix}")
        returns = run_study(StudyConfig(), load_market("sentiment_data.csv", "simulated")).returns
        assert frame.columns.tolist() == ["date", "net", "benchmark", "cumulative_net", "cumulative_benchmark"]
        assert frame["date"].tolist() == returns.index.tolist()
        for name in ("net", "benchmark"):
            np.testing.assert_allclose(frame[name], returns[name], rtol=0, atol=1e-14)
            np.testing.assert_allclose(
                frame[f"cumulative_{name}"], np.cumprod(1 + returns[name]) - 1, rtol=0, atol=1e-14
            )


def test_a_study_without_returns_is_exported_without_rows(call: Call, tmp_path: Path):
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        assert call("backtest", "--min-likes", "1000000000", "--export", tmp_path / f"days{suffix}").code == 0
        frame = read(tmp_path / f"days{suffix}")
        assert len(frame) == 0 and frame.columns[0] == "date" and len(frame.columns) == 5


def test_exported_stocks_and_sweeps_are_what_json_prints(call: Call, tmp_path: Path):
    printed = json.loads(call("stocks", "SIM001", "SIM999", "--export", tmp_path / "s.parquet", "--json").out)
    frame = pd.read_parquet(tmp_path / "s.parquet").set_index("symbol")
    assert frame.index.tolist() == ["SIM001", "SIM999"]
    assert frame.loc["SIM001"].to_dict() == printed["stocks"]["SIM001"]
    assert frame.loc["SIM999", "n_days"] == 0 and frame.loc["SIM999", ["total_return", "first_date"]].isna().all()
    rows = json.loads(call("sweep", "--grid", "top_n=1,2,99", "--export", tmp_path / "rows.csv", "--json").out)
    frame = pd.read_csv(tmp_path / "rows.csv")
    assert frame["top_n"].tolist() == [1, 2, 99]
    assert frame["total_return"].tolist()[:2] == [row["summary"]["total_return"] for row in rows[:2]]
    assert np.isnan(frame["total_return"][2]) and frame["error"][2] == rows[2]["error"]


@pytest.mark.parametrize("command", EXPORTED, ids=lambda command: command[0])
@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9"])
def test_an_export_that_cannot_be_written_is_refused_before_anything_is_computed(
    call: Call, tmp_path: Path, command: tuple[str, ...], url: str
):
    # The table that is named is not there either: the file is looked at first.
    data = ("--prices", "nothing.csv", "--url", url)
    got = call(*command, *data, "--export", tmp_path / "x.xlsx")
    assert got.code == 2 and "export must be a file named .json, .csv or .parquet, got" in got.err
    for path in (tmp_path / "no" / "x.csv", tmp_path / "folder.csv"):
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        got = call(*command, *data, "--export", path)
        assert got.code == 2 and "export must be a file in a folder that can be written" in got.err


def test_too_many_rows_for_an_exported_json_are_refused(call: Call, tmp_path: Path):
    got = call("sweep", "--grid", "top_n=1..20;min_likes=0..999", "--export", tmp_path / "rows.json")
    assert got.code == 2 and "--export .json must be of at most 10,000 configurations, got 20,000" in got.err


def test_the_rows_of_a_sweep_go_to_the_file_of_here(both, call: Call, served: Served, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ("sweep", "--grid", "top_n=1..3;weighting=equal,inverse_volatility", "-o", "made/rows.parquet")
    here = call(*arguments)
    rows = pd.read_parquet("made/rows.parquet")
    there = call(*arguments, "--url", served.url)
    assert here.code == 0 and there == here and here.out.endswith(f"all rows: {tmp_path / 'made' / 'rows.parquet'}\n")
    pd.testing.assert_frame_equal(pd.read_parquet("made/rows.parquet"), rows)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["rows.parquet"]


# ---- reports -----------------------------------------------------------------------------------------------------------


def test_a_report_lies_here_as_if_it_had_been_made_here(call: Call, served: Served, mine: Path):
    arguments = ("report", *MINE, "-p", "top_n=2", "--cost-bps", "5")
    here = call(*arguments, "-o", "here", "--engine", "local")
    there = call(*arguments, "-o", "there", "--url", served.url)
    assert (here.code, there.code, there.err) == (0, 0, "")
    page = Path(there.out.removesuffix("\n"))
    assert page.parent == mine / "there" and page.name == Path(here.out.strip()).name
    assert sorted(path.name for path in (mine / "there").iterdir()) == sorted(
        path.name for path in (mine / "here").iterdir()
    )
    own, other = (
        json.loads((mine / where / page.name).with_suffix(".json").read_text()) for where in ("here", "there")
    )
    for content in (own, other):  # what is about the making
        report = content.pop("report")
        assert report["inputs"][0]["path"] == str(mine / "mine.csv")
        for name in ("sentiment", "prices"):
            content["provenance"].pop(name)  # what the tables are called
    assert other == own
    assert whole_report(mine / "there", page.stem) is not None
    for path in (mine / "there").iterdir():
        text = path.read_text()
        assert (
            str(served.home) not in text
            and str(ROOT) not in text
            and not re.search("(sentiment|prices)-[0-9a-f]{24}", text)
        )
    held = call("verify", page.with_suffix(".ipynb"))
    assert held.code == 0, held


def test_a_report_that_fails_there_is_a_failed_check(call: Call, tmp_path: Path):
    with scripted() as fake:
        job = {"id": "1", "kind": "report", "status": "failed", "error": 'cell 3 ("Costs") stopped with ValueError: no'}
        fake.script |= {
            "GET /": [ABOUT],
            "GET /datasets": [answer(200, {"datasets": []})],
            "POST /datasets": [answer(201, {"name": "x", "sentiment_sha256": sha256_of_the_shipped_table()})],
            "POST /reports": [answer(202, job | {"status": "queued"})],
            "GET /jobs/1": [answer(200, job)],
        }
        got = call("report", "--url", fake.url, "-o", tmp_path)
    assert got == (1, "", 'workbench: cell 3 ("Costs") stopped with ValueError: no\n')
    assert list(tmp_path.iterdir()) == []


def sha256_of_the_shipped_table() -> str:
    return load_market("sentiment_data.csv", "simulated").sentiment.source.sha256


@pytest.mark.parametrize("name", ["../outside.ipynb", "/etc/x.ipynb", "a b.ipynb", ".ipynb", "page.html", ""])
def test_a_server_cannot_choose_where_a_report_goes(call: Call, tmp_path: Path, name: str):
    notebook = {"cells": [], "metadata": {"papermill": {"output_path": name}}, "nbformat": 4, "nbformat_minor": 5}
    job = {"id": "1", "kind": "report", "status": "done", "progress": None}
    content = json.dumps({"report": {}}).encode()
    with scripted() as fake:
        fake.script |= {
            "GET /": [ABOUT],
            "GET /datasets": [answer(200, {"datasets": []})],
            "POST /datasets": [answer(201, {"name": "x", "sentiment_sha256": sha256_of_the_shipped_table()})],
            "POST /reports": [answer(202, job)],
            "GET /jobs/1": [answer(200, job)],
            "GET /jobs/1/html": [answer(200, "<!doctype html>")],
            "GET /jobs/1/result": [
                answer(200, content, Content_Type="application/json"),
                answer(200, json.dumps(notebook), Content_Type="application/x-ipynb+json"),
            ],
        }
        got = call("report", "--url", fake.url, "-o", tmp_path / "out")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.parent == tmp_path / "out" for path in written)
    if Path(name).name not in ("outside.ipynb", "x.ipynb"):
        assert got.code == 3 and "cannot be understood" in got.err and written == []


# ---- trouble -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [*EXPORTED, ("report",), ("status",), ("health",), ("cache", "clear")], ids=lambda c: c[0]
)
def test_nobody_there_is_one_line_and_exit_3(call: Call, tmp_path: Path, monkeypatch, command: tuple[str, ...]):
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{free_port()}"
    got = call(*command, "--url", url)
    assert got == (3, "", f"workbench: no API answers at {url}; start one with: workbench serve\n")


def test_what_cannot_be_an_address_is_exit_2(call: Call):
    for command in (("backtest",), ("health",)):
        got = call(*command, "--url", "localhost:8000")
        assert got == (
            2,
            "",
            "workbench: url must be like http://127.0.0.1:8000, got 'localhost:8000'; write http://localhost:8000\n",
        )


def test_garbage_is_one_line_and_exit_3(call: Call):
    with scripted() as fake:
        for command in EXPORTED:
            got = call(*command, "--url", fake.url)
            assert (got.code, got.out, got.err.count("\n")) == (3, "", 1) and "is not a workbench API" in got.err
        fake.script |= {"GET /": [ABOUT], "GET /datasets": [answer(200, {"datasets": [{"name": "default"}]})]}
        for study in ({}, [], {"provenance": {}}, {"provenance": 1, "losses": None}):
            fake.script |= {"POST /portfolio/analyze": [answer(200, {"study": study})]}
            got = call("backtest", "--dataset", "default", "--url", fake.url)
            assert (got.code, got.out, got.err.count("\n")) == (3, "", 1) and "cannot be understood" in got.err
        fake.script |= {"POST /stocks/analyze": [answer(200, {"stocks": {"SIM001": {}}})]}
        fake.script |= {"GET /datasets": [answer(200, {"datasets": [{"nam": "default"}]})]}
        for command in EXPORTED:
            got = call(*command, "--dataset", "default", "--url", fake.url)
            assert (got.code, got.out, got.err.count("\n")) == (3, "", 1) and "cannot be understood" in got.err


def test_rows_that_cannot_be_read_are_not_printed(call: Call):
    job = {"id": "1", "kind": "sweep", "status": "done", "progress": None}
    with scripted() as fake:
        fake.script |= {
            "GET /": [ABOUT],
            "GET /datasets": [answer(200, {"datasets": []})],
            "POST /sweeps": [answer(202, job)],
            "GET /jobs/1": [answer(200, job)],
            "GET /jobs/1/result": [answer(200, b"PAR1 and no more", Content_Type="application/vnd.apache.parquet")],
        }
        got = call("sweep", "--grid", "top_n=1", "--dataset", "default", "--url", fake.url)
    assert (got.code, got.out) == (3, "") and "cannot be understood; use the same version" in got.err


def test_who_stops_before_the_job_is_known_is_told_that_it_may_run(call: Call, monkeypatch: pytest.MonkeyPatch):
    def interrupted(self: object, fields: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client_module.Client, "start_sweep", interrupted)
    with scripted() as fake:
        fake.script |= {"GET /datasets": [answer(200, {"datasets": []})]}
        got = call("sweep", "--grid", "top_n=1", "--dataset", "default", "--url", fake.url)
    assert got == (130, "", f"workbench: stopped; {fake.url} may have begun the work already\n")


def test_a_table_that_is_too_large_for_the_server_is_one_line(call: Call, tmp_path: Path, mine: Path):
    with serving(tmp_path, WORKBENCH_API_UPLOAD_BYTES="10000") as server:
        got = call("backtest", *MINE, "--url", server.url)
    assert (got.code, got.out) == (2, "")
    assert re.fullmatch(r"workbench: the body must have at most 10,000 bytes, got a claim of \d+\n", got.err)


def test_a_server_that_dies_under_a_sweep_is_one_line(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "_OUTAGE_SECONDS", 0.5)
    with serving(tmp_path) as server:

        def end_it() -> None:
            until(lambda: any("pid" in (job.read() or {}) for job in server.jobs()), 60)
            server.end()

        ending = threading.Thread(target=end_it)
        ending.start()
        got = call("sweep", *SLOW, "--url", server.url)
        ending.join()
        (job,) = server.jobs()
    expected = f"workbench: no API answers at {server.url}; start one with: workbench serve; the job {job.id} may still run there\n"
    assert got == (3, "", expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_a_sweep_cancels_its_job(served: Served, number: signal.Signals):
    before = {job.id for job in served.jobs()}
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", "sweep", *SLOW, "--url", served.url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def mine_runs() -> bool:
        return any((job.read() or {}).get("status") == "running" for job in served.jobs() if job.id not in before)

    until(mine_runs, 60)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    (job,) = [job for job in served.jobs() if job.id not in before]
    assert (process.returncode, out) == (128 + number, "")
    assert f"workbench: stopped; the job {job.id} of {served.url} was cancelled\n" in err and "Traceback" not in err
    assert (job.read() or {})["status"] == "cancelled"
    until(lambda: not job.is_alive(), 30)


def test_keys_are_sent_and_a_wrong_one_is_exit_2(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    key = "the-key-of-this-one-server"
    with serving(tmp_path, WORKBENCH_API_KEY=key) as server:
        monkeypatch.delenv("WORKBENCH_API_KEY", raising=False)
        way = "set WORKBENCH_API_KEY or WORKBENCH_API_KEY_FILE to the server's key"
        line = f"workbench: {server.url}: the API key is missing or wrong; {way}\n"
        assert call("backtest", "--url", server.url) == (2, "", line)
        monkeypatch.setenv("WORKBENCH_API_KEY", "another-key-altogether")
        assert call("status", "--url", server.url) == (2, "", line)
        assert call("health", "--url", server.url).code == 0
        monkeypatch.setenv("WORKBENCH_API_KEY", key)
        got = call("backtest", "--url", server.url)
        assert (got.code, got.err) == (0, "") and key not in got.out


# ---- health, status, cache ---------------------------------------------------------------------------------------------


def test_health_status_and_cache_are_shown_for_people_and_programs(call: Call, served: Served, monkeypatch):
    monkeypatch.setenv("WORKBENCH_URL", served.url)
    call("cache", "clear")
    assert call("backtest").code == 0
    assert call("health") == (0, f"{served.url}: healthy, without Ray, 1 answer in the cache\n", "")
    assert json.loads(call("health", "--json").out) == {"status": "healthy", "ray_initialized": False, "cache_size": 1}
    got = call("status")
    assert got.out.splitlines()[0] == f"{served.url}: workbench {cli.workbench.__version__} on uvicorn"
    assert re.search(r"^cache +1 answer, 0\.\d MB of 536\.9 MB$", got.out, re.MULTILINE)
    assert re.search(r"^nodes +1 of 1 alive; CPU \d+$", got.out, re.MULTILINE)
    assert set(json.loads(call("status", "--json").out)) >= {"engine", "nodes", "cache", "jobs"}
    assert call("cache", "clear") == (0, f"{served.url}: 1 answer forgotten\n", "")
    assert json.loads(call("cache", "clear", "--json").out) == {"status": "success", "removed": 0}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("cache",), "missing command"),
        (("cache", "clera"), "no such command clera; did you mean clear?"),
        (("cach",), "no such command cach; did you mean cache?"),
        (("health", "--ulr", "x"), "no such option --ulr; did you mean --url?"),
    ],
)
def test_usage_errors_name_the_nearest(call: Call, arguments: tuple[str, ...], line: str):
    assert call(*arguments) == (2, "", f"workbench: {line}\n")


def test_an_api_that_is_not_well_is_exit_3(call: Call):
    with scripted() as fake:
        fake.script["GET /health"] = [answer(200, {"status": "ailing", "ray_initialized": True, "cache_size": 0})]
        got = call("health", "--url", fake.url)
    assert (got.code, got.err) == (3, "workbench: the API is ailing; see its log\n") and "ailing, Ray is up" in got.out


# ---- the README --------------------------------------------------------------------------------------------------------


def test_the_commands_of_the_readme_run(served: Served, mine: Path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```console\n(export WORKBENCH_URL.*?)```", text, re.DOTALL)
    lines = [line.split("  #")[0].strip() for line in block.splitlines()]
    assert len(lines) >= 6 and lines[0] == "export WORKBENCH_URL=http://127.0.0.1:8000"
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    for line in lines[1:]:
        assert shlex.split(line)[0] == "workbench"
        environment = os.environ | {"PATH": path, "WORKBENCH_URL": served.url}
        done = subprocess.run(
            ["sh", "-c", line], cwd=mine, env=environment, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, bool(done.stdout)) == (0, True), (line, done.stderr)
