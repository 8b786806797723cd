"""The one call: a configuration and a market in, a complete study out.

`run_study` puts the pieces together; it reads no file, no clock and no random number. METHOD.md says what every
number means.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from workbench import published
from workbench.accounting import collect_losses, mark, ranking_frame, rebalances_frame, returns_frame, trades_frame
from workbench.config import StudyConfig
from workbench.core.metrics import relative_metrics, return_metrics
from workbench.core.simulation import Simulation
from workbench.losses import losses_frame
from workbench.market.tables import Market
from workbench.plan import Ranking, Target, Weigh, executed_targets, hold, plan, rank, weigh
from workbench.registry import find_signal
from workbench.result import CAUSAL, LOOK_AHEAD, StudyResult, versions


class Recorder(Protocol):
    """Is told of every study that was run, so that trials can be counted."""

    def record(self, result: StudyResult) -> None:
        """Take note of a finished study."""


def run_study(
    config: StudyConfig, market: Market, recorder: Recorder | None = None, *, ranking: Ranking | None = None
) -> StudyResult:
    """Run one study.

    Parameters
    ----------
    config
        The parameters.
    market
        What `load_market` returned.
    recorder
        Told of the result, if given.
    ranking
        What `rank(config, market)` gave, where it was computed before or elsewhere.

    Raises
    ------
    ConfigError
        `top_n` is above the number of symbols in the table, or the signal is unknown or fails.
    DataError
        The signal needs a column that the table lacks.
    """
    ranking = ranking or rank(config, market)
    targets = plan(config, market, ranking)
    executed = executed_targets(targets)
    simulation = hold(config, market, executed)
    returns = returns_frame(market, simulation)
    returns.attrs["timing"] = mark(config)
    days = market.prices.days
    result = StudyResult(
        config=config,
        summary=summarize(config, market, executed, simulation),
        selection={target.label: list(target.symbols) for target in targets},
        weights={str(days[target.slot.trade]): target.positive() for target in executed},
        pending=[_pending(target, market) for target in targets if target.slot.status == "pending"],
        returns=returns,
        trades=trades_frame(config, market, executed, simulation),
        losses=losses_frame(collect_losses(config, market, ranking, targets)),
        rebalances=rebalances_frame(config, market, ranking, targets, simulation),
        ranking=ranking_frame(ranking, targets),
        published=_published(market),
        provenance=_provenance(config, market),
    )
    if recorder is not None:
        recorder.record(result)
    return result


def summarize(
    config: StudyConfig, market: Market, executed: list[Target], simulation: Simulation | None
) -> dict[str, Any]:
    """Compute METHOD's numbers."""
    gross = net = benchmark = np.empty(0)
    turnovers: list[float] = []
    first_date = last_date = None
    if simulation is not None:
        gross, net = simulation.gross, simulation.net
        rows = slice(simulation.first, simulation.first + len(net) + 1)
        bought = market.prices.values[rows, market.prices.columns[market.benchmark]]
        benchmark = bought[1:] / bought[:-1] - 1.0
        turnovers = [trade.turnover for trade in simulation.trades]
        days = market.prices.days[rows]
        first_date, last_date = (str(days[1]), str(days[-1])) if len(net) else (None, None)
    summary: dict[str, Any] = {}
    for prefix, series in (("", net), ("benchmark_", benchmark), ("gross_", gross)):
        numbers = return_metrics(series, config.risk_free_rate)
        summary |= {prefix + name: value for name, value in numbers.items()}
    summary |= relative_metrics(net, benchmark, config.risk_free_rate)
    return summary | {
        "n_periods": len(executed),
        "mean_turnover": sum(turnovers) / len(turnovers) if turnovers else None,
        "n_symbols": len({symbol for target in executed for symbol in target.positive()}),
        "n_days": len(net),
        "first_date": first_date,
        "last_date": last_date,
    }


def reproduce_published(market: Market) -> dict[str, Any]:
    """Follow the recipe of the published study on `market`, wrong arithmetic included (METHOD.md, "The published figures").

    Returns
    -------
    dict
        total_portfolio_return, total_benchmark_return, excess_return (fractions) and unique_stocks_analyzed.
    """
    config = StudyConfig(**published.RECIPE)
    return published.reproduce(market, executed_targets(plan(config, market, rank(config, market))))


_PUBLISHED: WeakKeyDictionary[Market, dict[str, dict[str, Any]] | None] = WeakKeyDictionary()


def _published(market: Market) -> dict[str, dict[str, Any]] | None:
    """Return published, reproduced and corrected figures where the data is the published one; computed once per market."""
    if market not in _PUBLISHED:
        _PUBLISHED[market] = _side_by_side(market) if published.is_published(market) else None
    # A result must not be able to change the next one's.
    return deepcopy(_PUBLISHED[market])


def _side_by_side(market: Market) -> dict[str, dict[str, Any]]:
    held = published.without_dropped(market)
    corrected = {}
    for label, knobs in published.CORRECTED.items():
        corrected[label] = study_summary(StudyConfig(**knobs), market)
        corrected[f"{label} (no {published.HELD_OUT})"] = study_summary(StudyConfig(**knobs), held)
    return published.side_by_side(reproduce_published(market), corrected)


def study_summary(config: StudyConfig, market: Market, weigh: Weigh = weigh) -> dict[str, Any]:
    """Return the summary of a study without anything else of it; `weigh` may be replaced as in `plan`."""
    executed = executed_targets(plan(config, market, rank(config, market), weigh))
    return summarize(config, market, executed, hold(config, market, executed))


def _pending(target: Target, market: Market) -> dict[str, Any]:
    days, slot = market.prices.days, target.slot
    return {
        "period": target.label,
        "signal_date": str(slot.end),
        "trade_date": str(days[slot.trade]) if slot.trade < len(days) else None,
        "selection": list(target.symbols),
        "weights": target.positive(),
    }


def _provenance(config: StudyConfig, market: Market) -> dict[str, Any]:
    study = {"config_id": config.config_id, "signal_version": find_signal(config.signal).version}
    timing = LOOK_AHEAD if config.look_ahead else CAUSAL
    return study | data_provenance(market) | {"timing": timing, "engine": "local"}


def data_provenance(market: Market) -> dict[str, Any]:
    """Return what a result says of its data, and the versions that a number can depend on."""
    sentiment, prices = market.sentiment.source, market.prices.source
    return {
        "sentiment": sentiment.name,
        "sentiment_sha256": sentiment.sha256,
        "prices": prices.name,
        "prices_sha256": prices.sha256,
        "data_kind": market.data_kind,
        "benchmark": market.benchmark,
        "start": market.start,
        "end": market.end,
        "versions": dict(versions()),
    }
