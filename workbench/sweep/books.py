"""From configurations to books: who is selected when, at what prices it trades, and what its weight is proportional to.

Enters: a market and knobs. Leaves: arrays for the compiled loop, each made by the functions that `run_study` uses, and kept for the
configurations that share them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.config import StudyConfig
from workbench.core.metrics import RETURN_METRICS, return_metrics
from workbench.core.periods import schedule
from workbench.errors import WorkbenchError
from workbench.market.tables import Market
from workbench.plan import look_back, rank
from workbench.sweep.fits import Fit, FitKey, fit_key

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RANKING = ("signal", "min_likes", "min_comments", "min_observations", "rebalance", "exclude")
"""The fields that a ranking depends on, beside top_n: a smaller top_n takes the first of a larger one's."""

_ZERO = 1e-14  # as core.weights: a volatility of at most this counts as none
_KEPT_RANKINGS, _KEPT_BYTES = 4096, 1 << 28
_KEPT_SCHEDULES = 1024
_KEPT_NUMBERS = 4096


@dataclass(frozen=True, eq=False)
class Ranked:
    """The selections of every period, for the largest top_n of a grid.

    periods : (H) numbers of the periods in which a symbol qualifies.
    columns : (H, K) positions in the price table, best first; -1 where a symbol has no prices, or none is left.
    values : (H, K) signal values; NaN where none is left.
    sizes : (H) symbols there are, at most K.
    """

    periods: tuple[int, ...]
    columns: Ints
    values: Floats
    sizes: Ints


@dataclass(frozen=True, eq=False)
class Schedule:
    """The executed rebalances: positions among a ranking's periods, rows of the trade, of the end and of e0."""

    positions: Ints
    trades: Ints
    untils: Ints
    decisions: Ints

    @property
    def span(self) -> tuple[int, int]:
        """Rows of the first trade and of the last day held."""
        return int(self.trades[0]), int(self.untils[-1])


@dataclass(frozen=True, eq=False)
class Book:
    """One selection over time, ready to be held.

    columns, available, scores : (E, K); see `holding.target_weights`. sizes : (E). fallbacks : of an optimiser, by name counted.
    """

    schedule: Schedule
    columns: Ints
    available: npt.NDArray[np.bool_]
    scores: Floats
    sizes: Ints
    explicit: bool
    fallbacks: int


