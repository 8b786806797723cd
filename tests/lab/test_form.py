"""The form: a widget for every knob, errors in a line, and a choice that can be made again."""

from __future__ import annotations

import re

import pytest
from small_market import write_small_market

from workbench import Session, StudyConfig, load_market, run_study, study_form
from workbench.config import choices
from workbench.errors import ConfigError
from workbench.form import GROUPS, StudyForm
from workbench.market.tables import Market


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    sentiment, prices = write_small_market(tmp_path_factory.mktemp("market"))
    return load_market(str(sentiment), str(prices))


@pytest.fixture
def form(market: Market) -> StudyForm:
    return study_form(market, StudyConfig(top_n=2))


def test_every_field_of_a_study_is_in_the_form_once():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(StudyConfig.model_fields)


def test_widgets_have_the_kind_the_choices_and_the_bounds_of_their_field(form: StudyForm):
    controls = form.panel.controls
    kinds = {name: type(control).__name__ for name, control in controls.items()}
    assert kinds["drift"] == "Checkbox"
    assert kinds["top_n"] == "IntSlider"
    assert kinds["exclude"] == "Text"
    assert kinds["cost_bps"] == "BoundedFloatText"
    assert kinds["min_likes"] == "BoundedIntText"
    assert controls["weighting"].options == choices("weighting")
    assert "comments_per_post" in controls["signal"].options
    assert (controls["top_n"].min, controls["top_n"].max) == (1, 4)  # symbols of the table
    assert (controls["lookback_days"].min, controls["lookback_days"].max) == (2, 2520)
    assert (controls["cost_bps"].min, controls["cost_bps"].max) == (0, 1000)
    for name, control in controls.items():
        assert control.tooltip == StudyConfig.model_fields[name].description
    assert StudyConfig(**form.panel.knobs()) == StudyConfig(top_n=2)


def test_run_runs_what_the_widgets_say(form: StudyForm, market: Market):
    panel = form.panel
    panel.controls["top_n"].value = 3
    panel.controls["exclude"].value = "ZZZ"
    assert "changed: press Run" in panel.message.value
    assert form.config == StudyConfig(top_n=2)  # what was run last
    before = panel.output.outputs
    panel.run_button.click()
    config = StudyConfig(top_n=3, exclude="ZZZ")
    assert form.config == config
    assert form.result.to_dict() == run_study(config, market).to_dict()
    assert panel.output.outputs != before
    shown = [set(output["data"]) for output in panel.output.outputs]
    assert shown[-2:] == [{"application/vnd.plotly.v1+json"}] * 2
    assert "Top 3 by" in panel.output.outputs[0]["data"]["text/plain"]


def test_run_on_change_needs_no_button(form: StudyForm):
    form.panel.on_change.value = True
    form.panel.controls["cost_bps"].value = 50.0
    assert form.config == StudyConfig(top_n=2, cost_bps=50.0)


def test_what_cannot_be_run_is_one_line_and_the_last_result_stays(form: StudyForm):
    panel, result = form.panel, form.result
    panel.controls["risk_free_rate"].value = -0.5
    panel.run_button.click()
    assert re.search(r">risk_free_rate must be above -0.5, got -0.5<", panel.message.value)
    assert form.result is result
    assert form.config == StudyConfig(top_n=2)
    assert not panel.run_button.disabled


def test_the_code_makes_the_choice_again(form: StudyForm, capsys: pytest.CaptureFixture[str]):
    form.run(StudyConfig(top_n=3, exclude=("B", "A"), weighting="signal", drift=False, cost_bps=25.0))
    form.code()
    printed = capsys.readouterr().out
    assert printed == "config = StudyConfig(exclude='A,B', top_n=3, weighting='signal', drift=False, cost_bps=25.0)\n"
    names: dict[str, object] = {"StudyConfig": StudyConfig}
    exec(printed, names)
    assert names["config"] == form.config


def test_what_was_tried_is_counted_once_each(form: StudyForm):
    for top_n in (3, 2, 3, 1):
        form.run(StudyConfig(top_n=top_n))
    assert form.tried == [StudyConfig(top_n=n).config_id for n in (2, 3, 1)]
    assert "3 configurations tried here: expect less of the best one" in form.panel.message.value


def test_headless_it_is_a_table_without_ids(form: StudyForm):
    shown = form._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html"}
    for text in shown.values():
        assert "min_observations" in text and "Total return" in text
        assert not re.search(r"0x[0-9a-f]{6}|\bid=", text)
    assert study_form(form.market, form.config)._repr_mimebundle_() == shown


def test_the_notebooks_session_runs_it(market: Market):
    with Session("local") as session:
        form = study_form(market, StudyConfig(top_n=2), session)
        assert form.result.to_dict() == run_study(StudyConfig(top_n=2), market).to_dict()
        assert form.intervals == session.intervals(form.result)


def test_a_form_cannot_begin_with_what_cannot_be_run(market: Market):
    with pytest.raises(ConfigError, match="top_n must be between 1 and 4"):
        study_form(market, StudyConfig(top_n=5))
