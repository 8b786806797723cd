"""The HTTP session that yfinance is given: each of its requests takes from the budget first.

Enters: the requests that yfinance makes, for cookies, crumbs and bars. Leaves: Yahoo's answers, or `Refused` where
yfinance would repeat the request at once, which doubles the traffic and cures nothing.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from curl_cffi.requests import Response, Session
from curl_cffi.requests.exceptions import TooManyRedirects

from workbench.errors import ConfigError
from workbench.market.files import show
from workbench.market.yahoo_answers import Call, Refused, Unreadable

MIRROR = "WORKBENCH_YAHOO_URL"
MAX_REDIRECTS = 8

_CHART = "/v8/finance/chart/"


class BudgetedSession(Session[Response]):
    """A session, of the kind that yfinance accepts, for any number of threads.

    Redirects are followed here, not in curl, so that each of them takes from the budget too. (One thing curl does alone:
    it sends a request again when the connection that it had kept open turns out to be closed.) With a mirror, every
    address is asked of the mirror, under the same path and with the host's name in `X-Forwarded-Host`.
    """

    def __init__(self, mirror: str | None) -> None:
        super().__init__(impersonate="chrome")
        self._mirror = mirror
        self._calls = threading.local()

    @contextmanager
    def during(self, call: Call) -> Iterator[None]:
        """Let the requests of this thread go by `call`."""
        self._calls.current = call
        try:
            yield
        finally:
            del self._calls.current

    def request(self, method: Any, url: str, **options: Any) -> Response:  # type: ignore[override]
        """Send a request as yfinance wants it, within the current call's budget and time."""
        call: Call = self._calls.current
        options["timeout"] = min(options.get("timeout") or call.timeout_seconds, call.timeout_seconds)
        options["allow_redirects"] = False
        headers = dict(options.pop("headers", None) or {})
        for _ in range(MAX_REDIRECTS):
            address, extra = self._address(url)
            with call.budget.request(call.cancelled):
                response = super().request(method, address, headers={**headers, **extra}, **options)
            response.url = url  # yfinance tells a consent page by its host
            target = response.headers.get("location") if 300 <= response.status_code < 400 else None
            if not target:
                return _judged(response, call)
            url = urljoin(url, target)
            options.pop("params", None)
            if response.status_code in (301, 302, 303):
                method = "GET"
                options = {name: value for name, value in options.items() if name not in ("data", "json")}
        raise TooManyRedirects(f"more than {MAX_REDIRECTS} redirects")

    def _address(self, url: str) -> tuple[str, dict[str, str]]:
        if self._mirror is None or url.startswith(f"{self._mirror}/"):
            return url, {}
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self._mirror}{parts.path or '/'}{query}", {"X-Forwarded-Host": parts.netloc}


def mirror() -> str | None:
    """Return the address that stands in for all of Yahoo's hosts, from WORKBENCH_YAHOO_URL; None for Yahoo itself."""
    address = os.environ.get(MIRROR, "").rstrip("/")
    if not address:
        return None
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        good = False
    if not good:
        raise ConfigError(
            f"{MIRROR} must be an http:// or https:// address, got {show(address)!r}; unset it to ask Yahoo itself"
        )
    return address


def _judged(response: Response, call: Call) -> Response:
    """Return the answer if yfinance may deal with it; only an answer to a request for bars may be none of those."""
    if _CHART not in urlsplit(response.url).path:
        return response
    status = response.status_code
    if status < 400:
        if b'"chart"' not in response.content:
            raise Unreadable(f"no chart in it, it begins {_beginning(response)}")
        return response
    if status in (401, 403):
        call.refusals += 1
        if call.refusals == 1:  # a new cookie and crumb, which yfinance now gets, can cure this
            return response
    words = _words(response)
    raise Refused(status, words or _beginning(response), bool(words), _retry_after(response))


def _words(response: Response) -> str:
    """Yahoo's own explanation; empty if there is none."""
    try:
        return str(json.loads(response.content)["chart"]["error"]["description"])
    except (ValueError, LookupError, TypeError):
        return ""


def _beginning(response: Response) -> str:
    return show(" ".join(response.content[:200].decode("utf-8", "replace").split()) or "(nothing)", 60)


def _retry_after(response: Response) -> float:
    text = response.headers.get("retry-after") or ""
    return float(text) if text.isascii() and text.isdigit() else 0.0
