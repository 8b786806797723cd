"""Does the signal rank what comes after it? The signal panel held against the returns of the periods that follow.

Enters: a configuration and a market. Leaves: the rank correlation of each period with its holding period's return,
over all symbols that have a signal and a price at the trade, whether they were selected or not. Uses METHOD's timing,
so nothing is known early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workbench.config import StudyConfig
from workbench.core.evaluation import ICSummary, mean_ic, quantile_returns, rank_ic
from workbench.market.tables import Market
from workbench.plan import Ranking, executed_targets, plan, rank
from workbench.shown import html_rows

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SignalEvaluation:
    """Rank correlations of a signal.

    periods : (P) labels of the executed periods.
    ic : (P) Spearman's correlation of signal and next holding period's return; NaN with too few pairs.
    n_symbols : (P) pairs behind each.
    summary : their mean with its Student t interval.
    quantiles : (Q) mean return of a holding period by quantile of the signal, lowest first.
    """

    periods: list[str]
    ic: Floats
    n_symbols: npt.NDArray[np.int64]
    summary: ICSummary
    quantiles: Floats

    def __repr__(self) -> str:
        s = self.summary
        if s.mean is None:
            return f"Mean rank IC: undefined ({s.n_periods} periods)"
        interval = "" if s.low is None else f", 95 % interval {s.low:+.4f} to {s.high:+.4f}"
        interval += "" if s.t_statistic is None else f", t = {s.t_statistic:.2f}"
        return f"Mean rank IC: {s.mean:+.4f} over {s.n_periods} periods{interval}"

    def _repr_html_(self) -> str:
        rows = [(f"{rank} of {len(self.quantiles)}", _percent(value)) for rank, value in enumerate(self.quantiles, 1)]
        head = ("Quantile of the signal, lowest first", "Mean return of a holding period")
        return html_rows(repr(self), rows, head)


def _percent(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{100 * value:+.2f} %"


def evaluate_signal(
    config: StudyConfig, market: Market, n_quantiles: int = 5, *, ranking: Ranking | None = None
) -> SignalEvaluation:
    """Correlate the signal of each executed period with the returns from its trade to the next one's.

    Parameters
    ----------
    config
        Of which the signal, its filters and the timing are used; `top_n` and the weighting are not.
    market
        Table and prices.
    n_quantiles
        Groups in `quantiles`.
    ranking
        What `rank(config, market)` gave, where it was computed before or elsewhere.
    """
    ranking = ranking or rank(config, market)
    # Equal weights, so that no optimiser is asked for weights that nobody reads.
    targets = plan(config.replace(weighting="equal"), market, ranking)
    slots = [(target.position, target.slot) for target in executed_targets(targets)]
    signal = ranking.eligible[[position for position, _ in slots]]
    forward = np.full(signal.shape, np.nan)
    prices, columns = market.prices, market.price_columns
    priced = np.flatnonzero(columns >= 0)
    for row, (_, slot) in enumerate(slots):
        bought = prices.values[slot.trade, columns[priced]]
        forward[row, priced] = prices.filled[slot.until, columns[priced]] / bought - 1.0
    ic = rank_ic(signal, forward)
    return SignalEvaluation(
        periods=[ranking.labels[position] for position, _ in slots],
        ic=ic,
        n_symbols=(~np.isnan(signal) & ~np.isnan(forward)).sum(axis=1),
        summary=mean_ic(ic),
        quantiles=quantile_returns(signal, forward, n_quantiles),
    )
