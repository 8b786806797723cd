"""Tables, figures and the verdict: the written rule, nothing cut off, the same text every time."""

import json

import numpy as np
import pandas as pd
import pytest

from workbench import StudyConfig, load_market, run_study
from workbench.core.inference import Interval, bootstrap_intervals
from workbench.evaluate import evaluate_signal
from workbench.report import figures, quality, tables
from workbench.report.table import Table
from workbench.report.verdict import decide, verdict
from workbench.result import StudyResult


@pytest.fixture(scope="module")
def shipped() -> StudyResult:
    return run_study(StudyConfig(), load_market())


def interval(low: float, high: float) -> Interval:
    return Interval(low=low, high=high, confidence=0.95, mean_block_days=21.0, n_resamples=5000, seed=0)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.1, 0.2, "insufficient evidence"),
        (0.0, 0.2, "insufficient evidence"),
        (-0.2, 0.0, "insufficient evidence"),
        (0.01, 0.2, "ahead of the benchmark"),
        (-0.2, -0.01, "behind the benchmark"),
    ],
)
def test_the_verdict_follows_the_written_rule(low: float, high: float, word: str) -> None:
    assert decide(interval(low, high)) == word


def test_without_an_interval_the_evidence_is_insufficient() -> None:
    assert decide(None) == "insufficient evidence"


def test_the_verdict_names_what_a_reader_must_not_overlook() -> None:
    study = run_study(StudyConfig(execution_lag=0, cost_bps=0.0), load_market())
    text = repr(verdict(study, {}))
    assert "LOOK-AHEAD" in text
    assert "simulated" in text
    assert "free" in text


def test_a_study_without_returns_still_has_every_table_and_figure() -> None:
    market = load_market()
    study = run_study(StudyConfig(min_likes=10**9), market)
    intervals = bootstrap_intervals(study.returns["net"], study.returns["benchmark"], seed=0)
    assert "No rebalance could be traded" in repr(verdict(study, intervals))
    for make in (tables.relative, tables.months, tables.holdings, tables.pending, tables.costs, tables.losses):
        assert make(study)._repr_html_()
    assert tables.kpis(study, intervals)._repr_html_()
    for draw in (figures.equity, figures.drawdown, figures.months, figures.turnover):
        assert draw(study).to_json()
    assert "undefined" in repr(evaluate_signal(study.config, market))


def test_months_compound_to_the_total_return(shipped: StudyResult) -> None:
    monthly = tables.monthly_returns(shipped.returns["net"])
    assert np.prod(1 + monthly) - 1 == pytest.approx(shipped.summary["total_return"], abs=1e-12)


def test_the_check_text_is_the_summary(shipped: StudyResult) -> None:
    found = json.loads(tables.check(shipped))
    assert found == pytest.approx(shipped.summary, abs=1e-9)


def test_figures_are_the_same_text_every_time(shipped: StudyResult) -> None:
    again = run_study(StudyConfig(), load_market())
    for draw in (figures.equity, figures.drawdown, figures.months, figures.turnover):
        assert draw(shipped).to_json() == draw(again).to_json()


def test_a_table_cuts_nothing_off_and_escapes_what_it_shows() -> None:
    frame = pd.DataFrame({"name": [f"row {k} <i>" for k in range(500)], "value": range(500)})
    table = Table(frame, "All & everything")
    assert table._repr_html_().count("<tr>") == 501
    assert "<i>" not in table._repr_html_()
    assert "All &amp; everything" in table._repr_html_()
    assert "row 250" in repr(table)


def test_every_loss_of_a_study_is_in_the_tables(shipped: StudyResult) -> None:
    text = repr(tables.losses(shipped))
    for kind in set(shipped.losses["kind"]):
        assert kind in text
    below = shipped.losses.loc[shipped.losses["kind"] == "below_threshold", "count"].sum()
    assert f"{below:,} rows" in text


def test_data_quality_names_each_incomplete_symbol() -> None:
    market = load_market()
    shown = repr(quality.prices(market))
    incomplete = np.array(market.prices.symbols)[~market.prices.gapless]
    assert len(incomplete)
    assert all(symbol in shown for symbol in incomplete)
    counts = quality.monthly(market, 20, 10)
    assert counts["rows"].sum() == len(market.sentiment.frame)


def test_what_to_hold_next_is_shown_for_the_shipped_data(shipped: StudyResult) -> None:
    assert len(shipped.pending) == 1
    assert all(symbol in repr(tables.pending(shipped)) for symbol in shipped.pending[0]["selection"])
