"""The doors' contract at the command line: what is printed where, exit codes, options made from StudyConfig."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import typer
from small_market import prices_frame, write_small_market

import workbench
from workbench import StudyConfig, cli, load_market, run_study
from workbench.core.metrics import return_metrics
from workbench.errors import CheckError, UnavailableError

ROOT = Path(__file__).resolve().parent.parent


class Answer(NamedTuple):
    """What one command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def in_process(*arguments: object) -> Answer:
        code = cli.run([str(argument) for argument in arguments])
        return Answer(code, *capfd.readouterr())

    return in_process


def call_process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workbench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return the options that name a small market."""
    sentiment, prices = write_small_market(tmp_path_factory.mktemp("market"))
    return ("--sentiment", str(sentiment), "--prices", str(prices), "--top-n", "2")


# ---- help and options --------------------------------------------------------------------------------------------------


def commands() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(cli.build()).commands  # type: ignore[attr-defined]


def test_every_command_and_every_option_has_help():
    for name, command in commands().items():
        assert command.help, f"{name} is missing its help"
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name}: {parameter.name} is missing its help"


def test_every_field_of_a_study_is_an_option_of_backtest_and_report():
    for name in ("backtest", "report"):
        options = {parameter.name for parameter in commands()[name].params}
        assert set(StudyConfig.model_fields) <= options


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_is_printed_on_stdout_and_shows_defaults(call, name: str):
    answer = call(*filter(None, [name]), "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Usage: workbench")
    if name == "backtest":
        assert "--drift / --no-drift" in answer.out and "[default: 5]" in answer.out
        assert "monthly, weekly," in answer.out


def test_without_arguments_the_help_is_shown(call):
    assert call().out == call("--help").out


def test_the_version_is_printed(call):
    assert call("--version") == (0, f"workbench {workbench.__version__}\n", "")


def test_help_imports_neither_pandas_nor_pydantic():
    code = "import sys, workbench.cli as c; c.run(['--help']); print(*[n for n in ('pandas', 'pydantic', 'rich') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_a_backtest_imports_nothing_that_only_a_report_needs(small: tuple[str, ...]):
    names = ("papermill", "nbformat", "nbconvert", "plotly", "scipy", "matplotlib", "ray", "httpx", "rich", "IPython")
    code = f"import sys, workbench.cli as c; c.run(['backtest', *{small!r}]); print(*[n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


# ---- backtest ----------------------------------------------------------------------------------------------------------


def test_json_is_one_object_and_equals_the_one_call(call, small: tuple[str, ...]):
    answer = call("backtest", *small, "--json", "--cost-bps", "25", "--no-drift", "--exclude", "CCC,AAA")
    assert (answer.code, answer.err) == (0, "")
    config = StudyConfig(top_n=2, cost_bps=25.0, drift=False, exclude=["AAA", "CCC"])
    expected = run_study(config, load_market(small[1], small[3])).to_dict()
    assert json.loads(answer.out, parse_constant=pytest.fail) == json.loads(json.dumps(expected))
    assert answer.out.count("\n") == 1


def test_undefined_numbers_are_null(call, small: tuple[str, ...]):
    answer = call("backtest", *small, "--json", "--start", "2022-04-01", "--execution-lag", "252")
    summary = json.loads(answer.out, parse_constant=pytest.fail)["summary"]
    assert summary["n_days"] == 0 and summary["total_return"] is None
    assert "undefined" in call("backtest", *small, "--start", "2022-04-01", "--execution-lag", "252").out


def test_the_text_shows_numbers_losses_and_what_waits(call, small: tuple[str, ...], tmp_path: Path):
    closes = pd.read_csv(small[3], keep_default_na=False)
    closes[closes["date"] <= "2022-04-28"].to_csv(tmp_path / "short.csv", index=False)
    answer = call("backtest", *small, "--prices", tmp_path / "short.csv", "--min-likes", "500")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == "Top 2 by engagement_ratio, monthly, equal weights"
    assert "net" in answer.out and "QQQ" in answer.out and "difference" in answer.out
    assert (
        "pending: 2022-04 (signal complete 2022-04-30)\n  to be traded at the close of trading day 1 after"
        in answer.out
    )
    assert any(line.startswith("  below_threshold") for line in lines)
    assert max(map(len, lines)) <= 100
    assert "LOOK-AHEAD" not in answer.out and "SIMULATED" not in answer.out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_name_in_exclude_that_the_table_lacks_is_warned_of_on_stderr(
    call, small: tuple[str, ...], form: tuple[str, ...]
):
    answer = call("backtest", *small, "--exclude", "BBBB,AAA", *form)
    assert answer.code == 0
    assert answer.err.startswith("workbench: warning: BBBB: ") and answer.err.endswith("did you mean BBB?\n")
    assert answer.err.count("\n") == 1


def test_look_ahead_and_simulated_data_are_said_first(call):
    lines = call("backtest", "--sentiment", ROOT / "sentiment_data.csv", "--execution-lag", "0").out.splitlines()
    assert lines[0].startswith("LOOK-AHEAD") and lines[1].startswith("SIMULATED DATA")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_trades_are_written_as_they_are_in_the_result(call, small: tuple[str, ...], tmp_path: Path, suffix: str):
    path = tmp_path / f"trades{suffix}"
    answer = call("backtest", *small, "--trades", path)
    assert answer.code == 0
    trades = pd.read_csv(path, parse_dates=["date"]) if suffix == ".csv" else pd.read_parquet(path)
    expected = run_study(StudyConfig(top_n=2), load_market(small[1], small[3])).trades
    assert trades["symbol"].fillna("NA").tolist() == expected["symbol"].tolist()
    assert np.allclose(trades["trade"], expected["trade"])
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.real
def test_real_data_show_the_published_figures(call, real_data: Path):
    answer = call("backtest", "--sentiment", real_data / "sentiment_data.csv", "--prices", real_data / "prices.csv.gz")
    assert "its recipe, reproduced                         +0.30 %    -29.09 %" in answer.out


# ---- stocks ------------------------------------------------------------------------------------------------------------


def test_stocks_follow_the_method(call, small: tuple[str, ...]):
    answer = call(
        "stocks", "NA", "AAA", "NA", "--prices", small[3], "--start", "2022-02-01", "--end", "2022-03-31", "--json"
    )
    content = json.loads(answer.out, parse_constant=pytest.fail)
    closes = prices_frame().set_index("date").loc["2022-02-01":"2022-03-31"]
    assert list(content["stocks"]) == ["NA", "AAA"]
    for symbol, numbers in content["stocks"].items():
        expected = return_metrics(closes[symbol].pct_change().dropna().to_numpy())
        assert numbers["n_days"] == len(closes) - 1
        assert (numbers["first_date"], numbers["last_date"]) == ("2022-02-01", "2022-03-31")
        for name in ("total_return", "annualized_volatility", "sharpe_ratio"):
            assert numbers[name] == pytest.approx(expected[name], abs=1e-12)
    assert content["losses"] == [] and content["provenance"]["data_kind"] == "real"


def test_missing_symbols_are_named_with_nulls(call, small: tuple[str, ...]):
    answer = call("stocks", "AAB", "AAA", "--prices", small[3], "--json")
    content = json.loads(answer.out, parse_constant=pytest.fail)
    assert answer.code == 0
    assert content["stocks"]["AAB"] == {
        "total_return": None,
        "annualized_volatility": None,
        "sharpe_ratio": None,
        "n_days": 0,
        "first_date": None,
        "last_date": None,
    }
    (loss,) = content["losses"]
    assert (loss["kind"], loss["symbol"]) == ("no_prices", "AAB") and "did you mean AAA?" in loss["reason"]
    assert (
        "AAB: the price table has no such symbol; did you mean AAA?"
        in call("stocks", "AAB", "AAA", "--prices", small[3]).out
    )


def test_days_without_a_price_earn_nothing_and_are_counted(call, small: tuple[str, ...], tmp_path: Path):
    closes = prices_frame()
    closes.loc[10:12, "BBB"] = np.nan
    closes.to_csv(tmp_path / "gap.csv", index=False)
    content = json.loads(call("stocks", "BBB", "--prices", tmp_path / "gap.csv", "--json").out)
    filled = closes["BBB"].ffill().pct_change().dropna().to_numpy()
    assert content["stocks"]["BBB"]["total_return"] == pytest.approx(return_metrics(filled)["total_return"], abs=1e-12)
    assert content["stocks"]["BBB"]["annualized_volatility"] == pytest.approx(
        return_metrics(filled)["annualized_volatility"]
    )
    (loss,) = content["losses"]
    assert (loss["kind"], loss["count"], loss["first"]) == ("price_gap", 3, closes["date"][10])


def test_a_stock_that_covers_less_time_than_asked_for_says_so(call, small: tuple[str, ...], tmp_path: Path):
    closes = prices_frame()
    days = closes["date"]
    closes.loc[:11, "BBB"] = np.nan
    closes.loc[100:, "BBB"] = np.nan
    closes.loc[50, "BBB"] = np.nan
    closes.to_csv(tmp_path / "part.csv", index=False)
    arguments = ("stocks", "BBB", "AAA", "--prices", tmp_path / "part.csv", "--start", days[2], "--end", days[120])
    losses = json.loads(call(*arguments, "--json").out)["losses"]
    assert [(loss["kind"], loss["symbol"], loss["count"], loss["first"], loss["last"]) for loss in losses] == [
        ("late_start", "BBB", 10, days[2], days[11]),
        ("early_end", "BBB", 21, days[100], days[120]),
        ("price_gap", "BBB", 1, days[50], days[50]),
    ]
    lines = call(*arguments).out.splitlines()
    for loss in losses:
        span = f"({loss['count']} trading day{'s' if loss['count'] > 1 else ''}, {loss['first']} to {loss['last']})"
        assert any(line.startswith("BBB: ") and line.endswith(span) for line in lines), span
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ZZZ", "YYY"), "got none for ZZZ, YYY"),
        ((), "missing argument"),
        (("AAA", "--start", "2022-03-01", "--end", "2022-02-01"), "swap them"),
        (("AAA", "--start", "2031-01-01"), "must have trading days from start to end, got start 2031-01-01; its days"),
        (("AAA", "--end", "soon"), "end must be an ISO day"),
        (("AAA", "--benchmark", "SPY"), "prices of the benchmark"),
    ],
)
def test_stocks_refuse_what_cannot_be_answered(call, small: tuple[str, ...], arguments: tuple[str, ...], words: str):
    answer = call("stocks", *arguments, "--prices", small[3])
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err and answer.err.count("\n") == 1


def test_simulated_stocks_are_called_so(call):
    answer = call("stocks", "SIM001", "--sentiment", ROOT / "sentiment_data.csv")
    assert answer.out.startswith("SIMULATED DATA")


# ---- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CheckError("a check"), 1, "workbench: a check\n"),
        (UnavailableError("two\nlines"), 3, "workbench: two lines\n"),
        (
            ZeroDivisionError("division by zero"),
            3,
            "workbench: ZeroDivisionError: division by zero; this is a bug; run with WORKBENCH_DEBUG=1 for the traceback\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_one_line_and_an_exit_code(call, monkeypatch, error: BaseException, code: int, line: str):
    def fail(path: Path) -> None:
        raise error

    monkeypatch.setattr("workbench.report.verify.verify_report", fail)
    monkeypatch.delenv("WORKBENCH_DEBUG", raising=False)
    assert call("verify", "x.ipynb") == (code, "", line)


def test_the_traceback_of_a_bug_is_shown_on_request(call, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DEBUG", "1")
    monkeypatch.setattr("workbench.report.verify.verify_report", lambda path: 1 / 0)
    answer = call("verify", "x.ipynb")
    assert answer.code == 3 and answer.err.startswith("Traceback")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("backtset",), "workbench: no such command backtset; did you mean backtest?\n"),
        (("--verion",), "workbench: no such option --verion; did you mean --version?\n"),
        (("report", "-p", "topn=3"), "workbench: portfolio_report has no parameter 'topn'; did you mean top_n?\n"),
        (("report", "-p", "top_n"), "workbench: -p must be like top_n=10, got 'top_n'\n"),
        (("report", "-p", "top_n=3", "--top-n", "4"), "workbench: top_n must be given once, got it twice\n"),
    ],
)
def test_usage_errors_name_the_nearest(call, arguments: tuple[str, ...], line: str):
    assert call(*arguments) == (2, "", line)


# ---- as a program ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["nothing"], 2), (["verify", "no.ipynb"], 2)])
def test_the_program_exits_with_the_code(arguments: list[str], code: int):
    assert call_process(*arguments).returncode == code


def test_a_process_keeps_stdout_and_stderr_apart(small: tuple[str, ...]):
    done = call_process("backtest", *small, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["config"]["top_n"] == 2
    done = call_process("backtest", *small, "--top-n", "99")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_reader_who_leaves_is_no_error(small: tuple[str, ...]):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "workbench", "backtest", *small]
    done = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_said_in_one_line(small: tuple[str, ...]):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "workbench", "backtest", *small]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (3, "workbench: [Errno 28] No space left on device\n")


def test_a_terminal_that_cannot_show_a_symbol_gets_the_rest(tmp_path: Path):
    prices_frame().rename(columns={"AAA": "Ω"}).to_csv(tmp_path / "ω.csv", index=False)
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = call_process("stocks", "Ω", "--prices", tmp_path / "ω.csv", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n\\u03a9 " in done.stdout


# ---- report and verify -------------------------------------------------------------------------------------------------


def test_report_and_verify_from_any_folder(call, small: tuple[str, ...], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in small[1], small[3]:
        Path(Path(name).name).write_bytes(Path(name).read_bytes())
    answer = call(
        "report", "--notebook", "01_data_quality", "--sentiment", "posts.csv", "--prices", "closes.csv", "-p", "top_n=2"
    )
    assert (answer.code, answer.err) == (0, "")
    page = Path(answer.out.removesuffix("\n"))
    assert page.parent == tmp_path / "reports" and page.is_file()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    notebook = page.with_suffix(".ipynb")
    held = call("verify", notebook)
    assert (held.code, held.err) == (0, "")
    assert held.out.startswith(f"{notebook.name} holds: ")
    (tmp_path / "posts.csv").write_text((tmp_path / "posts.csv").read_text().replace("2022-04-30", "2022-05-01"))
    broken = call("verify", notebook)
    assert broken.code == 1 and broken.err.count("\n") == 1 and "does not hold" in broken.err
    assert broken.out.startswith("sentiment has changed: ")
    assert "differs" in broken.out


def test_a_report_whose_cell_fails_prints_its_page_and_exits_with_1(call, tmp_path: Path):
    cells = [
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "n: int = 1"},
        {"cell_type": "code", "metadata": {}, "source": "1 / 0"},
    ]
    cells = [cell | {"id": f"c{i}", "outputs": [], "execution_count": None} for i, cell in enumerate(cells)]
    path = tmp_path / "broken.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    answer = call("report", "--notebook", path, "-o", tmp_path / "out")
    assert answer.code == 1
    assert answer.out.endswith("-failed.html\n") and Path(answer.out.strip()).is_file()
    assert answer.err.startswith("workbench: cell 2 stopped with ZeroDivisionError: division by zero; see ")
