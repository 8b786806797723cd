"""A source of prices that a module of one's own brings: known to each command that is given it by name, from the first on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_market import write_small_market

from workbench import cli
from workbench.market.prices import KEYWORDS

MODULE = "shelf_of_prices_test"
SOURCE = f"""
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.market.prices import KEYWORDS, FileSource


@dataclass(frozen=True)
class Shelf:
    text: str

    def load(self, wanted=None):
        table = FileSource(self.text.partition(":")[2]).load()
        return replace(table, source=replace(table.source, name="the shelf", path=self.text))


KEYWORDS["shelf"] = Shelf
with open(Path(__file__).with_name("imports"), "a") as file:
    file.write("{MODULE}\\n")
"""
COMMANDS = {
    "backtest": ("backtest", "--top-n", "2", "--json"),
    "stocks": ("stocks", "AAA", "BBB", "--json"),
    "sweep": ("sweep", "--grid", "top_n=1,2", "--engine", "local", "--json"),
    "sweep without a study's signal": ("sweep", "--grid", "signal=engagement_ratio", "--top-n", "2", "--json"),
    "report": ("report", "--top-n", "2", "-o", "reports"),
}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write market and module into the current folder; nothing of the module is left in this process at the end."""
    write_small_market(tmp_path)
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # for the kernel of a report
    yield tmp_path
    sys.modules.pop(MODULE, None)
    KEYWORDS.pop("shelf", None)


def call(command: tuple[str, ...], prices: str = "shelf:closes.csv") -> int:
    # `stocks` has no other table than that of the prices.
    posts = () if command[0] == "stocks" else ("--sentiment", "posts.csv")
    return cli.run([*command, *posts, "--prices", prices])


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_knows_a_source_of_ones_own(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
):
    monkeypatch.setenv("WORKBENCH_PLUGINS", MODULE)
    assert "shelf" not in KEYWORDS
    assert call(COMMANDS[name]) == 0
    out = capfd.readouterr().out
    if name == "report":
        stored = json.loads(Path(out.strip()).with_suffix(".json").read_text())["report"]
        assert stored["plugins"] == [MODULE]
        assert [item["name"] for item in stored["inputs"]] == ["posts.csv", "the shelf"]
    else:
        assert call(COMMANDS[name], "closes.csv") == 0
        own, file = (json.loads(text) for text in (out, capfd.readouterr().out))
        for answer in (own, file) if isinstance(own, dict) else ():
            del answer["provenance"]
        assert own == file
    assert (shelf / "imports").read_text().count(MODULE) == (2 if name == "report" else 1)  # once in a process


def test_where_the_module_is_not_named_the_word_is_a_file(shelf: Path, capfd: pytest.CaptureFixture[str]):
    assert call(COMMANDS["backtest"]) == 2
    assert "shelf:closes.csv: no such file" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["backtest", "stocks", "sweep", "report"])
def test_a_module_that_cannot_be_imported_is_one_line_in_each_command(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
):
    monkeypatch.setenv("WORKBENCH_PLUGINS", "there_is_no_such_module")
    assert call(COMMANDS[name]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "WORKBENCH_PLUGINS names the module 'there_is_no_such_module', which cannot be imported" in err
