"""The widgets of a study's form.

Enters: a `StudyForm`. Leaves: a box for Lab: a widget per field of `StudyConfig`, made from its type, choices and bounds; a button; the
result as plain outputs, which Lab draws as it draws those of a cell.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import ipywidgets as widgets  # type: ignore[import-untyped]
from pydantic.fields import FieldInfo

from workbench.config import StudyConfig, choices
from workbench.core.inference import Interval
from workbench.market.tables import Market
from workbench.registry import signal_names
from workbench.report import figures
from workbench.report.tables import kpis
from workbench.result import StudyResult

_LARGEST = 2**31
_WIDTH, _LABEL = "330px", "130px"


class Form(Protocol):
    """What the widgets show and change: a `StudyForm`."""

    market: Market
    config: StudyConfig
    result: StudyResult
    intervals: dict[str, Interval]
    tried: list[str]

    @property
    def source(self) -> str:
        """The line of Python that makes the current configuration."""

    def try_run(self, knobs: dict[str, Any]) -> str:
        """Run what was entered; return what is wrong with it."""


class Panel:
    """The widgets of a form, its fields in groups.

    controls : a widget for each field, by name.
    run_button, on_change : run when it is pressed; run with each change.
    message : one line: what is wrong, or what was done.
    output : the current result.
    box : all of it, to be shown.
    """

    def __init__(self, form: Form, groups: Mapping[str, Sequence[str]]) -> None:
        self._form = form
        n_symbols = len(form.market.sentiment.symbols)
        self.controls = {
            name: _control(name, StudyConfig.model_fields[name], getattr(form.config, name), n_symbols)
            for names in groups.values()
            for name in names
        }
        self.run_button = widgets.Button(description="Run", button_style="primary", tooltip="run the study, draw it")
        self.on_change = widgets.Checkbox(
            description="run on change", value=False, indent=False, layout={"width": "auto"}
        )
        self.message = widgets.HTML(layout={"margin": "0 0 0 16px"})
        self.output = widgets.Output()
        self.box = self._arranged(groups)
        self.run_button.on_click(lambda _: self.run())
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        self._draw()

    def _arranged(self, groups: Mapping[str, Sequence[str]]) -> widgets.VBox:
        columns = [
            widgets.VBox(
                [widgets.HTML(f"<b>{html.escape(group)}</b>"), *(self.controls[name] for name in names)],
                layout={"width": "350px", "margin": "0 8px 8px 0"},
            )
            for group, names in groups.items()
        ]
        flow = {"display": "flex", "flex_flow": "row wrap"}
        bar = widgets.HBox([self.run_button, self.on_change, self.message], layout={"align_items": "center"})
        box = widgets.VBox([widgets.Box(columns, layout=flow), bar, self.output])
        return box.add_class("workbench-form")

    def knobs(self) -> dict[str, Any]:
        """Return what the widgets say, by field."""
        return {name: control.value for name, control in self.controls.items()}

    def run(self) -> None:
        """Run what the widgets say; what is wrong with it is said in the line beside the button."""
        self.run_button.disabled = True
        try:
            wrong = self._form.try_run(self.knobs())
        finally:
            self.run_button.disabled = False
        if wrong:
            self._tell(wrong, "#b3261e")
        else:
            self._draw()

    def _changed(self, _: Any) -> None:
        if self.on_change.value:
            self.run()
        else:
            self._tell("changed: press Run", "inherit")

    def _tell(self, text: str, colour: str) -> None:
        self.message.value = f'<span style="color:{colour}">{html.escape(text)}</span>'

    def _draw(self) -> None:
        form = self._form
        tried = len(form.tried)
        shown = f"{form.source}; {tried} configuration{'s' if tried > 1 else ''} tried here"
        self._tell(shown + (": expect less of the best one" if tried > 1 else ""), "inherit")
        table = kpis(form.result, form.intervals)
        drawn = (figures.equity(form.result), figures.drawdown(form.result))
        title = {"text/plain": form.result.title, "text/html": f"<p><b>{html.escape(form.result.title)}</b></p>"}
        # Set in one go, so that Lab replaces what is there; what is printed into an Output by a callback may be lost.
        self.output.outputs = tuple(
            {"output_type": "display_data", "metadata": {}, "data": data}
            for data in (
                title,
                {"text/plain": repr(table), "text/html": table._repr_html_()},
                *({"application/vnd.plotly.v1+json": json.loads(figure.to_json())} for figure in drawn),
            )
        )


def _control(name: str, field: FieldInfo, value: Any, n_symbols: int) -> Any:
    """Return a widget for a field, made from its type, its choices and its bounds."""
    kind = field.annotation
    common = {
        "description": name,
        "tooltip": field.description,
        "style": {"description_width": _LABEL},
        "layout": {"width": _WIDTH},
    }
    if name == "exclude":
        return widgets.Text(value=",".join(value), placeholder="A,B", continuous_update=False, **common)
    if name == "signal":
        return widgets.Dropdown(options=signal_names(), value=value, **common)
    if kind is bool:
        return widgets.Checkbox(value=value, indent=True, **common)
    if kind is int or kind is float:
        low, high = _bounds(field)
        if name == "top_n":
            return widgets.IntSlider(value=value, min=1, max=n_symbols, continuous_update=False, **common)
        if kind is int:
            return widgets.BoundedIntText(value=value, min=low, max=high, **common)
        return widgets.BoundedFloatText(value=value, min=low, max=high, step=None, **common)
    return widgets.Dropdown(options=choices(name), value=value, **common)


def _bounds(field: FieldInfo) -> tuple[float, float]:
    """Return the least and the largest value that a widget takes; an excluded bound is left to `StudyConfig` to refuse."""
    found = {}
    for rule in field.metadata:
        for word, side in (("ge", "low"), ("gt", "low"), ("le", "high"), ("lt", "high")):
            if getattr(rule, word, None) is not None:
                found[side] = getattr(rule, word)
    return found.get("low", -_LARGEST), found.get("high", _LARGEST)