class Kept:
    """A bounded memory of what was made, oldest use out first; several threads may ask."""

    def __init__(self, size: int) -> None:
        self._size, self._items, self._lock = size, OrderedDict[Hashable, Any](), Lock()

    def get(self, key: Hashable, make: Any) -> Any:
        """Return what was kept under `key`, or make and keep it; two threads may make the same."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        made = make()
        with self._lock:
            self._items[key] = made
            if len(self._items) > self._size:
                self._items.popitem(last=False)
        return made


class Bookkeeper:
    """Makes books of one market, each part once.

    Parameters
    ----------
    market
        What `load_market` returned.
    top_n
        The largest that will be asked for; at most the number of symbols in the table.
    fits
        Optimised weights that were computed before.
    """

    def __init__(self, market: Market, top_n: int, fits: dict[FitKey, Fit] | None = None) -> None:
        self.market, self.fits = market, {} if fits is None else fits
        self.top_n = max(1, min(top_n, len(market.sentiment.symbols)))
        # Copies: arrays that came through Ray are read-only, which for the compiled loop is another type, to be compiled again.
        self.prices = np.array(market.prices.filled.T, order="C")
        self.benchmark = np.array(market.prices.values[:, market.prices.columns[market.benchmark]], order="C")
        days = market.sentiment.distinct_days[0]
        largest = 16 * self.top_n * (int((days[-1] - days[0]).astype(int)) // 7 + 2)  # bytes of a weekly ranking
        self._rankings = Kept(max(min(_KEPT_RANKINGS, _KEPT_BYTES // largest), 1))
        self._schedules = Kept(_KEPT_SCHEDULES)
        self._benchmarks, self._volatilities = Kept(_KEPT_NUMBERS), Kept(_KEPT_NUMBERS)

    def ranked(self, config: StudyConfig) -> Ranked | str:
        """Return a configuration's selections for the largest top_n, or why there are none."""
        key = tuple(getattr(config, name) for name in RANKING)
        return self._rankings.get(key, lambda: self._rank(config))

    def _rank(self, config: StudyConfig) -> Ranked | str:
        try:
            ranking = rank(config.replace(top_n=self.top_n), self.market)
        except WorkbenchError as error:
            return str(error)
        held = [position for position, chosen in enumerate(ranking.chosen) if len(chosen)]
        columns = np.full((len(held), self.top_n), -1, dtype=np.int64)
        values = np.full(columns.shape, np.nan)
        sizes = np.array([len(ranking.chosen[position]) for position in held], dtype=np.int64)
        for row, position in enumerate(held):
            chosen = ranking.chosen[position]
            columns[row, : len(chosen)] = self.market.price_columns[chosen]
            values[row, : len(chosen)] = ranking.panel.values[position, chosen]
        return Ranked(tuple(ranking.first + position for position in held), columns, values, sizes)

    def scheduled(self, ranked: Ranked, rebalance: str, execution_lag: int) -> Schedule | None:
        """Return when the selections are traded; None where none of them is."""
        key = (ranked.periods, rebalance, execution_lag)
        return self._schedules.get(key, lambda: self._schedule(*key))

    def _schedule(self, periods: tuple[int, ...], rebalance: str, execution_lag: int) -> Schedule | None:
        slots = schedule(np.array(periods, dtype=np.int64), self.market.prices.days, rebalance, execution_lag)
        executed = [(position, slot) for position, slot in enumerate(slots) if slot.status == "executed"]
        if not executed:
            return None
        columns = zip(*((position, s.trade, s.until, s.decision) for position, s in executed), strict=True)
        return Schedule(*(np.array(column, dtype=np.int64) for column in columns))

    def book(self, config: StudyConfig, ranked: Ranked, executed: Schedule) -> Book:
        """Return a configuration's book; every top_n up to the largest can be held from it, unless an optimiser made it."""
        columns, sizes = ranked.columns[executed.positions], ranked.sizes[executed.positions]
        priced = columns >= 0
        prices = self.market.prices.values[executed.trades[:, None], np.where(priced, columns, 0)]
        available = priced & ~np.isnan(prices)
        explicit, fallbacks = False, 0
        match config.weighting:
            case "equal":
                scores = np.ones(columns.shape)
            case "signal":
                values = ranked.values[executed.positions]
                scores = np.where(values > 0, values, np.nan)
            case "inverse_volatility":
                scores = self._inverse_volatilities(columns, executed, config.lookback_days)
            case _:
                explicit = True
                scores, fallbacks = self._optimised(config, columns, sizes, executed)
        return Book(executed, columns, available, scores, sizes, explicit, fallbacks)

    def _inverse_volatilities(self, columns: Ints, executed: Schedule, lookback_days: int) -> Floats:
        """Return (E, K) 1 / volatility over the look-back; NaN where the history is too short or the price does not move."""
        scores = np.full(columns.shape, np.nan)
        for row, decision in enumerate(executed.decisions):
            key = (int(decision), lookback_days)
            every = self._volatilities.get(key, lambda key=key: self._inverse_volatility(*key))
            scores[row] = np.where(columns[row] >= 0, every[columns[row]], np.nan)
        return scores

    def _inverse_volatility(self, decision: int, lookback_days: int) -> Floats:
        """Return (N) 1 / volatility of all symbols of the price table."""
        first_row = self.market.prices.first_row
        inverse = np.full(len(first_row), np.nan)
        known = np.flatnonzero(first_row <= decision - lookback_days)
        window = look_back(self.market, known, decision, lookback_days) if len(known) else None
        if window is not None:
            volatility = window.std(axis=0, ddof=1)
            inverse[known[volatility > _ZERO]] = 1.0 / volatility[volatility > _ZERO]
        return inverse

    def fit_keys(self, config: StudyConfig, ranked: Ranked, executed: Schedule) -> list[FitKey]:
        """Return what an optimiser has to be asked for a configuration, one key per rebalance."""
        columns, sizes = ranked.columns[executed.positions], ranked.sizes[executed.positions]
        return [
            fit_key(config, int(decision), columns[row, : min(config.top_n, int(sizes[row]))])
            for row, decision in enumerate(executed.decisions)
        ]

    def _optimised(self, config: StudyConfig, columns: Ints, sizes: Ints, executed: Schedule) -> tuple[Floats, int]:
        scores, fallbacks = np.full(columns.shape, np.nan), 0
        for row, decision in enumerate(executed.decisions):
            count = min(config.top_n, int(sizes[row]))
            fit = self.fits[fit_key(config, int(decision), columns[row, :count])]
            scores[row, :count] = fit.weights
            fallbacks += fit.fallback is not None
        return scores, fallbacks

    def benchmark_numbers(self, span: tuple[int, int], risk_free_rate: float) -> Floats:
        """Return METHOD's numbers of the benchmark alone over the rows of a schedule; NaN where undefined."""
        return self._benchmarks.get((span, risk_free_rate), lambda: self._benchmark(span, risk_free_rate))

    def _benchmark(self, span: tuple[int, int], risk_free_rate: float) -> Floats:
        prices = self.benchmark[span[0] : span[1] + 1]
        numbers = return_metrics(prices[1:] / prices[:-1] - 1.0, risk_free_rate)
        return np.array(
            [np.nan if numbers[name] is None else numbers[name] for name in RETURN_METRICS], dtype=np.float64
        )
