"""From target weights to daily returns: holdings that drift, trades, costs.

Enters: the matrix of last known prices and the rebalances in order. Leaves: gross and net simple returns per day and what each rebalance
traded. METHOD.md, "Returns". Timing: a rebalance is done at the close of row `trade`; its first return is that of the next row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Columns = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Rebalance:
    """Target weights at the close of row `trade`, held through row `until`.

    `columns` (k) are positions in the price matrix, `weights` (k) positive targets; 1 minus their sum is cash. `window`
    (until - trade + 1, k) are the prices to hold them at, where these are to differ from the matrix: a supposition. Its
    columns may then lie beyond the matrix.
    """

    trade: int
    until: int
    columns: Columns
    weights: Floats
    window: Floats | None = None


@dataclass(frozen=True, eq=False)
class Trades:
    """What one rebalance changed: for each of `columns` (m, ascending), the weight `before` and the `target`, as fractions of wealth."""

    columns: Columns
    before: Floats
    target: Floats

    @property
    def turnover(self) -> float:
        """Sum over symbols (cash is none) of |target - before|."""
        return float(np.abs(self.target - self.before).sum())


@dataclass(frozen=True, eq=False)
class Simulation:
    """`gross` and `net` (n) simple returns of the rows first+1 .. last, and `trades`, one per rebalance."""

    first: int
    gross: Floats
    net: Floats
    trades: tuple[Trades, ...]


def simulate(prices: Floats, rebalances: Sequence[Rebalance], drift: bool, cost_rate: float) -> Simulation:
    """Hold the rebalances one after the other.

    Parameters
    ----------
    prices
        (T, N) last known prices: a day without a price repeats the one before, so that it earns 0. NaN before a symbol's first price.
    rebalances
        At least one, with increasing `trade`, each held `until` the next one's `trade`.
    drift
        True: weights move with prices. False: back to target every day, free of charge.
    cost_rate
        Cost of trading the whole wealth once, as a fraction; charged on the first day held.
    """
    first = rebalances[0].trade
    size = 1 + max((int(r.columns.max()) for r in rebalances if len(r.columns)), default=0)
    gross = np.empty(rebalances[-1].until - first)
    net = np.empty_like(gross)
    trades: list[Trades] = []
    columns, before = np.empty(0, dtype=np.intp), np.empty(0)
    for rebalance in rebalances:
        traded = _trade(columns, before, rebalance, size)
        trades.append(traded)
        columns = rebalance.columns
        window = rebalance.window
        if window is None:
            window = prices[rebalance.trade : rebalance.until + 1, columns]
        held, before = _hold(window, rebalance.weights, drift)
        span = slice(rebalance.trade - first, rebalance.until - first)
        gross[span] = net[span] = held
        if len(held):
            net[span.start] = (1.0 - cost_rate * traded.turnover) * (1.0 + held[0]) - 1.0
    return Simulation(first, gross, net, tuple(trades))


def _trade(columns: Columns, before: Floats, rebalance: Rebalance, size: int) -> Trades:
    """Line up what is held with what is wanted."""
    held, wanted = np.zeros(size), np.zeros(size)
    held[columns] = before
    wanted[rebalance.columns] = rebalance.weights
    touched = np.flatnonzero((held != 0) | (wanted != 0))
    return Trades(touched, held[touched], wanted[touched])


def _hold(window: Floats, weights: Floats, drift: bool) -> tuple[Floats, Floats]:
    """Return the daily returns of (rows, k) prices, the trade's own row first, and the weights just before the next trade."""
    if len(window) < 2:
        return np.empty(0), weights
    if not drift:
        returns = window[1:] / window[:-1] - 1.0
        # The columns are added one by one, in order: a matrix product's last bit changes with the number of rows.
        daily = _weighted_sum(returns, weights)
        return daily, weights * (1.0 + returns[-1]) / (1.0 + daily[-1])
    growth = window / window[0]
    wealth = (1.0 - weights.sum()) + _weighted_sum(growth, weights)
    return wealth[1:] / wealth[:-1] - 1.0, weights * growth[-1] / wealth[-1]


def _weighted_sum(matrix: Floats, weights: Floats) -> Floats:
    total = np.zeros(len(matrix))
    for column, weight in enumerate(weights):
        total += weight * matrix[:, column]
    return total
