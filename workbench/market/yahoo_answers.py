"""What Yahoo is asked for and what can come of it.

Enters: a symbol as the user writes it. Leaves: the same as Yahoo writes it; the rest are types. They stand apart so that
naming them imports neither yfinance nor curl_cffi.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from workbench.market.budget import Cancelled, RequestBudget, number_setting
from workbench.market.yahoo_bars import Note, no_bars

Status = Literal["ok", "missing", "limited", "error"]

_LONGEST_WAIT_SECONDS = 120.0


@dataclass(frozen=True, eq=False)
class Fetched:
    """What became of the request for one symbol.

    symbol : as the caller wrote it; `source_symbol` is what Yahoo was asked for.
    status : "ok", there are bars; "missing", Yahoo has none (delisted, renamed, never known); "limited", it refused to
        answer for now; "error", anything else.
    reason : why there are no bars, in one sentence; empty where there are.
    bars : one row per finished session, with the columns of `yahoo_bars.tidy`; without a row unless `status` is "ok".
    currency, exchange, timezone : as Yahoo names them, or None.
    notes : rows of the answer that are no bars.
    """

    symbol: str
    status: Status
    reason: str = ""
    bars: pd.DataFrame = field(default_factory=no_bars)
    currency: str | None = None
    exchange: str | None = None
    timezone: str | None = None
    source_symbol: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Patience:
    """How long to wait for an answer, and how often to ask.

    timeout_seconds : for one request, from connecting to the last byte.
    tries : for a symbol, where the connection fails or the answer is an error or unreadable.
    limited_tries : for a symbol, where Yahoo answers 429.
    backoff_seconds : the wait before the second try; doubled for each further one, and varied by half.
    """

    timeout_seconds: float = 10.0
    tries: int = 3
    limited_tries: int = 4
    backoff_seconds: float = 2.0

    def wait_seconds(self, tries: int, at_least: float = 0.0) -> float:
        """Return how long to wait after so many tries."""
        # The system's generator: forked processes share the state of the other, and would all wait equally long.
        jitter = random.SystemRandom().uniform(0.5, 1.5)
        return max(at_least, min(self.backoff_seconds * 2.0 ** (tries - 1) * jitter, _LONGEST_WAIT_SECONDS))


def default_patience() -> Patience:
    """Return the patience for Yahoo; WORKBENCH_YAHOO_TIMEOUT and WORKBENCH_YAHOO_BACKOFF set its seconds."""
    standard = Patience()
    return Patience(
        timeout_seconds=number_setting("WORKBENCH_YAHOO_TIMEOUT", standard.timeout_seconds),
        backoff_seconds=number_setting("WORKBENCH_YAHOO_BACKOFF", standard.backoff_seconds),
    )


def yahoo_symbol(symbol: str) -> str:
    """Return a symbol as Yahoo writes it.

    Capitals. A class of shares follows a hyphen: `BRK.B`, `BRK/B` and `BRK-B` are BRK-B, `RCI.B.TO` is RCI-B.TO. A dot
    before F, L, T or V stays, as these are exchanges of Yahoo's: Frankfurt, London, Tokyo, TSX Venture.
    """
    text = symbol.strip().upper().replace("/", "-")
    text = re.sub(r"\.([A-Z])(?=\.[A-Z]{1,3}$)", r"-\1", text)
    return re.sub(r"(?<=[A-Z])\.(?=[A-EG-KM-SUW-Z]$)", "-", text)


@dataclass
class Call:
    """What the requests of one symbol go by. `refusals` counts those for bars that were answered with 401 or 403."""

    budget: RequestBudget
    timeout_seconds: float
    cancelled: Cancelled | None = None
    refusals: int = 0


class Refused(Exception):
    """Yahoo answered a request for bars with a status from 400 on.

    `words` are its own explanation, or the beginning of what came instead; `explained` tells which.
    """

    def __init__(self, status: int, words: str, explained: bool, retry_after_seconds: float) -> None:
        super().__init__(f"Yahoo answered {status}: {words}")
        self.status, self.words, self.explained = status, words, explained
        self.retry_after_seconds = retry_after_seconds


class NoBars(Exception):
    """Yahoo answered, without bars. The text is its explanation, empty where it gives none."""


class NoAnswer(Exception):
    """The connection failed, or nothing came within the time allowed."""


class Unreadable(Exception):
    """What came is not what it should be: cut off, no JSON, or without a part that is needed."""
