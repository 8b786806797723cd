"""A session: one engine kept open for a notebook, and the calls that run on it.

Enters: an engine's name, then what the plain calls take. Leaves: what the plain calls give, to the last bit, whichever engine it is. With
Ray the sentiment work is done by a `SentimentProcessor` actor, prices are fetched by download tasks, intervals and whole studies are tasks;
a single study is computed here from the actor's ranking. Ray starts in the background, and nothing is printed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.batch import run_batches, run_studies
from workbench.calls import run_sweep
from workbench.cluster.session import in_use
from workbench.config import StudyConfig
from workbench.core.inference import Interval, bootstrap_intervals
from workbench.engines import choose, prepare, price_fetcher, sentiment_questions
from workbench.errors import ConfigError
from workbench.evaluate import SignalEvaluation, evaluate_signal
from workbench.execution import ACCOUNT_VARIABLE, Engine
from workbench.market.load import load_market
from workbench.market.tables import Market, SentimentTable
from workbench.plan import Ranking
from workbench.result import StudyResult
from workbench.study import run_study
from workbench.sweep.grid import Grid
from workbench.sweep.result import FailedStudy, SweepResult


class Session:
    """An engine and what runs on it; it ends with the process, a `with` block, or `close`.

    Parameters
    ----------
    engine
        "auto" (the Ray that is there, else local), "local" or "ray".

    Raises
    ------
    ConfigError, UnavailableError
        There is no such engine, Ray cannot be used, or the session is closed: raised by the first call that needs the engine.
    """

    def __init__(self, engine: str = "auto") -> None:
        self._name = engine
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(prepare(engine))
        self._engine: Engine | None = None
        self._closed = False
        self._questions: dict[int, tuple[SentimentTable, Any]] = {}
        atexit.register(self.close)

    @property
    def engine(self) -> Engine:
        """The engine, open; the first use waits until it is. "auto" goes over to a Lab's Ray that is up, and leaves one that is gone."""
        if self._closed:
            raise ConfigError("the session is closed; open another one")
        if self._engine is not None and self._name == "auto" and (self._engine.name == "ray") != bool(in_use()):
            self._engine = None
            self._questions.clear()
        if self._engine is None:
            self._engine = self._stack.enter_context(choose(self._name))
        return self._engine

    def load_market(
        self,
        sentiment: str = "sentiment_data.csv",
        prices: str | None = None,
        benchmark: str = "QQQ",
        start: str | None = None,
        end: str | None = None,
        columns: Mapping[str, str] | str | None = None,
        allow_mixed: bool = False,
    ) -> Market:
        """Load a market; see `load_market`. With Ray, what has to be fetched from Yahoo is fetched by its download tasks."""
        source: Any = prices
        if prices == "yfinance":
            from workbench.market.remote import YFinanceSource

            source = YFinanceSource(price_fetcher(self.engine))
        market = load_market(sentiment, source, benchmark, start, end, columns, allow_mixed)
        self._write_account()
        return market

    def ranking(self, config: StudyConfig, market: Market) -> Ranking:
        """Return the selection of every period, from the table's actor where the engine is Ray."""
        key = id(market.sentiment)
        if key not in self._questions:
            asked = self._stack.enter_context(sentiment_questions(self.engine, market.sentiment))
            self._questions[key] = (market.sentiment, asked)  # the table is kept, so that its id stays its own
        ranking: Ranking = self._questions[key][1].ranking(config)
        self._write_account()
        return ranking

    def run_study(self, config: StudyConfig, market: Market) -> StudyResult:
        """Run one study; see `run_study`."""
        return run_study(config, market, ranking=self.ranking(config, market))

    def evaluate_signal(self, config: StudyConfig, market: Market) -> SignalEvaluation:
        """Correlate the signal with what came after; see `evaluate_signal`."""
        return evaluate_signal(config, market, ranking=self.ranking(config, market))

    def intervals(self, study: StudyResult) -> dict[str, Interval]:
        """Return bootstrap intervals of a study's numbers; see `bootstrap_intervals`."""
        return self._one(_intervals, study)

    def run_studies(self, configs: Mapping[str, StudyConfig], market: Market) -> dict[str, StudyResult]:
        """Run some studies, by label.

        Raises
        ------
        ConfigError
            One of them fails; the message names it.
        """
        listed = list(configs.values())
        if self.engine.name == "local":  # they take less time than processes take to start
            results = run_studies(listed, market)
        else:
            results = run_batches(listed, market, self.engine)
        self._write_account()
        return dict(zip(configs, map(_done, configs, results), strict=True))

    def neighbours(self, config: StudyConfig, market: Market) -> dict[str, StudyResult]:
        """Run a study and those that differ from it by one step of one choice, by label; steps that the table cannot fill are left out."""
        return self.run_studies(neighbouring(config, len(market.sentiment.symbols)), market)

    def run_sweep(
        self,
        grid: Grid | str | Mapping[str, Any] | Iterable[StudyConfig | Mapping[str, Any]],
        market: Market,
        out: str | Path | None = None,
    ) -> SweepResult:
        """Run every configuration of a grid; see `run_sweep`. "auto" decides by the work that there is."""
        engine: str | Engine = self.engine if self._name != "auto" or self.engine.name == "ray" else "auto"
        result = run_sweep(grid, market, engine, out=out)
        self._write_account(result.provenance["execution"])
        return result

    def account(self) -> dict[str, Any]:
        """Return what ran where: engine, why, nodes, cpus, tasks, seconds."""
        return self.engine.account()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not needed yet"
        if self._engine is not None:
            account = self._engine.account()
            state = f"{account['engine']} ({account['why']})"
        return f"Session({self._name!r}): {state}"

    def close(self) -> None:
        """End what was started for the session."""
        atexit.unregister(self.close)
        self._questions.clear()
        self._engine, self._closed = None, True
        self._stack.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function as one task, or here where the engine is local."""
        if self.engine.name == "local":
            return function(*arguments)
        [(_, result)] = self.engine.map(_call, [arguments], shared=(function,))
        self._write_account()
        return result

    def _write_account(self, account: Mapping[str, Any] | None = None) -> None:
        path = os.environ.get(ACCOUNT_VARIABLE)
        if path:
            Path(path).write_text(json.dumps(account or self.account()), encoding="utf-8")


def neighbouring(config: StudyConfig, n_symbols: int) -> dict[str, StudyConfig]:
    """Return a configuration and its neighbours, by label.

    Parameters
    ----------
    n_symbols
        Symbols of the table: the most that `top_n` can be.
    """
    c = config
    steps: list[tuple[str, Any]] = [
        ("top_n", c.top_n - 1),
        ("top_n", c.top_n + 1),
        ("execution_lag", c.execution_lag + 1),
        ("execution_lag", c.execution_lag + 5),
        ("cost_bps", 2 * c.cost_bps),
        ("min_likes", c.min_likes // 2),
        ("min_likes", 2 * c.min_likes),
        ("min_observations", c.min_observations + 4),
        ("drift", not c.drift),
    ]
    found = {"as chosen": config}
    for name, value in steps:
        if value == getattr(c, name) or (name == "top_n" and not 1 <= value <= n_symbols):
            continue
        with contextlib.suppress(ConfigError):  # beyond what StudyConfig allows
            found[f"{name} {value}"] = c.replace(**{name: value})
    return found


def _call(arguments: Sequence[Any], function: Callable[..., Any]) -> Any:
    return function(*arguments)


def _intervals(study: StudyResult) -> dict[str, Interval]:
    config = study.config
    returns = study.returns
    return bootstrap_intervals(
        returns["net"], returns["benchmark"], seed=config.seed, risk_free_rate=config.risk_free_rate
    )


def _done(label: str, result: StudyResult | FailedStudy) -> StudyResult:
    if isinstance(result, FailedStudy):
        raise ConfigError(f"{label}: {result.error}")
    return result
