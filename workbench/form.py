"""A form for the knobs of a study: widgets in Lab, a table where nobody can press a button.

Enters: a market, a configuration to begin with, the notebook's session. Leaves: the configuration that was run last and its result, for
later cells, and the line of Python that makes the choice reproducible. What cannot be run is said at the form in one line, and the last
result stays.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from workbench.config import StudyConfig
from workbench.core.inference import Interval, bootstrap_intervals
from workbench.errors import WorkbenchError
from workbench.market.tables import Market
from workbench.progress import in_lab
from workbench.report.table import Table
from workbench.report.tables import kpis
from workbench.result import StudyResult
from workbench.study import run_study

if TYPE_CHECKING:
    from workbench.form_widgets import Panel

GROUPS: dict[str, tuple[str, ...]] = {
    "Signal": ("signal", "min_likes", "min_comments", "min_observations"),
    "Selection": ("rebalance", "top_n", "exclude", "execution_lag"),
    "Weights": ("weighting", "lookback_days", "max_weight", "missing", "drift"),
    "Costs and statistics": ("cost_bps", "risk_free_rate", "seed"),
}
"""The fields of StudyConfig as the form shows them."""


class Runs(Protocol):
    """What a form runs studies with: a `Session`, for example."""

    def run_study(self, config: StudyConfig, market: Market) -> StudyResult:
        """Run one study."""

    def intervals(self, study: StudyResult) -> dict[str, Interval]:
        """Return bootstrap intervals of its numbers."""


class _Plain:
    def run_study(self, config: StudyConfig, market: Market) -> StudyResult:
        return run_study(config, market)

    def intervals(self, study: StudyResult) -> dict[str, Interval]:
        returns, config = study.returns, study.config
        return bootstrap_intervals(
            returns["net"], returns["benchmark"], seed=config.seed, risk_free_rate=config.risk_free_rate
        )


class StudyForm:
    """A form and what was run with it; `study_form` makes one.

    config : the configuration that was run last.
    result : its StudyResult.
    intervals : bootstrap intervals of its numbers.
    tried : the ids of all configurations that were run, in order: whoever looks at many picks a lucky one.
    """

    def __init__(self, market: Market, config: StudyConfig, session: Runs | None) -> None:
        self.market = market
        self.tried: list[str] = []
        self._session = session or _Plain()
        self._panel: Panel | None = None
        self.run(config)

    def run(self, config: StudyConfig) -> None:
        """Run a study and make it the current one.

        Raises
        ------
        ConfigError, DataError, UnavailableError
            It cannot be run; the current one stays.
        """
        result = self._session.run_study(config, self.market)
        self.intervals = self._session.intervals(result)
        self.config, self.result = config, result
        if config.config_id not in self.tried:
            self.tried.append(config.config_id)

    def try_run(self, knobs: dict[str, Any]) -> str:
        """Run what was entered; return what is wrong with it in one line, or an empty text."""
        try:
            self.run(StudyConfig(**knobs))
        except WorkbenchError as error:
            return " ".join(str(error).split())
        except Exception as error:  # of a signal of the user's own: a button must say what it could not do
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return ""

    @property
    def source(self) -> str:
        """The line of Python that makes the current configuration, without what is at its default."""
        default = StudyConfig()
        changed = {name: getattr(self.config, name) for name in StudyConfig.model_fields}
        knobs = (f"{name}={_literal(value)}" for name, value in changed.items() if value != getattr(default, name))
        return f"StudyConfig({', '.join(knobs)})"

    def code(self) -> None:
        """Print the line of Python that makes the current configuration: paste it, and the choice can be made again."""
        print(f"config = {self.source}")

    @property
    def panel(self) -> Panel:
        """The widgets, made when they are shown first."""
        if self._panel is None:
            from workbench.form_widgets import Panel

            self._panel = Panel(self, GROUPS)
        return self._panel

    def table(self) -> Table:
        """Return the knobs as a table, with what each of them means."""
        rows = [
            {
                "": group,
                "Parameter": name,
                "Value": _shown(getattr(self.config, name)),
                "Meaning": StudyConfig.model_fields[name].description,
            }
            for group, names in GROUPS.items()
            for name in names
        ]
        return Table(pd.DataFrame(rows), f"{self.source}: in Lab, a form", ("Parameter", "Value", "Meaning"))

    def __repr__(self) -> str:
        return f"{self.table()!r}\n\n{kpis(self.result, self.intervals)!r}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if in_lab():
            shown: dict[str, Any] = self.panel.box._repr_mimebundle_()
            return shown | {"text/plain": html.escape(self.source, quote=False)}
        return {
            "text/plain": repr(self),
            "text/html": self.table()._repr_html_() + kpis(self.result, self.intervals)._repr_html_(),
        }


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _literal(value: Any) -> str:
    return repr(",".join(value)) if isinstance(value, tuple) else repr(value)


def study_form(market: Market, config: StudyConfig | None = None, session: Runs | None = None) -> StudyForm:
    """Return a form with a widget for each knob of a study, and run the study once.

    In JupyterLab it has a button that runs the study again and redraws its numbers, growth and drawdown. Elsewhere it is a table of the
    knobs. Later cells use `form.config` and `form.result`; `form.code()` prints the line that makes the choice reproducible.

    Parameters
    ----------
    market
        What `load_market` returned.
    config
        To begin with; by default that of a study without any options.
    session
        The notebook's `Session`, on whose engine it runs; without one it runs in this process.

    Raises
    ------
    ConfigError, DataError
        The configuration that it begins with cannot be run.
    """
    return StudyForm(market, config or StudyConfig(), session)
