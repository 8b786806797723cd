"""The form and the guard, run by Streamlit without a browser."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from workbench.config import StudyConfig, choices


def form_script() -> None:
    import streamlit as st

    from workbench.dashboard import form

    if "knob_top_n" not in st.session_state:
        form.fill(st.session_state, {})
    with st.form("study form"):
        form.draw_fields()
        st.form_submit_button("Run")
    st.session_state["found"] = form.knobs_of(st.session_state)


@pytest.fixture
def drawn() -> AppTest:
    app = AppTest.from_function(form_script, default_timeout=30).run()
    assert not app.exception
    return app


def widget(app: AppTest, name: str):  # type: ignore[no-untyped-def]
    kinds = (app.number_input, app.selectbox, app.checkbox, app.text_input)
    return next(item for kind in kinds for item in kind if item.key == f"knob_{name}")


@pytest.mark.parametrize("name", StudyConfig.model_fields)
def test_each_field_has_a_widget_with_default_range_and_help_of_the_schema(drawn: AppTest, name: str):
    field, schema = widget(drawn, name), StudyConfig.model_json_schema()["properties"][name]
    assert field.value == ("" if name == "exclude" else schema["default"])
    assert f"`{name}`" in field.help
    for side, word in (("min", "inimum"), ("max", "aximum")):
        bound = schema.get(f"m{word}", schema.get(f"exclusiveM{word}"))
        if bound is not None and schema["type"] in ("integer", "number"):
            assert getattr(field, side) == bound
    if choices(name) and schema["type"] == "string":
        assert tuple(field.options) == choices(name)


def test_what_is_entered_is_what_is_asked_for(drawn: AppTest):
    widget(drawn, "top_n").set_value(9)
    widget(drawn, "drift").set_value(False)
    widget(drawn, "weighting").set_value("hrp")
    widget(drawn, "exclude").set_value("B,A")
    drawn.button[0].click().run()
    assert drawn.session_state["found"] == {"top_n": 9, "drift": False, "weighting": "hrp", "exclude": "B,A"}


def fault_script() -> None:
    import streamlit as st

    from workbench.dashboard.guard import guarded
    from workbench.errors import ConfigError, UnavailableError

    @guarded("a")
    def fault() -> None:
        raise ZeroDivisionError("secret path /x")

    @guarded("b")
    def wrong() -> None:
        raise ConfigError("top_n must be at least 1, got *0*")

    @guarded("c")
    def away() -> None:
        raise UnavailableError("no API answers")

    fault()
    wrong()
    away()
    st.write("the rest")


def test_an_error_is_one_line_and_the_rest_of_the_page_is_there(caplog: pytest.LogCaptureFixture):
    app = AppTest.from_function(fault_script, default_timeout=30).run()
    assert not app.exception
    assert [error.value for error in app.error] == [
        "A fault of the dashboard (ZeroDivisionError); its log has the rest.",
        r"top\_n must be at least 1\, got \*0\*",
        "no API answers",
    ]
    assert [button.label for button in app.button] == ["Retry", "Retry"]
    assert app.markdown[-1].value == "the rest"
    assert "secret path" in caplog.text
