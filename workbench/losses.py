"""What was left out, and why: the one record type for it and the names of its kinds.

Nothing is dropped in silence: each reader and each step of a study returns `Loss` records beside its result, the
study collects them, and the report prints them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import pandas as pd

KINDS = {
    "bad_post": "rows of a file of posts that cannot be read",
    "empty_post_count": "posts without one of the counts: it adds nothing to the sum of the day",
    "empty_text": "posts without text: counted, but without a score",
    "long_text": "posts of which only the beginning was scored",
    "empty_count": "rows of the sentiment table without one of the counts",
    "off_calendar_price": "prices on days on which the benchmark has none",
    "outside_bounds": "sentiment rows before start or after end",
    "below_threshold": "rows at or below min_likes or min_comments",
    "undefined_signal": "rows that pass the thresholds but have no finite signal value",
    "too_few_observations": "symbols with fewer than min_observations rows in the period",
    "excluded": "symbols named in exclude",
    "exclude_unknown": "names in exclude that the table does not contain",
    "partial_period": "the table ends before the period does; traded like a full one",
    "no_rows": "a period without rows; the holdings stay",
    "no_selection": "a period in which no symbol qualifies; the holdings stay",
    "no_trading_day_before": "no trading day on or before the period's end",
    "no_trading_day_after": "the prices end before or at the trade",
    "same_trading_day": "a later rebalance trades on the same day",
    "no_price_at_trade": "a selected symbol without a price on the day of the trade: target 0",
    "no_price_while_held": "days on which a held symbol has no price: it earns 0",
    "price_never_returns": "a held symbol whose prices end: kept at its last value until the next rebalance",
    "pending_without_price": "symbols of a pending selection without a price on the last known day",
    "no_prices": "a symbol asked for without prices",
    "late_start": "trading days asked for before a symbol's first price: its numbers begin later than asked",
    "early_end": "trading days asked for after a symbol's last price: its numbers end earlier than asked",
    "price_gap": "trading days between a symbol's first and last price without one: it earns 0 there",
    "not_priced": "symbols without prices at the source, or not in the price store",
    "no_close": "days of the source's answer without a closing price: no bars",
    "event_without_bar": "days without a closing price that have a dividend or a split",
    "not_updated": "symbols whose newest prices could not be fetched: their bars of earlier are used",
    "missing_trading_day": "days on which the symbol's exchange traded and its bars have none",
    "no_calendar": "symbols of exchanges whose trading days are not known: gaps are not looked for",
    "bad_price": "prices that are zero, negative or infinite",
    "flat_bar": "bars without volume whose four prices are equal: filled in by the source, nothing was traded",
    "large_move": "days on which the adjusted close moved by more than 40 % without a split",
    "stale_price": "days of a run of five or more equal closes",
    "inconsistent_bar": "bars whose high and low do not enclose their prices, or without an adjusted close",
    "weights_fallback": "the weighting could not be computed: equal weights instead",
}

# What `count` counts; kinds that are not here count nothing beyond their own entries.
UNITS = {
    "bad_post": "rows",
    "empty_post_count": "posts",
    "empty_text": "posts",
    "long_text": "posts",
    "empty_count": "rows",
    "off_calendar_price": "prices",
    "outside_bounds": "rows",
    "below_threshold": "rows",
    "undefined_signal": "rows",
    "too_few_observations": "rows",
    "excluded": "periods",
    "partial_period": "days with rows",
    "no_trading_day_before": "symbols",
    "no_trading_day_after": "symbols",
    "same_trading_day": "symbols",
    "no_price_while_held": "days",
    "price_never_returns": "days",
    "late_start": "days",
    "early_end": "days",
    "price_gap": "days",
    "missing_trading_day": "days",
    "no_close": "days",
    "event_without_bar": "days",
    "bad_price": "prices",
    "flat_bar": "days",
    "large_move": "days",
    "stale_price": "days",
    "inconsistent_bar": "days",
    "weights_fallback": "symbols",
}


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing left out or replaced.

    `kind` is a key of `KINDS`; `period` a label such as "2021-11" or None; `symbol` a ticker or None; `count` the number
    of what `UNITS` says; `first` and `last` ISO days or None; `reason` one sentence for people.
    """

    kind: str
    period: str | None
    symbol: str | None
    count: int
    first: str | None
    last: str | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the record as a plain dict, ready for JSON."""
        return asdict(self)


def losses_frame(losses: Iterable[Loss]) -> pd.DataFrame:
    """Return the records as a frame with one row per loss, in the given order."""
    records = list(losses)
    return pd.DataFrame({field.name: [getattr(loss, field.name) for loss in records] for field in fields(Loss)})
