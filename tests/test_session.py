"""A notebook's session gives what the plain calls give, and says what ran where."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from small_market import write_small_market

from workbench import Session, StudyConfig, load_market, run_study
from workbench.core.inference import bootstrap_intervals
from workbench.errors import ConfigError
from workbench.evaluate import evaluate_signal
from workbench.session import neighbouring

CONFIG = StudyConfig(top_n=2, seed=5, risk_free_rate=0.01)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    sentiment, prices = write_small_market(tmp_path_factory.mktemp("market"))
    return str(sentiment), str(prices)


def assert_a_session_gives_the_plain_results(session: Session, files: tuple[str, str]) -> None:
    market = load_market(*files)
    there = session.load_market(*files)
    assert there.prices.values.tobytes() == market.prices.values.tobytes()
    plain, study = run_study(CONFIG, market), session.run_study(CONFIG, there)
    assert study.to_dict() == plain.to_dict()
    assert study.returns.to_numpy().tobytes() == plain.returns.to_numpy().tobytes()
    net, benchmark = plain.returns["net"], plain.returns["benchmark"]
    assert session.intervals(study) == bootstrap_intervals(net, benchmark, seed=5, risk_free_rate=0.01)
    assert session.evaluate_signal(CONFIG, there).ic.tobytes() == evaluate_signal(CONFIG, market).ic.tobytes()
    near = session.neighbours(CONFIG, there)
    for label, config in neighbouring(CONFIG, 4).items():
        expected = run_study(config, market)
        assert near[label].to_dict() == expected.to_dict()
        pd.testing.assert_frame_equal(near[label].trades, expected.trades, check_exact=True)
    assert len(session.run_sweep("top_n=1..4", there)) == 4


def test_a_local_session_gives_the_plain_results(files: tuple[str, str]):
    with Session("local") as session:
        assert_a_session_gives_the_plain_results(session, files)
        assert session.account()["engine"] == "local"


def test_a_report_learns_what_ran_where(files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_ACCOUNT", str(tmp_path / "account.json"))
    with Session("local") as session:
        session.load_market(*files)
    assert json.loads((tmp_path / "account.json").read_text())["engine"] == "local"


def test_a_study_that_fails_is_named(files: tuple[str, str]):
    with Session("local") as session, pytest.raises(ConfigError, match="too many: top_n must be between 1 and 4"):
        session.run_studies({"fine": CONFIG, "too many": CONFIG.replace(top_n=5)}, session.load_market(*files))


def test_an_unknown_engine_is_refused_in_one_line(files: tuple[str, str]):
    with Session("spark") as session, pytest.raises(ConfigError, match="engine must be one of auto, local, ray"):
        _ = session.engine


def test_a_closed_session_says_so(files: tuple[str, str]):
    with Session("local") as session:
        market = session.load_market(*files)
    with pytest.raises(ConfigError, match="the session is closed"):
        session.run_study(CONFIG, market)


def test_neighbours_differ_by_one_choice_and_stay_within_the_table():
    found = neighbouring(StudyConfig(top_n=4, execution_lag=250, cost_bps=0.0, min_likes=-1), 4)
    base = found.pop("as chosen").model_dump()
    for label, config in found.items():
        changed = {name for name, value in config.model_dump().items() if value != base[name]}
        assert changed == {label.split(" ")[0]}
        assert config.top_n <= 4 and config.execution_lag <= 252
    assert "top_n 3" in found and "execution_lag 251" in found
