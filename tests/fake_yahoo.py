"""A stand-in for Yahoo's servers on 127.0.0.1, for tests: a real HTTP server that yfinance's own code talks to.

It serves the bars it was given, misbehaves per symbol as told, can rewrite its history as a new dividend or split does,
and keeps a log of every request. Name its address in WORKBENCH_YAHOO_URL, also for sub-processes. The shapes of its answers
are those that yfinance 1.7 parses; they were written down from its source, not recorded from Yahoo.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

OHLC = ("open", "high", "low", "close")
COLUMNS = (*OHLC, "adj_close", "volume")

CONSENT_PAGE = """<html><body><form action="/v2/collectConsent"><input name="csrfToken" value="t0ken">
<input name="sessionId" value="s1"></form></body></html>"""


@dataclass
class Seen:
    """One request: when it arrived (time.monotonic), of what kind, for which symbol, what was answered."""

    time: float
    kind: str
    path: str
    symbol: str | None
    query: dict[str, str]
    status: int = 0


@dataclass
class Listing:
    """What the fake knows of one symbol. `bars` is indexed by the exchange's calendar day (datetime64, midnight)."""

    bars: pd.DataFrame
    timezone: str = "America/New_York"
    currency: str = "USD"
    exchange: str = "NMS"
    opens: dt.time = dt.time(9, 30)
    closes: dt.time = dt.time(16, 0)
    kind: str = "EQUITY"
    dividends: dict[pd.Timestamp, float] = field(default_factory=dict)
    splits: dict[pd.Timestamp, float] = field(default_factory=dict)


@dataclass
class Behaviour:
    """How a symbol misbehaves: `kind` for the next `times` chart requests (None: for good), then it is good again."""

    kind: str
    times: int | None = None
    to: str = ""
    seconds: float = 30.0


