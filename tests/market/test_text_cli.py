"""`workbench score`: what is printed where, and exit codes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from posts import HEADER, random_rows, write_rows

from workbench import cli

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)

    def in_process(*arguments: object) -> tuple[int, str, str]:
        code = cli.run(["score", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return in_process


def test_the_path_is_on_stdout_and_what_became_of_the_posts_on_stderr(call: Call, tmp_path: Path):
    rows = random_rows(30, 2)
    rows[3][3], rows[5][3], rows[9][2], rows[11][2], rows[11][4] = "-1", "x\x1b[31m", "good " * 1000, "", ""
    write_rows(tmp_path / "posts.csv", rows)
    code, out, err = call("posts.csv", "-o", "table.parquet", "--cutoff", "09:30", "--timezone", "Europe/London")
    assert (code, out) == (0, "table.parquet\n")
    lines = err.splitlines()
    assert all(line.startswith("workbench: ") and line.isprintable() for line in lines)
    assert re.fullmatch(
        r"workbench: posts.csv: 30 rows, \d+ scored, \d without text, 2 left out "
        r"\(vader [\d.]+, finance lexicon [0-9a-f]{12}\)",
        lines[0],
    )
    assert re.search(r"  left out 2: likes must be a finite number >= 0; the first on line \d+, got '-1'$", lines[1])
    assert any(re.search(r"  kept \d+: the post has no text", line) for line in lines)
    assert any(
        "  kept 1: only the beginning of the text was scored: the first 4,000 characters" in line for line in lines
    )
    assert any(re.search(r"  kept \d+: comments is empty: 0 was added", line) for line in lines)
    assert re.fullmatch(r"workbench: table.parquet: \d+ rows, \d+ days, 5 symbols \(local engine\)", lines[-1])


def test_columns_are_mapped_from_the_command_line(call: Call, tmp_path: Path):
    rows = [["2022-01-03", "A", "good", "1", "1", "1"]]
    write_rows(tmp_path / "posts.csv", rows, "day,ticker,body,favs,replies,views")
    names = "date=day,symbol=ticker,text=body,likes=favs,comments=replies,impressions=views"
    assert call("posts.csv", "-o", "table.csv", "--columns", names)[0] == 0
    assert (tmp_path / "table.csv").read_text().splitlines()[1] == "2022-01-03,A,1,1,1,1,0.7202"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "missing argument"),
        (("posts.csv",), "missing option '-o'"),
        (("no.csv", "-o", "t.csv"), "no.csv: no such file"),
        (("posts.csv", "-o", "t.xlsx"), "out must be a file named .csv or .parquet, got 't.xlsx'"),
        (("posts.csv", "-o", "t.csv", "--cutoff", "late"), "cutoff must be a time of day"),
        (("posts.csv", "-o", "t.csv", "--timezone", "Mars"), "timezone must be a name such as"),
        (("posts.csv", "-o", "t.csv", "--scorer", "bert"), "scorer must be one of vader, transformers, got 'bert'"),
        (("posts.csv", "-o", "t.csv", "--columns", "x"), "columns must be like"),
        (("posts.csv", "-o", "t.csv", "--engine", "spark"), "engine must be one of auto, local, ray, got 'spark'"),
        (("posts.csv", "-o", "t.csv", "--scor", "vader"), "no such option --scor; did you mean --scorer?"),
        (
            ("bad.csv", "-o", "t.csv"),
            "must have a row that can be read, got 1 that cannot; line 2: a row must have 6 fields",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_exit_code_2(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], message: str
):
    write_rows(tmp_path / "posts.csv", random_rows(3))
    (tmp_path / "bad.csv").write_text(HEADER + "\nx\n")
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("workbench: ") and message in err
    assert not (tmp_path / "t.csv").exists()


def test_a_ray_that_cannot_be_reached_is_exit_code_3(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_rows(tmp_path / "posts.csv", random_rows(3))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    code, out, err = call("posts.csv", "-o", "t.csv")
    assert (code, out, err.count("\n")) == (3, "", 1) and "127.0.0.1:9" in err
