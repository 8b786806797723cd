"""What every request passes: keys, limits, headers, ids; and what the settings refuse."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from workbench.api.limiter import RateLimit
from workbench.api.logs import JsonLines
from workbench.api.settings import Settings
from workbench.errors import ConfigError

KEY = "a-key-of-enough-characters"
OTHER = "another-key-of-enough-characters"


def keyed(home: Path, **options: Any) -> dict[str, Any]:
    settings = Settings.from_environment({"WORKBENCH_API_KEY": KEY}, home=home, **options)
    return {"key_hashes": settings.key_hashes}


def test_beyond_loopback_a_key_is_asked_for(home: Path):
    for host in ("0.0.0.0", "192.0.2.7", "::", "example.org", ""):
        with pytest.raises(
            ConfigError, match=r"^host must be a loopback address where no API key is set.*WORKBENCH_API_KEY"
        ):
            Settings.from_environment({}, home=home, host=host)
    assert Settings.from_environment({"WORKBENCH_API_KEY": KEY}, home=home, host="0.0.0.0").host == "0.0.0.0"
    assert [Settings(home, host=host).host for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3")]


def test_keys_come_from_a_file_and_never_into_a_message(home: Path, tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n{OTHER}\n")
    settings = Settings.from_environment({"WORKBENCH_API_KEY_FILE": str(file)}, home=home)
    assert len(settings.key_hashes) == 2 and KEY not in repr(settings)
    for text, words in (("short-secret\n", "at least 16"), ("# none\n", "a key on a line")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words) as caught:
            Settings.from_environment({"WORKBENCH_API_KEY_FILE": str(file)}, home=home)
        assert "short-secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="can be read"):
        Settings.from_environment({"WORKBENCH_API_KEY_FILE": str(tmp_path / "none")}, home=home)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORKBENCH_API_QUEUE": "many"}, "WORKBENCH_API_QUEUE must be a whole number, got 'many'"),
        ({"WORKBENCH_API_QUEUE": "0"}, "WORKBENCH_API_QUEUE must be above 0, got 0"),
        ({"WORKBENCH_API_STUDY_SECONDS": "-1"}, "must be above 0"),
        ({"WORKBENCH_API_PORT": "70000"}, "port must be between"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(home: Path, environment: dict[str, str], words: str):
    with pytest.raises(ConfigError, match=words):
        Settings.from_environment(environment, home=home)
    assert Settings.from_environment({"WORKBENCH_API_QUEUE": "3"}, home=home, port=1234).queue == 3


def test_without_the_key_nothing_but_health_is_answered(connect: Any, home: Path):
    client = connect(**keyed(home))
    assert client.get("/health").status_code == 200
    for method, path in (
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("POST", "/portfolio/analyze"),
        ("GET", "/x"),
    ):
        answer = client.request(method, path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer  {KEY}"}):
        assert client.get("/", headers=headers).status_code == 200
    for headers in (
        {"X-API-Key": OTHER},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
        {"X-API-Key": KEY + "x"},
    ):
        assert client.get("/", headers=headers).status_code == 401


def test_with_a_key_any_host_name_is_served_and_without_only_loopback(connect: Any, home: Path):
    assert connect(**keyed(home)).get("/", headers={"Host": "api.example.org", "X-API-Key": KEY}).status_code == 200
    client = connect()
    for host in ("evil.example.org", "127.0.0.1.example.org", ""):
        assert client.get("/", headers={"Host": host}).status_code == 400
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/", headers={"Host": host}).status_code == 200


def test_a_page_in_a_browser_cannot_send_anything(client: Any):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        for path in ("/portfolio/analyze", "/stocks/analyze", "/sweeps", "/reports", "/datasets?name=x"):
            answer = client.post(
                path, content=b"{}", headers={"content-type": kind, "Origin": "https://evil.example.org"}
            )
            assert answer.status_code == 415
    asked = client.options(
        "/portfolio/analyze", headers={"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
    )
    assert asked.status_code == 405
    assert not any(name.startswith("access-control") for name in asked.headers)


def test_every_answer_has_the_security_headers_and_an_id(client: Any):
    for path in ("/", "/health", "/none", "/jobs/0", "/metrics"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert len(headers["x-request-id"]) == 16
    assert client.get("/", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"] != "a b\tc"


def test_a_body_that_is_too_large_is_refused_claimed_or_not(connect: Any):
    client = connect(body_bytes=1000, upload_bytes=5000)
    headers = {"content-type": "application/json"}
    claimed = client.post("/portfolio/analyze", content=b"{}", headers=headers | {"content-length": str(10 * 10**9)})
    assert claimed.status_code == 413 and claimed.headers["connection"] == "close"
    absurd = client.post("/portfolio/analyze", content=b"{}", headers=headers | {"content-length": "9" * 400})
    assert absurd.status_code == 413
    chunks = client.post("/portfolio/analyze", content=(b" " * 300 for _ in range(5)), headers=headers)
    assert "content-length" not in chunks.request.headers and chunks.status_code == 413
    assert client.post("/portfolio/analyze", content=b" " * 1001, headers=headers).status_code == 413
    assert client.post("/portfolio/analyze", content=b" " * 998 + b"{}", headers=headers).status_code == 200
    table = {"content-type": "text/csv"}
    assert client.post("/datasets?name=big", content=(b"x" * 1000 for _ in range(9)), headers=table).status_code == 413
    assert client.get("/datasets").json()["datasets"][-1]["name"] == "small"


def test_a_rate_limit_holds_per_key(connect: Any, home: Path):
    both = Settings.from_environment({"WORKBENCH_API_KEY": KEY}, home=home).key_hashes
    both += Settings.from_environment({"WORKBENCH_API_KEY": OTHER}, home=home).key_hashes
    client = connect(key_hashes=both, rate_per_second=0.01, rate_burst=5)
    statuses = [client.get("/", headers={"X-API-Key": KEY}).status_code for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    refused = client.get("/", headers={"X-API-Key": KEY})
    assert int(refused.headers["retry-after"]) > 50
    assert client.get("/", headers={"X-API-Key": OTHER}).status_code == 200
    guesses = [client.get("/", headers={"X-API-Key": f"guess {i} of the key"}).status_code for i in range(8)]
    assert guesses == [401] * 5 + [429] * 3


def test_a_bucket_fills_again_and_many_callers_cost_no_memory():
    limit = RateLimit(per_second=50.0, burst=1)
    assert limit.take("a") == 0.0
    wait = limit.take("a")
    assert 0.0 < wait <= 0.02
    time.sleep(wait)
    assert limit.take("a") == 0.0
    for i in range(20_000):
        limit.take(f"caller {i}")
    assert len(limit._buckets) == 10_000
    assert {RateLimit(0.0, 1).take("a") for _ in range(5)} == {0.0}


def test_an_unknown_error_tells_the_client_its_id_and_the_log_the_rest(client: Any, caplog: pytest.LogCaptureFixture):
    server = client.app.state.server
    server.markets = None  # whatever the routes rely on: what breaks must not be told
    with caplog.at_level(logging.INFO, logger="workbench.api"):
        answer = client.post("/portfolio/analyze", json={}, headers={"X-Request-Id": "trace-me"})
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "trace-me"
    assert answer.json() == {"detail": "internal error; the server's log has it under request trace-me"}
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "workbench.api"]
    told = next(line for line in lines if line["event"] == "unexpected")
    assert told["request_id"] == "trace-me" and "AttributeError" in told["traceback"]
    entry = next(line for line in lines if line["event"] == "request")
    assert (entry["status"], entry["path"], entry["method"]) == (500, "/portfolio/analyze", "POST")


def test_the_log_never_holds_a_key(connect: Any, home: Path, caplog: pytest.LogCaptureFixture):
    client = connect(**keyed(home))
    with caplog.at_level(logging.INFO, logger="workbench.api"):
        client.get("/", headers={"X-API-Key": KEY})
        client.get("/", headers={"Authorization": f"Bearer {OTHER}"})
    written = "".join(JsonLines().format(record) for record in caplog.records)
    assert "key 0" in written and KEY not in written and OTHER not in written


def test_deep_threads_of_requests_leave_no_thread_behind(connect: Any):
    before = threading.active_count()
    client = connect()
    client.post("/portfolio/analyze", json={"dataset": "small"})
    client.__exit__(None, None, None)
    deadline = time.monotonic() + 5
    while [thread for thread in threading.enumerate() if thread.name.startswith(("jobs", "compute"))]:
        assert time.monotonic() < deadline, f"{threading.active_count()} threads, {before} before"
        time.sleep(0.05)