class FakeYahoo:
    """The server and what it serves. `now` is its clock; the bar of a running session ends there."""

    def __init__(self) -> None:
        self.log: list[Seen] = []
        self.now: dt.datetime | None = None
        self.crumb_status = 200
        self.cookie_status = 200
        self.crumb_needed = False
        self.page: str | None = None  # answers every chart request when set: a captive portal
        self._listings: dict[str, Listing] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.request_queue_size = 128
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the server; slow answers are given up."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    # ---- what is served ----

    def add(self, bars: pd.DataFrame, **listing: Any) -> None:
        """Serve a long table: `date`, `symbol` and the columns of bars; `listing` holds further fields of `Listing`."""
        frame = bars.assign(date=pd.to_datetime(bars["date"]))
        with self._lock:
            for symbol, rows in frame.groupby("symbol", sort=False):
                table = rows.set_index("date")[list(COLUMNS)].astype("float64").sort_index()
                self._listings[str(symbol)] = Listing(table, **listing)

    def listing(self, symbol: str) -> Listing:
        """Return what is known of a symbol, to look at or to change."""
        return self._listings[symbol]

    def symbols(self) -> list[str]:
        """Return the symbols that are served."""
        return sorted(self._listings)

    def behave(self, symbol: str, kind: str, times: int | None = None, *, to: str = "", seconds: float = 30.0) -> None:
        """Let a symbol misbehave.

        Kinds: good, gone (404), limited (429), broken (500), slow (answers after `seconds`), truncated (half of the
        JSON), cut (the connection ends within the answer), dropped (the connection ends without one), empty (no bars),
        nothing (no result), renamed (answers for `to`), no_data (400), html (a page instead of JSON), moved (redirects).
        """
        with self._lock:
            self._behaviours[symbol] = Behaviour(kind, times, to, seconds)

    def pay_dividend(self, symbol: str, day: str, amount: float) -> None:
        """Add a dividend with its ex-day: the adjusted closes of all earlier days change."""
        with self._lock:
            listing, ex_day = self._listings[symbol], pd.Timestamp(day)
            earlier = listing.bars.index < ex_day
            listing.dividends[ex_day] = amount
            if earlier.any():
                factor = 1 - amount / listing.bars.loc[earlier, "close"].iloc[-1]
                listing.bars.loc[earlier, "adj_close"] *= factor

    def split(self, symbol: str, day: str, ratio: float) -> None:
        """Add a split (2.0 is two for one): the prices and volumes of all earlier days change."""
        with self._lock:
            listing, ex_day = self._listings[symbol], pd.Timestamp(day)
            earlier = listing.bars.index < ex_day
            listing.splits[ex_day] = ratio
            listing.bars.loc[earlier, [*OHLC, "adj_close"]] /= ratio
            listing.bars.loc[earlier, "volume"] *= ratio

    def add_day(self, symbol: str, day: str, **bar: float) -> None:
        """Add one bar; columns that are not given are those of the day before."""
        with self._lock:
            listing = self._listings[symbol]
            row = {**listing.bars.iloc[-1].to_dict(), **bar}
            listing.bars.loc[pd.Timestamp(day)] = [row[column] for column in COLUMNS]
            listing.bars = listing.bars.sort_index()

    def served(self, symbol: str, start: str, end: str) -> pd.DataFrame:
        """Return the bars of a symbol from start to end, both included, as they would be served now."""
        with self._lock:
            return self._listings[symbol].bars.loc[start:end].copy()  # type: ignore[misc]

    # ---- what was asked ----

    def forget(self) -> None:
        """Empty the log."""
        with self._lock:
            self.log.clear()

    def requests(self, kind: str | None = None, symbol: str | None = None) -> list[Seen]:
        """Return the requests of a kind (chart, cookie, crumb, consent, other) and for a symbol, in order of arrival."""
        with self._lock:
            found = [seen for seen in self.log if kind in (None, seen.kind) and symbol in (None, seen.symbol)]
        return sorted(found, key=lambda seen: seen.time)

    def chart_requests(self) -> Counter[str]:
        """Return the number of chart requests that each symbol got."""
        return Counter(seen.symbol or "" for seen in self.requests("chart"))

    def most_in_one_second(self) -> int:
        """Return the largest number of requests, of all kinds, that arrived within any one second."""
        return most_within([seen.time for seen in self.requests()], 1.0)

    # ---- how it is answered ----

    def answer(self, path: str, query: dict[str, str], seen: Seen) -> tuple[int, str, dict[str, str]]:
        """Return status, body and headers for a request, whatever it is."""
        plain = {"Content-Type": "text/plain;charset=utf-8"}
        if seen.kind == "cookie":
            # Yahoo's own answer here is 404; the cookie that comes with it is all that is wanted.
            return (
                (404 if self.cookie_status == 200 else self.cookie_status),
                "",
                plain | {"Set-Cookie": "A3=d=x; Path=/"},
            )
        if seen.kind == "crumb":
            return self.crumb_status, "cr.umb" if self.crumb_status == 200 else "Too Many Requests\r\n", plain
        if seen.kind == "consent":
            return 200, CONSENT_PAGE, {"Content-Type": "text/html"}
        if seen.kind == "chart" and seen.symbol is not None:
            return self._chart(seen.symbol, query)
        return 404, "not found", plain

    def _chart(self, symbol: str, query: dict[str, str]) -> tuple[int, str, dict[str, str]]:
        with self._lock:
            behaviour, listing = self._take(symbol), self._listings.get(symbol)
        headers = {"Content-Type": "application/json;charset=utf-8"}
        if self.page is not None or behaviour.kind == "html":
            return 200, self.page or "<html>We will see you soon</html>", {"Content-Type": "text/html"}
        if self.crumb_needed and "crumb" not in query:
            return 401, _error("Unauthorized", "Invalid Crumb"), headers
        if behaviour.kind == "limited":
            return 429, "Too Many Requests\r\n", {"Content-Type": "text/plain"}
        if behaviour.kind == "broken":
            return 500, _error("Internal Server Error", "Something went wrong"), headers
        if behaviour.kind == "gone" or listing is None:
            return 404, _error("Not Found", "No data found, symbol may be delisted"), headers
        if behaviour.kind == "no_data":
            words = f"Data doesn't exist for startDate = {query['period1']}, endDate = {query['period2']}"
            return 400, _error("Bad Request", words), headers
        if behaviour.kind == "nothing":
            return 200, json.dumps({"chart": {"result": [], "error": None}}), headers
        if behaviour.kind == "moved" and "moved" not in query:
            place = f"https://query1.finance.yahoo.com/v8/finance/chart/{symbol}?{urlencode({**query, 'moved': 1})}"
            return 302, "", {"Location": place}
        if behaviour.kind == "slow":
            self._closing.wait(behaviour.seconds)
        with self._lock:
            body = self._body(behaviour.to if behaviour.kind == "renamed" else symbol, listing, behaviour, query)
        if behaviour.kind == "truncated":
            return 200, body[: len(body) // 2], headers
        if behaviour.kind in ("cut", "dropped"):
            headers["X-Then"] = behaviour.kind
        return 200, body, headers

    def _take(self, symbol: str) -> Behaviour:
        behaviour = self._behaviours.get(symbol, Behaviour("good"))
        if behaviour.times is not None:
            behaviour.times -= 1
            if behaviour.times < 0:
                behaviour = self._behaviours[symbol] = Behaviour("good")
        return behaviour

    def _body(self, symbol: str, listing: Listing, behaviour: Behaviour, query: dict[str, str]) -> str:
        zone, now = ZoneInfo(listing.timezone), self.now or dt.datetime.now(dt.UTC)
        stamps = np.array([self._stamp(listing, day, zone, now) for day in listing.bars.index], dtype=np.int64)
        first, last = int(query.get("period1", 0)), int(query.get("period2", 1 << 40))
        wanted = (stamps >= first) & (stamps < last)
        if behaviour.kind == "empty":
            wanted[:] = False
        bars = listing.bars[wanted]
        result: dict[str, Any] = {"meta": _meta(symbol, listing, now, zone)}
        quote = {column: _numbers(bars[column]) for column in (*OHLC, "volume")} if len(bars) else {}
        adjusted = {"adjclose": _numbers(bars["adj_close"])} if len(bars) else {}
        if len(bars):
            result["timestamp"] = stamps[wanted].tolist()
        events = _events(listing, zone, first, last)
        if events:
            result["events"] = events
        result["indicators"] = {"quote": [quote], "adjclose": [adjusted]}
        return json.dumps({"chart": {"result": [result], "error": None}})

    @staticmethod
    def _stamp(listing: Listing, day: pd.Timestamp, zone: ZoneInfo, now: dt.datetime) -> int:
        """A finished day is stamped with its opening; the last, today's, with its latest trade."""
        opening = dt.datetime.combine(day.date(), listing.opens, zone)
        closing = dt.datetime.combine(day.date(), listing.closes, zone)
        today = day.date() == now.astimezone(zone).date() and now >= opening
        return int((min(now, closing) if today else opening).timestamp())


def most_within(times: list[float], seconds: float) -> int:
    """Return the largest number of `times` (increasing) in any half-open window of that length."""
    first, most = 0, 0
    for last, moment in enumerate(times):
        while moment - times[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def made_up_bars(symbols: list[str], start: str = "2022-01-03", days: int = 60, seed: int = 5) -> pd.DataFrame:
    """Return a long table of plausible bars on weekdays, for machines without the real data."""
    random = np.random.default_rng(seed)
    tables = []
    for symbol in symbols:
        close = (50 * np.exp(np.cumsum(random.normal(0, 0.02, days)))).round(6)
        table = pd.DataFrame(
            {"date": pd.bdate_range(start, periods=days), "symbol": symbol, "open": close, "close": close}
        )
        table["high"], table["low"] = (close * 1.01).round(6), (close * 0.99).round(6)
        table["adj_close"] = (close * 0.97).round(6)
        table["volume"] = random.integers(1_000, 9_000_000, days)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def real_bars(folder: Path, symbols: list[str] | None = None) -> pd.DataFrame:
    """Return the real bars of the `real_data` folder, of all symbols or of some."""
    bars = pd.read_csv(folder / "prices.csv.gz", keep_default_na=False, na_values=[""], parse_dates=["date"])
    return bars if symbols is None else bars[bars["symbol"].isin(symbols)]


@contextmanager
def running_fake() -> Iterator[FakeYahoo]:
    """Start a fake and stop it in the end; a test file makes its fixture of this."""
    fake = FakeYahoo()
    try:
        yield fake
    finally:
        fake.close()


def _error(code: str, description: str) -> str:
    return json.dumps({"chart": {"result": None, "error": {"code": code, "description": description}}})


def _numbers(column: pd.Series) -> list[float | int | None]:
    values = [None if math.isnan(value) else value for value in column.tolist()]
    return [int(value) if value is not None and column.name == "volume" else value for value in values]


def _events(listing: Listing, zone: ZoneInfo, first: int, last: int) -> dict[str, Any]:
    def stamped(days: dict[pd.Timestamp, float]) -> dict[int, float]:
        moments = {
            int(dt.datetime.combine(day.date(), listing.opens, zone).timestamp()): value for day, value in days.items()
        }
        return {moment: value for moment, value in moments.items() if first <= moment < last}

    dividends = {str(at): {"amount": amount, "date": at} for at, amount in stamped(listing.dividends).items()}
    splits = {
        str(at): {"date": at, "numerator": ratio, "denominator": 1.0, "splitRatio": f"{ratio:g}:1"}
        for at, ratio in stamped(listing.splits).items()
    }
    return {name: events for name, events in (("dividends", dividends), ("splits", splits)) if events}


def _meta(symbol: str, listing: Listing, now: dt.datetime, zone: ZoneInfo) -> dict[str, Any]:
    day = now.astimezone(zone).date()
    day -= dt.timedelta(days=max(0, day.weekday() - 4))  # at weekends Friday's session is the current one
    start, end = (int(dt.datetime.combine(day, at, zone).timestamp()) for at in (listing.opens, listing.closes))
    offset = int((now.astimezone(zone).utcoffset() or dt.timedelta()).total_seconds())
    span = {"timezone": "EST", "start": start, "end": end, "gmtoffset": offset}
    return {
        "currency": listing.currency,
        "symbol": symbol,
        "exchangeName": listing.exchange,
        "fullExchangeName": listing.exchange,
        "instrumentType": listing.kind,
        "firstTradeDate": 345479400,
        "regularMarketTime": min(int(now.timestamp()), end),
        "hasPrePostMarketData": True,
        "gmtoffset": offset,
        "timezone": "EST",
        "exchangeTimezoneName": listing.timezone,
        "regularMarketPrice": None if listing.bars.empty else _numbers(listing.bars["close"].iloc[-1:])[0],
        "priceHint": 2,
        "currentTradingPeriod": {"pre": dict(span), "regular": dict(span), "post": dict(span)},
        "dataGranularity": "1d",
        "range": "",
        "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
    }


def _kind(path: str) -> tuple[str, str | None]:
    if path.startswith("/v8/finance/chart/"):
        return "chart", unquote(path.removeprefix("/v8/finance/chart/"))
    if path.endswith("/getcrumb"):
        return "crumb", None
    if "onsent" in path:
        return "consent", None
    return ("cookie" if path in ("", "/") else "other"), None


def _handler(fake: FakeYahoo) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # one write per answer

        def do_GET(self) -> None:
            arrived = time.monotonic()
            self.rfile.read(int(self.headers.get("Content-Length", 0)))  # yfinance sends one with a GET as well
            parts = urlsplit(self.path)
            kind, symbol = _kind(parts.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            seen = Seen(arrived, kind, parts.path, symbol, query)
            with fake._lock:
                fake.log.append(seen)
            status, text, headers = fake.answer(parts.path, query, seen)
            seen.status, body = status, text.encode()
            then = headers.pop("X-Then", "")
            if then == "dropped":
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if then == "cut" else body)
            self.close_connection = self.close_connection or then == "cut"

        do_POST = do_GET

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionError, TimeoutError):
                pass  # the client gave up: what slow answers are there for

        def log_message(self, *_: Any) -> None:
            pass  # the log is kept in memory

    return Handler
