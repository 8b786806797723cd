"""Questions about one sentiment table, asked again and again: how a signal ranks its symbols, their values, its quality.

Enters: a table, once, and a configuration with each question, of which the signal, the filters, the periods and `top_n` are used. Leaves:
what `rank` gives, and parts of it as frames. No price is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.config import StudyConfig, nearest
from workbench.errors import DataError
from workbench.market.tables import Market, PriceTable, SentimentTable
from workbench.plan import Ranking, rank
from workbench.registry import Signal, find_signal, register_signal

_MOST_KEPT = 16
_METHODS = ("ranking", "selection", "panel", "values", "quality")


class SentimentQuestions:
    """A sentiment table that answers questions.

    Parameters
    ----------
    table
        What `load_market` or `read_sentiment` returned.
    """

    def __init__(self, table: SentimentTable) -> None:
        none = PriceTable(np.empty(0, dtype="datetime64[D]"), (), np.empty((0, 0)), table.source)
        self._market = Market(table, none, benchmark="", data_kind="")
        self._rankings: dict[str, Ranking] = {}

    def ranking(self, config: StudyConfig) -> Ranking:
        """Return the signal and the selection of every period, as `rank` computes it; the last few are kept.

        Raises
        ------
        ConfigError
            `top_n` is above the number of symbols in the table, or the signal is unknown, fails, or looks ahead.
        DataError
            The signal needs a column that the table lacks.
        """
        key = config.config_id
        if key not in self._rankings:
            while len(self._rankings) >= _MOST_KEPT:
                del self._rankings[next(iter(self._rankings))]
            self._rankings[key] = rank(config, self._market)
        return self._rankings[key]

    def selection(self, config: StudyConfig) -> dict[str, list[str]]:
        """Return the selected symbols of each period in which one qualifies, best first."""
        ranking, symbols = self.ranking(config), self._market.sentiment.symbols
        named = zip(ranking.labels, ranking.chosen, strict=True)
        return {label: [symbols[code] for code in chosen] for label, chosen in named if len(chosen)}

    def panel(self, config: StudyConfig) -> pd.DataFrame:
        """Return the period means of the signal: index period (P), columns symbol (N), excluded ones included; NaN where there is none."""
        ranking = self.ranking(config)
        index = pd.Index(ranking.labels, name="period")
        return pd.DataFrame(ranking.panel.values.copy(), index=index, columns=list(self._market.sentiment.symbols))

    def values(self, config: StudyConfig, symbol: str) -> pd.DataFrame:
        """Return one symbol's periods: index period (P), columns value (NaN where there is none), n_observations, partial.

        Raises
        ------
        DataError
            The table does not have the symbol.
        """
        symbols = self._market.sentiment.symbols
        if symbol not in symbols:
            raise DataError(
                f"symbol must be one of the {len(symbols)} in {self._market.sentiment.source.name}, got {symbol!r}"
                f"{nearest(symbol, symbols)}"
            )
        ranking, column = self.ranking(config), symbols.index(symbol)
        columns = {
            "value": ranking.panel.values[:, column],
            "n_observations": ranking.panel.counts[:, column],
            "partial": [label in ranking.partial for label in ranking.labels],
        }
        return pd.DataFrame(columns, index=pd.Index(ranking.labels, name="period"))

    def quality(self, config: StudyConfig) -> dict[str, Any]:
        """Return what the table holds and what a configuration leaves of it, as plain numbers.

        Returns
        -------
        dict
            rows, symbols, days, first_date, last_date, periods, partial_periods (labels), missing (values by column), losses (rows by
            kind, on reading), below_threshold and undefined (rows that the configuration drops), qualifying (symbols by period).
        """
        table, ranking = self._market.sentiment, self.ranking(config)
        days, _ = table.distinct_days
        missing = table.frame.select_dtypes("number").isna().sum()
        losses: Counter[str] = Counter()
        for loss in table.losses:
            losses[loss.kind] += loss.count
        qualifying = (~np.isnan(ranking.eligible)).sum(axis=1)
        return {
            "rows": len(table.frame),
            "symbols": len(table.symbols),
            "days": len(days),
            "first_date": str(days[0]),
            "last_date": str(days[-1]),
            "periods": len(ranking.labels),
            "partial_periods": sorted(ranking.partial),
            "missing": {str(name): int(count) for name, count in missing.items()},
            "losses": dict(losses),
            "below_threshold": int(ranking.panel.below_threshold.sum()),
            "undefined": int(ranking.panel.undefined.sum()),
            "qualifying": {label: int(n) for label, n in zip(ranking.labels, qualifying, strict=True)},
        }

    def ask(self, question: tuple[str, tuple[Any, ...], Sequence[Signal]]) -> Any:
        """Answer one question that came from another process: (method, arguments, signals that this process may not know)."""
        method, arguments, signals = question
        if method not in _METHODS:
            raise ValueError(f"question must be one of {', '.join(_METHODS)}, got {method!r}")
        install(signals)
        return getattr(self, method)(*arguments)


def own_signals(configs: Sequence[StudyConfig]) -> tuple[Signal, ...]:
    """Return the signals of the user's own that configurations name: what a worker cannot know."""
    found = (find_signal(name) for name in dict.fromkeys(config.signal for config in configs))
    return tuple(signal for signal in found if not signal.columns)


def install(signals: Sequence[Signal]) -> None:
    """Make signals known in this process."""
    for signal in signals:
        register_signal(signal.name, signal.function, signal.version)
