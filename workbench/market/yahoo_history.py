"""yfinance, asked for one symbol at a time.

Enters: a symbol as Yahoo writes it and a span of time. Leaves: the frame that yfinance makes of Yahoo's answer and the
answer's metadata, or one of the exceptions of `yahoo_answers`. This module imports yfinance, and is itself imported on
first use. What yfinance 1.7 does on its own, and is kept from doing here:

- It answers a repeated request for past days from memory (`cache_get`), a 500 among them, so that a second try would
  send nothing and a new dividend would not be seen.
- It fetches the cookie again before every request where it finds no cookie file, and keeps that file, one of time zones
  and one of ISINs in the user's cache folder. Here cookies are in memory, and nothing is written.
- It takes whatever page it gets for a crumb.
- It first asks for the time zone of each symbol, which is one more request for bars. Here a range is asked for that is
  wide enough in any time zone.
- It has one session, cookie and crumb for the whole process. Here they are our own, and the user's stay as they are.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pandas as pd
import yfinance
from curl_cffi.requests.exceptions import RequestException, Timeout
from pandas.errors import Pandas4Warning
from yfinance.data import SingletonMeta, YfData
from yfinance.exceptions import YFException, YFPricesMissingError
from yfinance.scrapers.history import PriceHistory

from workbench.errors import WorkbenchError
from workbench.market.budget import RequestCancelled
from workbench.market.files import show
from workbench.market.yahoo_answers import Call, NoAnswer, NoBars, Refused, Unreadable
from workbench.market.yahoo_session import BudgetedSession, mirror

NO_CRUMB_SECONDS = 600.0  # a crumb that could not be had is not asked for again before this

_METADATA = ("symbol", "currency", "exchangeName", "exchangeTimezoneName", "currentTradingPeriod")


class Yahoo:
    """A connection to Yahoo, or to its mirror; any number of threads may use it."""

    def __init__(self, address: str | None) -> None:
        self._session = BudgetedSession(address)
        self._data = _Data(self._session)

    def history(self, symbol: str, start: datetime, end: datetime, call: Call) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Ask for the daily bars of one symbol.

        Parameters
        ----------
        symbol
            As Yahoo writes it.
        start, end
            Moments with a time zone: the bars stamped from `start` until before `end`.
        call
            Budget and time allowed.

        Returns
        -------
        tuple of DataFrame and dict
            yfinance's frame, not adjusted, with rows of NaN where Yahoo has null, indexed by midnight in the
            exchange's time zone; and the metadata named in `_METADATA`, as far as Yahoo gives them.

        Raises
        ------
        Refused, NoBars, NoAnswer, Unreadable
            See there.
        RequestCancelled
            The call was cancelled while it waited for the budget.
        """
        prices = PriceHistory(self._data, symbol, "UTC", session=self._session)
        try:
            with self._session.during(call), _shown_exceptions(), _quiet():
                frame = prices.history(
                    start=start,
                    end=end,
                    interval="1d",
                    auto_adjust=False,
                    actions=True,
                    keepna=True,
                    timeout=call.timeout_seconds,
                )
                return frame, _chosen(prices.get_history_metadata())
        except (Refused, Unreadable, RequestCancelled, WorkbenchError):
            raise
        except YFPricesMissingError as error:
            raise NoBars(show(error.yahoo_reason or "", 200)) from None
        except RequestException as error:
            raise NoAnswer(_transport(error, call)) from None
        except json.JSONDecodeError as error:
            raise Unreadable(f"no JSON, or cut off, at character {error.pos}") from None
        except Exception as error:  # yfinance checks little of what it parses: anything can happen in there
            raise Unreadable(show(f"{type(error).__name__}: {error}", 200)) from None


def connection() -> Yahoo:
    """Return this process's connection. A forked child gets its own, as a socket must not be shared."""
    key = (os.getpid(), mirror())
    if key not in _CONNECTIONS:
        warnings.filterwarnings("ignore", category=Pandas4Warning, module=r"yfinance\.")
        logging.getLogger("yfinance").addFilter(_QUIET)
        _CONNECTIONS.setdefault(key, Yahoo(key[1]))
    return _CONNECTIONS[key]


_CONNECTIONS: dict[tuple[int, str | None], Yahoo] = {}


class _PerConnection(SingletonMeta):  # type: ignore[misc]  # yfinance has no types
    """Undoes yfinance's rule of one instance per process."""

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        return type.__call__(cls, *arguments, **keywords)


class _Data(YfData, metaclass=_PerConnection):  # type: ignore[misc]  # yfinance has no types
    """yfinance's layer of cookies and crumbs; it keeps both in memory, and no answers at all."""

    _crumb: str | None

    def __init__(self, session: BudgetedSession) -> None:
        super().__init__(session=session)
        self._crumb_lock = threading.Lock()
        self._no_crumb_until = 0.0

    def cache_get(self, url: str, params: Any = None, timeout: float = 30) -> Any:
        return self.get(url, params, timeout)

    def _save_cookie_curlCffi(self) -> bool:
        return False

    def _load_cookie_curlCffi(self) -> bool:
        self._cookie = True if len(self._session.cookies) else None
        return self._cookie is not None

    def _get_cookie_and_crumb(self, timeout: float = 30) -> tuple[str | None, str]:
        """Return crumb and strategy. Bars come without a crumb too, so one that is refused is not asked for each time."""
        with self._crumb_lock:
            if self._crumb is None and time.monotonic() >= self._no_crumb_until:
                try:
                    self._crumb = _plausible(super()._get_cookie_and_crumb(timeout)[0])
                except (OSError, YFException):
                    self._crumb = None
                if self._crumb is None:
                    self._no_crumb_until = time.monotonic() + NO_CRUMB_SECONDS
            return self._crumb, self._cookie_strategy


def _plausible(crumb: str | None) -> str | None:
    return crumb if crumb and len(crumb) < 64 and not set("<> \r\n") & set(crumb) else None


def _transport(error: RequestException, call: Call) -> str:
    if isinstance(error, Timeout):
        return f"no answer within {call.timeout_seconds:g} s"
    words = str(error).removeprefix("Failed to perform, ").partition(" See https://curl.se")[0]
    return show(words.rstrip(". ") or type(error).__name__, 200)


def _chosen(metadata: Mapping[str, Any]) -> dict[str, Any]:
    # Item by item: to iterate over yfinance's mapping sends another request, for the trading periods.
    return {name: metadata[name] for name in _METADATA if name in metadata}


class _Quiet(logging.Filter):
    """Drops what yfinance logs in our threads: each symbol's result says it, typed."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_OURS, "active", False)


_QUIET = _Quiet()
_OURS = threading.local()


@contextmanager
def _quiet() -> Iterator[None]:
    _OURS.active = True
    try:
        yield
    finally:
        _OURS.active = False


_FLAG_LOCK = threading.Lock()
_flag: dict[str, Any] = {"users": 0, "before": True}


@contextmanager
def _shown_exceptions() -> Iterator[None]:
    """Let yfinance raise instead of returning an empty frame; the flag is the whole process's, and is put back."""
    debug = yfinance.config.debug
    with _FLAG_LOCK:
        if not _flag["users"]:
            _flag["before"] = debug.hide_exceptions
        _flag["users"] += 1
        debug.hide_exceptions = False
    try:
        yield
    finally:
        with _FLAG_LOCK:
            _flag["users"] -= 1
            if not _flag["users"]:
                debug.hide_exceptions = _flag["before"]
