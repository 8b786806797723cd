"""Whatever a call returns shows itself: a table in Lab, and a text that is the same on every machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from small_market import write_small_market

from workbench import Session, StudyConfig, load_market, run_sweep
from workbench.evaluate import evaluate_signal
from workbench.report.failure import CellFailure
from workbench.report.run import ReportRun
from workbench.report.verify import Verification
from workbench.stocks import analyze_stocks

CONFIG = StudyConfig(top_n=2)
FILES = (Path("a.html"), Path("a.ipynb"), Path("a.json"))


def results(folder: Path) -> dict[str, Any]:
    market = load_market(*map(str, write_small_market(folder)))
    with Session("local") as session:
        study = session.run_study(CONFIG, market)
        intervals = session.intervals(study)
    return {
        "StudyResult": study,
        "SweepResult": run_sweep("top_n=1..4", market, "local"),
        "Intervals": intervals,
        "SignalEvaluation": evaluate_signal(CONFIG, market),
        "StocksResult": analyze_stocks(market.prices, [market.prices.symbols[0], "NONE"]),
        "Market": market,
        "SentimentTable": market.sentiment,
        "PriceTable": market.prices,
        "StudyConfig": CONFIG,
        "Verification": Verification((), ("a note",), 12),
        "Verification that failed": Verification(("cell 3 differs <here>",), (), 12),
        "ReportRun": ReportRun(*FILES, "done", None, 1.0),
        "ReportRun that failed": ReportRun(*FILES, "failed", CellFailure(2, "Growth", "ValueError", "no"), 1.0),
    }


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("market")
    return results(folder), results(folder)


def test_every_result_shows_a_table_and_a_text_without_addresses_or_ids(twice: tuple[dict[str, Any], dict[str, Any]]):
    for name, result in twice[0].items():
        shown, text = result._repr_html_(), repr(result)
        assert "<table" in shown and shown.count("<table") == shown.count("</table>"), name
        for form in (shown, text):
            assert not re.search(r"0x[0-9a-f]{6}|\bid=|array\(|<\w+\.\w+ object", form), name
        assert len(text) < 2500, f"{name} is not a frame with all of its rows"


def test_the_same_result_shows_the_same(twice: tuple[dict[str, Any], dict[str, Any]]):
    for name, result in twice[0].items():
        assert repr(result) == repr(twice[1][name]), name
        assert result._repr_html_() == twice[1][name]._repr_html_(), name


def test_what_is_shown_names_what_matters(twice: tuple[dict[str, Any], dict[str, Any]]):
    shown = {name: repr(result) for name, result in twice[0].items()}
    assert "excess_return" in shown["Intervals"]
    assert "undefined" in shown["StocksResult"] and "NONE" in shown["StocksResult"]
    assert "benchmark" in shown["Market"]
    assert shown["Verification"].startswith("The report holds: 12 cells")
    assert "1 thing differs" in shown["Verification that failed"]
    assert "a.html" in shown["ReportRun"]
    assert "ValueError" in shown["ReportRun that failed"]
    assert "&lt;here&gt;" in twice[0]["Verification that failed"]._repr_html_()


def test_a_session_says_what_it_runs_on():
    with Session("local") as session:
        assert repr(session) == "Session('local'): not needed yet"
        session.account()
        assert repr(session) == "Session('local'): local (named)"
    assert repr(session) == "Session('local'): closed"


def test_a_configuration_of_an_unknown_signal_shows_itself():
    assert "<caption>Configuration</caption>" in StudyConfig(signal="nobody_knows")._repr_html_()
