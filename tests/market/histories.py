"""A source of prices that rewrites its past, as Yahoo does: what the tests of the price store fetch from.

A `History` is the truth of one symbol: raw bars and events. What it says as of a day is split- and dividend-adjusted up
to that day, so that every event changes all earlier bars. A `Source` answers the requests of `PriceStore.ensure` from
such histories, counts them, and can log them to a file that several processes share.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.market.bars import Bars, bars_of
from workbench.market.store import PriceStore, Request

FIRST = dt.date(2023, 1, 2)  # a Monday
ZONE = "America/New_York"


@dataclass(frozen=True)
class Answer:
    """What a source says of one symbol."""

    symbol: str
    status: str = "ok"
    reason: str = ""
    bars: pd.DataFrame | None = None
    currency: str | None = "USD"
    exchange: str | None = "NYQ"
    timezone: str | None = ZONE


@dataclass
class History:
    """Raw bars of weekdays from `first` on, `n` of them, and events by day: ("dividend", cash) or ("split", ratio)."""

    seed: int
    n: int = 60
    first: dt.date = FIRST
    events: dict[dt.date, tuple[str, float]] = field(default_factory=dict)

    def as_of(self, day: dt.date) -> pd.DataFrame:
        """Return all bars up to `day`, adjusted for the events up to it."""
        days = np.busday_offset(np.datetime64(self.first, "D"), np.arange(self.n), roll="forward")
        generator = np.random.default_rng(self.seed)
        close = 100 * np.exp(np.cumsum(generator.normal(0, 0.02, self.n)))
        opened = close * np.exp(generator.normal(0, 0.005, self.n))
        prices = np.column_stack([opened, np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99, close])
        volume = generator.integers(1_000, 1_000_000, self.n).astype(float)
        kept = days <= np.datetime64(day, "D")
        days, prices, volume = days[kept], prices[kept], volume[kept]
        dividends, splits, factor = np.zeros(len(days)), np.zeros(len(days)), np.ones(len(days))
        for when, (kind, size) in sorted(self.events.items()):
            if when <= day and np.datetime64(when, "D") in days:
                before, on = days < np.datetime64(when, "D"), days == np.datetime64(when, "D")
                if kind == "split":
                    prices[before] /= size
                    volume[before] *= size
                    dividends[before] /= size
                    splits[on] = size
                else:
                    dividends[on] = size
        for row in np.flatnonzero(dividends):
            if row:
                factor[:row] *= 1 - dividends[row] / prices[row - 1, 3]
        columns = dict(zip(("open", "high", "low", "close"), prices.T, strict=True))
        values = {"adj_close": prices[:, 3] * factor, "volume": volume, "dividends": dividends, "splits": splits}
        return pd.DataFrame({"date": days.astype("datetime64[us]"), **columns, **values})

    def bars(self, day: dt.date, first: dt.date = dt.date.min, last: dt.date = dt.date.max) -> Bars:
        """Return the bars from `first` to `last` as of `day`."""
        return bars_of("X", between(self.as_of(day), first, last))


def between(frame: pd.DataFrame, first: dt.date, last: dt.date) -> pd.DataFrame:
    """Return the rows on the days of a range."""
    days = frame["date"].dt.date
    return frame[(days >= first) & (days <= last)]


def noon(day: dt.date) -> dt.datetime:
    """Return a time on a day: at noon in UTC the day before is the last one that is over in New York."""
    return dt.datetime.combine(day, dt.time(12), dt.UTC)


@dataclass
class Source:
    """Answers requests from histories as of `today`; `say` replaces the answer of a symbol."""

    histories: dict[str, History]
    today: dt.date
    say: dict[str, Answer] = field(default_factory=dict)
    log: Path | None = None
    delay_seconds: float = 0.0
    requests: list[Request] = field(default_factory=list)

    def clock(self) -> dt.datetime:
        """Return the time: noon of today."""
        return noon(self.today)

    def answer(self, request: Request) -> Answer:
        """Return what the source says to one request."""
        if request.symbol in self.say:
            return self.say[request.symbol]
        history = self.histories.get(request.symbol)
        if history is None:
            return Answer(request.symbol, "missing", "no such symbol", None, None, None, None)
        frame = between(history.as_of(self.today), request.days.first, request.days.last)
        if frame.empty:
            return Answer(request.symbol, "missing", "no bars on these days", None, None, None, None)
        return Answer(request.symbol, bars=frame)

    def __call__(self, requests: Sequence[Request], store: Callable[[Any], None]) -> None:
        for request in requests:
            self.requests.append(request)
            if self.log is not None:
                line = f"{request.symbol} {request.days} {os.getpid()}\n".encode()
                descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, line)
                os.close(descriptor)
            time.sleep(self.delay_seconds)
            store(self.answer(request))

    def ensure(self, store: PriceStore, symbols: Iterable[str], start: dt.date, end: dt.date, **how: Any) -> list[Any]:
        """Let a store fetch from this source at its own time."""
        return store.ensure(symbols, start, end, self, source="test", clock=self.clock, **how)

    def sent(self) -> list[tuple[str, str]]:
        """Return the requests since the last call, as symbol and days."""
        sent = [(request.symbol, str(request.days)) for request in self.requests]
        self.requests.clear()
        return sent


def same(left: Bars, right: Bars) -> bool:
    """Tell whether bars are equal to the last bit."""
    return bool(np.array_equal(left.days, right.days) and np.array_equal(left.values, right.values, equal_nan=True))
