"""`workbench sweep`: what is printed where, files, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from small_market import write_small_market

from workbench import StudyConfig, cli, load_market, run_study


class Answer(NamedTuple):
    """What one command line gave."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture
def sweep(files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def call(*arguments: object) -> Answer:
        data = ["--sentiment", str(files[0]), "--prices", str(files[1]), "--engine", "local"]
        code = cli.run(["sweep", *data, *(str(argument) for argument in arguments)])
        out, err = capfd.readouterr()
        # The first sweep on a machine compiles, and says so.
        lines = [
            line
            for line in err.splitlines(keepends=True)
            if not line.startswith(("workbench: sweep", "workbench: compiling"))
        ]
        return Answer(code, out, "".join(lines))

    return call


def test_json_is_a_list_of_config_and_summary_equal_to_backtests(sweep, files: tuple[Path, Path]):
    answer = sweep("--grid", "top_n=1,2;cost_bps=0,10", "--json", "--execution-lag", 2, "--exclude", "CCC")
    assert (answer.code, answer.err) == (0, "")
    rows = json.loads(answer.out)
    market = load_market(*files)
    assert [(row["config"]["top_n"], row["config"]["cost_bps"]) for row in rows] == [(1, 0), (1, 10), (2, 0), (2, 10)]
    for row in rows:
        config = StudyConfig(**row["config"])
        assert config == StudyConfig(top_n=config.top_n, cost_bps=config.cost_bps, execution_lag=2, exclude="CCC")
        expected = run_study(config, market).summary
        assert row["summary"].keys() == expected.keys()
        assert row["summary"]["total_return"] == pytest.approx(expected["total_return"], abs=1e-12)
        assert row["summary"]["first_date"] == expected["first_date"]


def test_a_failed_configuration_is_named_and_the_others_are_there(sweep):
    answer = sweep("--grid", "top_n=2,5", "--json")
    assert answer.code == 0
    good, bad = json.loads(answer.out)
    assert good["summary"] is not None and "error" not in good
    assert bad["summary"] is None and "between 1 and 4" in bad["error"]
    assert answer.err.startswith(
        "workbench: warning: 1 of 2 configurations failed; row 1: top_n must be between 1 and 4"
    )


def test_look_ahead_and_unknown_names_are_said(sweep):
    answer = sweep("--grid", "execution_lag=0,1", "--top-n", 2, "--exclude", "NOBODY")
    assert answer.out.startswith("LOOK-AHEAD")
    assert "exclude names NOBODY, which the table does not contain" in answer.err
    rows = json.loads(sweep("--grid", "execution_lag=0,1", "--top-n", 2, "--json").out)
    assert [row["timing"] for row in rows] == ["LOOK-AHEAD", "causal"]


def test_rows_and_returns_go_to_files(sweep, tmp_path: Path):
    out, returns = tmp_path / "rows.parquet", tmp_path / "returns.parquet"
    answer = sweep("--grid", "top_n=1..4;cost_bps=0..9", "-o", out, "--returns", returns)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == f"all rows: {out}"
    assert len(pd.read_parquet(out)) == len(pd.read_parquet(returns)) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "topn=3"], "unknown parameter 'topn'; did you mean top_n?"),
        (["--grid", "top_n=0"], "top_n must be at least 1, got 0"),
        (["--grid", "top_n=1..4;cost_bps=0..3000:1"], "cost_bps must be at most 1000.0, got 1001.0"),
        (["--grid", "top_n=1..4;min_likes=0..2999", "--json"], "at most 10,000 configurations, got 12,000"),
        (["--grid", "top_n=1", "--top-n", "2"], "top_n must be an option or in the grid, got both"),
        (["--grid", "top_n=1", "-o", "x.csv"], "-o must name a .parquet file"),
        (["--grid", "top_n=1", "--resume"], "--resume needs a file"),
        (["--grid", "top_n=1", "--engine", "spark"], "engine must be"),
        ([], "missing option '--grid'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(sweep, arguments: list[str], message: str):
    answer = sweep(*arguments)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert message in answer.err.lower() if message.startswith("missing") else message in answer.err
    assert answer.err.count("\n") == 1


def test_the_sweep_imports_neither_ray_nor_skfolio_where_neither_is_asked_for(files: tuple[Path, Path]):
    code = (
        "import sys; from workbench import cli; "
        f"code = cli.run(['sweep', '--sentiment', {str(files[0])!r}, '--prices', {str(files[1])!r}, '--grid', 'top_n=1,2']); "
        "print(code, *[name for name in ('ray', 'skfolio', 'plotly', 'papermill') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0"
