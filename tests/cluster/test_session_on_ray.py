"""The notebooks' session on Ray: the plain results through the actor and tasks, and a report that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_market import write_small_market
from test_session import assert_a_session_gives_the_plain_results

from workbench import Session
from workbench.calls import run_report


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    sentiment, prices = write_small_market(tmp_path_factory.mktemp("market"))
    return str(sentiment), str(prices)


@pytest.mark.usefixtures("ray_with_two_workers")
def test_a_session_on_ray_gives_the_plain_results(files: tuple[str, str]):
    with Session("auto") as session:
        assert_a_session_gives_the_plain_results(session, files)
        account = session.account()
    assert account["engine"] == "ray"
    assert account["tasks"] >= 4  # the actor's answers, the intervals, the neighbours


@pytest.mark.usefixtures("ray_with_two_workers")
def test_a_report_on_ray_has_the_numbers_of_a_local_one_and_says_what_ran_where(files: tuple[str, str], tmp_path: Path):
    given = {"sentiment": files[0], "prices": files[1], "top_n": 2}
    here, there = (run_report("portfolio_report", given, tmp_path / name, name) for name in ("local", "ray"))
    assert here.failure is None and there.failure is None
    local, ray = (json.loads(run.json.read_text()) for run in (here, there))
    assert local.pop("report")["execution"]["engine"] == "local"
    execution = ray.pop("report")["execution"]
    assert execution["engine"] == "ray" and execution["tasks"] > 0 and execution["nodes"] == 1
    assert local == ray
    assert here.html.name == there.html.name
    page = there.html.read_text(encoding="utf-8")
    assert f"ray (named): 1 node, {execution['cpus']} CPUs" in page
    assert "raylet" not in page
