"""Studies in batches, on whatever engine: each one complete, or the reason why it failed.

Enters: configurations, a market, an engine. Leaves: a `StudyResult` or a `FailedStudy` per configuration, in their order. For summaries of
thousands of configurations `run_sweep` is the way: this one keeps every table of every study.
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config import StudyConfig
from workbench.errors import WorkbenchError
from workbench.execution import Engine
from workbench.market.tables import Market
from workbench.questions import install, own_signals
from workbench.registry import Signal
from workbench.result import StudyResult
from workbench.study import run_study
from workbench.sweep.result import FailedStudy

BATCH = 25
"""Studies of one chunk: about a second of work."""


def run_studies(
    configs: Sequence[StudyConfig], market: Market, signals: Sequence[Signal] = ()
) -> list[StudyResult | FailedStudy]:
    """Run some studies one after the other.

    Parameters
    ----------
    configs, market
        What to run, and on what.
    signals
        The user's own that the configurations name, for a process that may not know them.

    Returns
    -------
    list of StudyResult and FailedStudy
        One per configuration, in their order; a study that raises is the failure of that study alone.
    """
    install(signals)
    return [_run(config, market) for config in configs]


def run_batches(configs: Sequence[StudyConfig], market: Market, engine: Engine) -> list[StudyResult | FailedStudy]:
    """Run studies in batches on an engine; the results are those of `run_studies`, to the last bit.

    Raises
    ------
    ConfigError
        A signal is unknown.
    UnavailableError
        The engine failed.
    """
    size = max(1, min(BATCH, -(-len(configs) // (2 * engine.workers))))
    batches = [configs[start : start + size] for start in range(0, len(configs), size)]
    done = dict(engine.map(run_studies, batches, shared=(market, own_signals(configs)), holds_gil=True))
    return [result for position in range(len(batches)) for result in done[position]]


def _run(config: StudyConfig, market: Market) -> StudyResult | FailedStudy:
    try:
        return run_study(config, market)
    except WorkbenchError as error:
        return FailedStudy(config, str(error))
    except Exception as error:  # one study's failure, whatever it is, must not be that of all others
        return FailedStudy(config, f"{type(error).__name__}: {error}")
