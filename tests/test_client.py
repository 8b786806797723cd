"""The client of the API: one line for whatever goes wrong, keys in no message, patience with a busy server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import until
from scripted import Scripted, answer, scripted
from served import Served, free_port, serving
from small_market import write_small_market

from workbench import client as client_module
from workbench.client import Client
from workbench.errors import CheckError, ConfigError, UnavailableError

KEY = "a-key-of-these-tests-and-no-other"
SLOW = {"grid": "weighting=min_cvar;lookback_days=100..200:2;top_n=5,10,15,20"}
ABOUT = {"name": "workbench", "version": "9.9.9", "engine": "uvicorn", "endpoints": []}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served"), WORKBENCH_API_KEY=KEY) as server:
        yield server


@pytest.fixture
def api(served: Served) -> Iterator[Client]:
    with Client(served.url, KEY) as connected:
        yield connected


@pytest.fixture
def fake() -> Iterator[Scripted]:
    with scripted() as server:
        server.script["GET /"] = [answer(200, ABOUT)]
        yield server


# ---- addresses and keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "got ''"),
        ("localhost:8000", "write http://localhost:8000"),
        ("ftp://host", "got 'ftp://host'"),
        ("http://", "got 'http://'"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://host:99999", "Port out of range"),
        ("http://a..b", "label empty"),
        (f"http://{'a' * 70}", "label"),
        ("http://host?x=1", "without ? and #"),
        ("http://host/\nx", "got 'http://host/ x'"),
    ],
)
def test_what_cannot_be_an_address_is_refused_with_the_rule(url: str, hint: str):
    with pytest.raises(ConfigError, match=r"^url must be like http://127.0.0.1:8000") as caught:
        Client(url)
    assert hint in str(caught.value) and "\n" not in str(caught.value)


def test_a_password_in_an_address_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="hold no password") as caught:
        Client("http://me:secret@host:8000")
    assert "secret" not in str(caught.value)


def test_the_address_is_the_option_else_the_environment_else_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORKBENCH_URL", raising=False)
    assert Client.from_environment().url == "http://127.0.0.1:8000"
    monkeypatch.setenv("WORKBENCH_URL", "http://there:1/prefix/")
    assert Client.from_environment().url == "http://there:1/prefix"
    assert Client.from_environment("https://other").url == "https://other"


def test_the_key_comes_from_the_variable_else_from_the_first_line_of_the_file(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "keys"
    file.write_text(f"# keys\n{KEY}\nanother-key-of-nobody-at-all\n")
    monkeypatch.setenv("WORKBENCH_API_KEY_FILE", str(file))
    assert Client.from_environment(served.url).status()["engine"] == "uvicorn"
    monkeypatch.setenv("WORKBENCH_API_KEY", "the-variable-comes-first")
    with pytest.raises(ConfigError, match="key is missing or wrong"):
        Client.from_environment(served.url).status()
    monkeypatch.setenv("WORKBENCH_API_KEY", KEY)
    assert Client.from_environment(served.url).status()["engine"] == "uvicorn"


@pytest.mark.parametrize("content", [None, "", "# only a comment\n"])
def test_a_key_file_without_a_key_is_named(content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("WORKBENCH_API_KEY_FILE", str(file))
    monkeypatch.delenv("WORKBENCH_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"^WORKBENCH_API_KEY_FILE must name a file"):
        Client.from_environment()


@pytest.mark.parametrize("key", [None, "not-the-key-of-this-server"])
def test_a_key_that_is_wrong_or_missing_is_said_and_never_shown(served: Served, key: str | None):
    with Client(served.url, key) as connected:
        assert connected.health()["status"] == "healthy"  # which asks for none
        with pytest.raises(ConfigError, match="set WORKBENCH_API_KEY or WORKBENCH_API_KEY_FILE") as caught:
            connected.datasets()
    assert str(key) not in str(caught.value)


@pytest.mark.parametrize("key", ["with blanks in it", "schlüssel-ohne-ascii", "with\r\nX-Header: 1"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str):
    with pytest.raises(ConfigError, match="the API key must be of plain characters") as caught:
        Client("http://127.0.0.1:8000", key)
    assert key not in str(caught.value)


# ---- answers of a real server ------------------------------------------------------------------------------------------


def test_a_study_is_answered_and_the_cache_is_told(api: Client):
    assert api.last_cache is None
    first = api.analyze({"top_n": 3, "seed": 11})
    assert (api.last_cache, first["study"]["config"]["top_n"]) == ("miss", 3)
    assert api.analyze({"top_n": 3, "seed": 11}) == first
    assert api.last_cache == "hit"
    assert api.stocks({"symbols": ["SIM001"]})["stocks"]["SIM001"]["n_days"] > 100
    assert api.clear_cache() >= 2
    api.analyze({"top_n": 3, "seed": 11})
    assert api.last_cache == "miss"
    assert api.about()["name"] == "workbench" and api.status()["jobs"] == {"queued": 0, "running": 0}


def test_the_servers_line_is_the_error(api: Client):
    with pytest.raises(ConfigError, match=r"^unknown field 'topn'; did you mean top_n"):
        api.analyze({"topn": 3})
    with pytest.raises(ConfigError, match=r"^dataset must be the name of a registered table, got 'nobody'"):
        api.analyze({"dataset": "nobody"})
    with pytest.raises(ConfigError, match=r"^there is no such job"):
        api.job("0" * 16)


def test_a_table_is_uploaded_and_known_by_its_hash(api: Client, tmp_path: Path):
    sentiment, prices = write_small_market(tmp_path)
    entry = api.upload("mine", sentiment)
    assert entry["sentiment_sha256"] == entry["about"]["sha256"] and entry["prices_sha256"] is None
    assert api.upload("mine-closes", prices, "prices", benchmark="QQQ")["benchmark"] == "QQQ"
    assert {entry["name"] for entry in api.datasets()} == {"default", "mine", "mine-closes"}
    assert api.analyze({"dataset": "mine", "prices": "mine-closes", "top_n": 2})["study"]["summary"]["n_periods"] == 4
    with pytest.raises(ConfigError, match=r"^name must be a new one, got mine"):
        api.upload("mine", sentiment)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        api.upload("other", tmp_path / "nothing.csv")


def test_a_job_is_waited_for_and_gives_its_rows(api: Client):
    ticks: list[int] = []
    job = api.start_sweep({"grid": "top_n=1..4"})
    done = api.wait(job["id"], ticks.append, 0.1, unit="configurations")
    assert (done["status"], sum(ticks)) == ("done", 4)
    assert api.result(job["id"]).startswith(b'[{"config"') and api.result(job["id"], "parquet").startswith(b"PAR1")
    with pytest.raises(ConfigError, match="only a report has a notebook"):
        api.result(job["id"], "ipynb")
    with pytest.raises(ConfigError, match="only a report has a page"):
        api.page(job["id"])


def test_a_cancelled_job_is_no_result(api: Client):
    job = api.start_sweep(SLOW)
    assert api.cancel(job["id"])["status"] == "cancelled"
    with pytest.raises(UnavailableError, match=f"^the job {job['id']} was cancelled on the server$"):
        api.wait(job["id"], poll_seconds=0.1)
    with pytest.raises(ConfigError, match="must wait or run to be cancelled"):
        api.cancel(job["id"])


def test_a_server_that_is_started_again_finds_the_job_for_the_one_who_waits(tmp_path: Path):
    with serving(tmp_path) as server, Client(server.url) as connected:
        job = connected.start_sweep({"grid": "top_n=1..3"})
        until(lambda: any("pid" in (found.read() or {}) for found in server.jobs()), 30)
        restart = threading.Thread(target=lambda: (server.end(), server.start()))
        restart.start()
        assert connected.wait(job["id"], poll_seconds=0.1)["status"] == "done"
        restart.join()
        assert len(connected.result(job["id"], "parquet")) > 100


def test_a_server_that_is_killed_under_a_job_is_said_with_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "_OUTAGE_SECONDS", 0.5)
    with serving(tmp_path) as server, Client(server.url) as connected:
        job = connected.start_sweep(SLOW)
        until(lambda: connected.job(job["id"])["status"] == "running", 30)
        server.end()
        with pytest.raises(UnavailableError, match=f"no API answers at .*; the job {job['id']} may still run there$"):
            connected.wait(job["id"], poll_seconds=0.1)


# ---- trouble -----------------------------------------------------------------------------------------------------------


def test_nobody_listening_is_one_line_with_the_way_out():
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match=f"^no API answers at {url}; start one with: workbench serve$"):
        Client(url).health()


def test_a_name_that_leads_nowhere_is_one_line():
    with pytest.raises(UnavailableError, match=r"^no API answers at http://nobody\.invalid \(.*start one with"):
        Client("http://nobody.invalid").health()


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(served: Served, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert Client(served.url).health()["status"] == "healthy"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says_so(fake: Scripted, status: int):
    busy = answer(status, {"detail": "try again in 1 s"}, Retry_After="1")
    fake.script["GET /status"] = [busy, answer(200, {"engine": "x"})]
    started = time.monotonic()
    assert Client(fake.url).status() == {"engine": "x"}
    assert 1.0 <= time.monotonic() - started < 10 and fake.asked == ["GET /status"] * 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_given_up(fake: Scripted, status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_module, "_PATIENCE_SECONDS", 0.3)
    fake.script["GET /status"] = [answer(status, {"detail": "too much to do"}, Retry_After="0")]
    with pytest.raises(UnavailableError, match="was busy for as long as this waits: too much to do"):
        Client(fake.url).status()
    assert 2 <= len(fake.asked) <= 5


def test_a_wait_longer_than_the_patience_is_not_begun(fake: Scripted):
    fake.script["GET /status"] = [answer(503, {"detail": "closed"}, Retry_After="86400")]
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="closed"):
        Client(fake.url).status()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (answer(503, {"detail": "the table of x is not there"}), "the table of x is not there"),
        (answer(504, {"detail": "the computation must take at most 60 s"}), "the computation must take at most 60 s"),
        (answer(500, {"detail": "internal error; see request 12"}), "internal error; see request 12"),
        (answer(502, "<h1>Bad Gateway</h1>"), "answered 502 Bad Gateway"),
        (answer(507, {"detail": "at most 200 tables"}), "at most 200 tables"),
        (answer(408, {"detail": "the body must arrive within 20 s"}), "the body must arrive within 20 s"),
        (answer(500, {"detail": "two\nlines \x1b[31m"}), "two lines  [31m"),
    ],
)
def test_a_failing_server_is_unavailable_in_one_line(fake: Scripted, given, line: str):
    fake.script["POST /portfolio/analyze"] = [given]
    with pytest.raises(UnavailableError) as caught:
        Client(fake.url).analyze({})
    assert str(caught.value) in (line, f"{fake.url}: {line}")


GARBAGE = [
    answer(200, "<html>welcome</html>"),
    answer(200, ["a", "list"]),
    answer(200, {"something": "else"}),
    answer(200, b"\xff\xfe\x00"),
    answer(200, "[" * 5000),
    answer(404, {"detail": "Not Found"}),
    answer(405, {"detail": "Method Not Allowed"}),
    answer(403, "<h1>Forbidden</h1>"),
    answer(302, "", Location="http://elsewhere.invalid/"),
    answer(418, {"error": "teapot"}),
]


@pytest.mark.parametrize("given", GARBAGE)
@pytest.mark.parametrize("about", [answer(200, "<html>"), answer(200, {"name": "other"}), answer(500, "x")])
def test_what_is_no_workbench_is_said_in_one_line(fake: Scripted, given, about):
    fake.script |= {"POST /portfolio/analyze": [given], "GET /": [about]}
    with pytest.raises(
        UnavailableError, match=f"^{fake.url}: what answers there.* is not a workbench API; give"
    ) as caught:
        Client(fake.url).analyze({})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", GARBAGE)
def test_a_workbench_that_is_not_understood_is_said_with_its_version(fake: Scripted, given):
    fake.script["POST /portfolio/analyze"] = [given]
    with pytest.raises(
        UnavailableError, match=r"cannot be understood: .* to POST /portfolio/analyze; it is workbench 9\.9\.9"
    ):
        Client(fake.url).analyze({})


def test_a_redirect_is_not_followed_so_that_the_key_stays_here(fake: Scripted):
    with scripted() as elsewhere:
        fake.script["GET /health"] = [answer(307, "", Location=f"{elsewhere.url}/health")]
        with pytest.raises(UnavailableError):
            Client(fake.url, KEY).health()
        assert elsewhere.asked == []
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_connection_that_breaks_and_one_that_is_silent_are_one_line(fake: Scripted):
    fake.script["GET /health"] = ["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"]
    with pytest.raises(UnavailableError, match="the connection broke: "):
        Client(fake.url).health()
    fake.script["GET /health"] = ["no HTTP at all"]
    with pytest.raises(UnavailableError, match="the connection broke: "):
        Client(fake.url).health()
    fake.script["GET /health"] = [2.0]
    with pytest.raises(UnavailableError, match=r"did not answer within 0\.2 s; ask for less"):
        Client(fake.url, timeout_seconds=0.2).health()


@pytest.mark.parametrize(
    ("job", "kind", "line"),
    [
        (
            {"status": "failed", "kind": "report", "error": "cell 3 stopped with ValueError"},
            CheckError,
            "cell 3 stopped",
        ),
        ({"status": "failed", "kind": "sweep", "error": "no memory"}, UnavailableError, "the sweep failed: no memory"),
        ({"status": "lost", "kind": "report", "error": "gone"}, UnavailableError, "the report was lost: gone"),
    ],
)
def test_a_job_that_did_not_end_well_is_raised(fake: Scripted, job: dict[str, str], kind: type[Exception], line: str):
    fake.script["GET /jobs/1"] = [
        answer(200, {"id": "1", "status": "queued", "progress": None}),
        answer(200, job | {"id": "1"}),
    ]
    with pytest.raises(kind, match=f"^{line}"):
        Client(fake.url).wait("1", poll_seconds=0.01)


def test_only_progress_in_the_wanted_unit_is_counted(fake: Scripted):
    steps = [(30, "fits"), (60, "fits"), (0, "configurations"), (2, "configurations"), (4, "configurations")]
    jobs = [
        {"id": "1", "status": "running", "progress": {"done": done, "total": 99, "unit": unit}} for done, unit in steps
    ]
    fake.script["GET /jobs/1"] = [answer(200, job) for job in jobs] + [answer(200, jobs[-1] | {"status": "done"})]
    ticks: list[int] = []
    Client(fake.url).wait("1", ticks.append, 0.01, unit="configurations")
    assert ticks == [2, 2]


def test_a_file_of_another_type_is_not_taken_for_the_result(fake: Scripted):
    fake.script["GET /jobs/1/result"] = [answer(200, "<html>log in</html>")]
    with pytest.raises(UnavailableError, match="cannot be understood"):
        Client(fake.url).result("1", "parquet")
