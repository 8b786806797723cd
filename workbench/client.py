"""A client of the HTTP API: what the dashboard and `--url` speak through.

Enters: an address, a key, requests as plain dicts. Leaves: answers as plain dicts or bytes, or an error in one line: a ConfigError where
the request was wrong, an UnavailableError where nobody answers, the server fails, or something else than the workbench answers. The key
is sent in a header and shown nowhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from workbench.address import (
    DEFAULT_URL,
    KEY,
    KEY_FILE,
    URL,
    check_key,
    check_url,
    is_own_machine,
    key_of_environment,
    one_line,
)
from workbench.errors import CheckError, ConfigError, UnavailableError
from workbench.progress import Tick, note

if TYPE_CHECKING:
    import httpx

ENDED = ("done", "failed", "cancelled", "lost")
"""The states of a job in which nothing happens to it any more."""

_FORMS = {"json": "application/json", "parquet": "application/vnd.apache.parquet", "ipynb": "application/x-ipynb+json"}
_TABLE_TYPES = {".parquet": _FORMS["parquet"], ".gz": "application/gzip"}
_CONNECT_SECONDS = 5.0
_UPLOAD_SECONDS = 600.0  # the table is sent, and read there
_PATIENCE_SECONDS = 60.0  # with a server that is busy and says when to come back
_OUTAGE_SECONDS = 15.0  # without an answer while a job is waited for: a server that restarts finds its jobs again


class Client:
    """One API over one kept-open connection; close it, or use it in a `with` block.

    Parameters
    ----------
    url
        As http://127.0.0.1:8000.
    key
        The API key; None where the server asks for none.
    timeout_seconds
        How long an answer may take.

    Attributes
    ----------
    url : the address, without a slash at its end.
    last_cache : "hit" or "miss", what the last answer to `analyze` or `stocks` said of the server's cache; None before the first.

    Raises
    ------
    ConfigError
        The address or the key cannot be one.

    Every method raises ConfigError with the server's own line for a request that is wrong (or names WORKBENCH_API_KEY where the key is),
    and UnavailableError where nobody answers, where the server fails, or where it stays busy for a minute.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout_seconds: float = 120.0) -> None:
        self.url = check_url(url)
        self.last_cache: str | None = None
        import httpx  # a tenth of a second, which only those who use an address should pay

        headers = {"Authorization": f"Bearer {check_key(key)}"} if key else {}
        self._http = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_SECONDS, timeout_seconds)),
            follow_redirects=False,  # the key is for this host and no other
            trust_env=not is_own_machine(self.url),  # no proxy stands between a machine and itself
        )

    @classmethod
    def from_environment(cls, url: str | None = None) -> Client:
        """Return the client of `url`, else of WORKBENCH_URL, else of this machine's port 8000; the key is the environment's.

        Raises
        ------
        ConfigError
            The address cannot be one, or WORKBENCH_API_KEY_FILE names no file with a key.
        """
        return cls(url or os.environ.get(URL) or DEFAULT_URL, key_of_environment())

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def about(self) -> dict[str, Any]:
        """Return `GET /`: name, version, engine, endpoints."""
        return self._json("GET", "/")

    def health(self) -> dict[str, Any]:
        """Return `GET /health`; no key is needed."""
        return self._json("GET", "/health", needs="status")

    def status(self) -> dict[str, Any]:
        """Return `GET /status`: engine, nodes, resources, cache, computations, jobs."""
        return self._json("GET", "/status", needs="engine")

    def datasets(self) -> list[dict[str, Any]]:
        """Return the entries of `GET /datasets`."""
        return list(self._json("GET", "/datasets", needs="datasets")["datasets"])

    def upload(
        self,
        name: str,
        path: str | Path,
        kind: str = "sentiment",
        *,
        benchmark: str | None = None,
        columns: str | None = None,
        content: bytes | None = None,
    ) -> dict[str, Any]:
        """Send a table and return its entry; ConfigError where a file cannot be read, the name is taken or the table is wrong.

        Parameters
        ----------
        name
            The new name.
        path
            A CSV, CSV.gz or Parquet file.
        kind
            "sentiment" or "prices".
        benchmark
            What requests that name none get.
        columns
            As likes=favourites,symbol=ticker.
        content
            The file's bytes, where they have been read.
        """
        path = Path(path)
        try:
            content = path.read_bytes() if content is None else content
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from None
        given = {"name": name, "kind": kind, "benchmark": benchmark, "columns": columns}
        return self._json(
            "POST",
            "/datasets",
            needs="name",
            params={key: value for key, value in given.items() if value is not None},
            content=content,
            headers={"Content-Type": _TABLE_TYPES.get(path.suffix, "text/csv")},
            timeout=_UPLOAD_SECONDS,
        )

    def analyze(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Run one study: the fields of StudyConfig, and dataset, prices, benchmark, start, end."""
        return self._computed("/portfolio/analyze", fields, "study")

    def stocks(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Measure single stocks: symbols, and dataset, prices, benchmark, start, end."""
        return self._computed("/stocks/analyze", fields, "stocks")

    def start_sweep(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Start a job over a `grid` and return it."""
        return self._json("POST", "/sweeps", needs="id", json=dict(fields))

    def start_report(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Start the job of a portfolio report and return it."""
        return self._json("POST", "/reports", needs="id", json=dict(fields))

    def job(self, job_id: str) -> dict[str, Any]:
        """Return how a job stands."""
        return self._json("GET", f"/jobs/{job_id}", needs="status")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job that waits or runs and return it; ConfigError where it has ended."""
        return self._json("DELETE", f"/jobs/{job_id}", needs="status")

    def wait(
        self, job_id: str, tick: Tick | None = None, poll_seconds: float = 0.5, *, unit: str | None = None
    ) -> dict[str, Any]:
        """Return a job when it is done.

        Parameters
        ----------
        job_id
            What the job was started with.
        tick
            Called with how much was done since the last call.
        poll_seconds
            Between two questions.
        unit
            What is counted, "configurations"; a job may count other things before, which are then left out. None: whatever it counts.

        Raises
        ------
        CheckError
            A report failed: its line.
        UnavailableError
            A sweep failed, the job was lost or cancelled, or nobody answers any more.
        """
        shown, silent_since = 0, None
        while True:
            try:
                job = self.job(job_id)
                silent_since = None
            except UnavailableError as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > _OUTAGE_SECONDS:
                    raise UnavailableError(f"{error}; the job {job_id} may still run there") from None
                time.sleep(poll_seconds)
                continue
            done = _progress_of(job, unit)
            if tick is not None and done > shown:
                tick(done - shown)
                shown = done
            if job["status"] in ENDED:
                return _done(job)
            time.sleep(poll_seconds)

    def result(self, job_id: str, format: str = "json") -> bytes:  # noqa: A002
        """Return what a job left: a sweep's rows as "json" or "parquet", a report as "json" or "ipynb"."""
        answer = self._send("GET", f"/jobs/{job_id}/result", params={"format": format})
        return self._content(answer, _FORMS.get(format, ""))

    def page(self, job_id: str) -> bytes:
        """Return the page of a report."""
        return self._content(self._send("GET", f"/jobs/{job_id}/html"), "text/html")

    def clear_cache(self) -> int:
        """Empty the server's cache and return how many answers it held."""
        return int(self._json("DELETE", "/cache/clear", needs="removed")["removed"])

    def _computed(self, path: str, fields: Mapping[str, Any], needs: str) -> dict[str, Any]:
        answer = self._send("POST", path, json=dict(fields))
        self.last_cache = answer.headers.get("x-cache")
        return self._object(answer, needs)

    def _json(self, method: str, path: str, needs: str = "name", **content: Any) -> dict[str, Any]:
        return self._object(self._send(method, path, **content), needs)

    def _object(self, answer: httpx.Response, needs: str) -> dict[str, Any]:
        """Return an answer's JSON object, which must have the field `needs`."""
        content = _parsed(answer)
        if not isinstance(content, dict) or needs not in content:
            self._strange(answer)
        return content

    def _content(self, answer: httpx.Response, kind: str) -> bytes:
        if not answer.headers.get("content-type", "").startswith(kind):
            self._strange(answer)
        return answer.content

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Return a success; a server that is busy is asked again when it says so."""
        until, told = time.monotonic() + _PATIENCE_SECONDS, False
        while True:
            answer = self._ask(method, path, **content)
            if answer.is_success:
                return answer
            seconds = _seconds_to_wait(answer)
            if seconds is None:
                self._refuse(answer)
            if time.monotonic() + seconds > until:
                raise UnavailableError(
                    f"{self.url}: was busy for as long as this waits: {_detail(answer) or answer.status_code}"
                )
            if not told:
                note(f"{self.url} is busy; asking again")
            told = True
            time.sleep(seconds)

    def _ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        import httpx

        try:
            return self._http.request(method, self.url + path, **content)
        except httpx.ConnectError as error:
            why = "" if "refused" in str(error) else f" ({one_line(error)})"
            raise UnavailableError(f"no API answers at {self.url}{why}; start one with: workbench serve") from None
        except httpx.ConnectTimeout:
            raise UnavailableError(
                f"no API answers at {self.url} (no connection within {_CONNECT_SECONDS:g} s); start one with: workbench serve"
            ) from None
        except httpx.TimeoutException:
            seconds = self._http.timeout.read
            raise UnavailableError(f"{self.url}: did not answer within {seconds:g} s; ask for less, or later") from None
        except httpx.HTTPError as error:
            why = one_line(error) or type(error).__name__
            raise UnavailableError(
                f"{self.url}: the connection broke: {why}; is the server well? See its log"
            ) from None

    def _refuse(self, answer: httpx.Response) -> NoReturn:
        """Raise what an answer other than success means."""
        detail, status = _detail(answer), answer.status_code
        if status == 401:
            raise ConfigError(
                f"{self.url}: the API key is missing or wrong; set {KEY} or {KEY_FILE} to the server's key"
            )
        if 400 <= status < 500 and detail and detail not in ("Not Found", "Method Not Allowed"):
            raise (UnavailableError if status in (408, 429) else ConfigError)(detail)
        if status >= 500:
            raise UnavailableError(f"{self.url}: {detail or f'answered {status} {answer.reason_phrase}'}")
        self._strange(answer)

    def _strange(self, answer: httpx.Response) -> NoReturn:
        """Raise what an answer means that is none of the workbench's, or of one of another version."""
        asked = f"{answer.request.method} {answer.request.url.path}"
        about = _parsed(self._ask("GET", "/"))
        if not isinstance(about, dict) or about.get("name") != "workbench":
            place = f", which leads to {one_line(answer.headers['location'])}" if "location" in answer.headers else ""
            raise UnavailableError(
                f"{self.url}: what answers there{place} is not a workbench API; give the address that workbench serve prints"
            )
        raise UnavailableError(
            f"{self.url}: cannot be understood: it answered {answer.status_code} to {asked}; "
            f"it is workbench {one_line(about.get('version', '?'))}: use the same version here"
        )


def _seconds_to_wait(answer: httpx.Response) -> float | None:
    """Return after how many seconds a busy server wants to be asked again; None where it is not that."""
    text = answer.headers.get("retry-after", "")
    if answer.status_code not in (429, 503) or not text.isdecimal():
        return None
    return max(float(text), 0.1)


def _done(job: dict[str, Any]) -> dict[str, Any]:
    """Return a job that is done; raise what became of any other."""
    if job["status"] == "done":
        return job
    status, kind = job["status"], job.get("kind", "job")
    if status == "cancelled":
        raise UnavailableError(f"the job {job['id']} was cancelled on the server")
    error = one_line(job.get("error") or "the server does not say why")
    if status == "failed" and kind == "report":
        raise CheckError(error)
    raise UnavailableError(f"the {kind} {'was lost' if status == 'lost' else status}: {error}")


def _progress_of(job: Mapping[str, Any], unit: str | None) -> int:
    """Return how much of what is counted in `unit` is done; 0 where the job counts something else, or nothing yet."""
    progress = job.get("progress")
    if not isinstance(progress, dict) or unit not in (None, progress.get("unit")):
        return 0
    done = progress.get("done")
    return done if isinstance(done, int) else 0


def _parsed(answer: httpx.Response) -> Any:
    """Return an answer's JSON; None where it is none."""
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None


def _detail(answer: httpx.Response) -> str | None:
    """Return the line in which the server says what is wrong; None where it is not the workbench that says so."""
    content = _parsed(answer)
    detail = content.get("detail") if isinstance(content, dict) else None
    return one_line(detail) if isinstance(detail, str) and detail else None
