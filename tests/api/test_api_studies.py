"""The HTTP door gives what the one call gives, from the cache where it was computed before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import workbench
from workbench import StudyConfig, load_market, run_study
from workbench.api.bodies import RENAMED
from workbench.stocks import analyze_stocks

KNOBS = {"top_n": 2, "cost_bps": 25, "execution_lag": 2, "weighting": "signal", "drift": False, "exclude": ["CCC"]}
SMALL = {"dataset": "small", **KNOBS}


def analyze(client: Any, **body: Any) -> httpx.Response:
    return client.post("/portfolio/analyze", json=body)


def send(client: Any, raw: bytes | str, path: str = "/portfolio/analyze", kind: str = "application/json") -> Any:
    return client.post(path, content=raw, headers={"content-type": kind})


def test_a_study_through_http_is_the_one_of_python(client: Any, home: Path):
    tables = home.parent / "operator"
    expected = run_study(StudyConfig(**KNOBS), load_market(tables / "posts.csv", tables / "closes.csv"))
    answer = analyze(client, **SMALL).json()
    study = answer["study"]
    plain = json.loads(json.dumps(expected.to_dict()))
    names = {"sentiment": "small.csv", "prices": "small-prices.csv"}  # never paths
    assert study == plain | {"provenance": plain["provenance"] | names}

    assert answer["status"] == "success" and answer["processing_time_seconds"] > 0
    assert answer["analysis"] == {
        "total_portfolio_return": expected.summary["total_return"],
        "total_benchmark_return": expected.summary["benchmark_total_return"],
        "excess_return": expected.summary["excess_return"],
        "portfolio_volatility": expected.summary["annualized_volatility"],
        "benchmark_volatility": expected.summary["benchmark_annualized_volatility"],
        "sharpe_ratio": expected.summary["sharpe_ratio"],
        "number_of_periods": expected.summary["n_periods"],
        "unique_stocks_analyzed": expected.summary["n_symbols"],
    }
    shown = answer["performance_data"]
    assert shown["dates"] == [str(day.date()) for day in expected.returns.index]
    assert shown["portfolio_cumulative_returns"][-1] == pytest.approx(expected.summary["total_return"], abs=1e-12)
    assert shown["benchmark_cumulative_returns"] == pytest.approx(
        (np.cumprod(1 + expected.returns["benchmark"]) - 1).tolist(), abs=1e-12
    )
    assert answer["portfolio_composition"] == {day: list(weights) for day, weights in expected.weights.items()}
    assert answer["metadata"]["config_id"] == expected.config.config_id
    assert answer["metadata"]["data_kind"] == "real"


def test_the_default_is_the_simulated_market_that_ships(client: Any):
    study = analyze(client).json()["study"]
    assert study == json.loads(json.dumps(run_study(StudyConfig(), load_market()).to_dict()))


def test_the_real_data_give_the_published_figures(connect: Any, home: Path, real_data: Path):
    record = {"sentiment": str(real_data / "sentiment_data.csv"), "prices": str(real_data / "prices.csv.gz")}
    (home / "api" / "datasets" / "real.json").write_text(json.dumps(record))
    study = analyze(connect(), dataset="real", execution_lag=0, cost_bps=0.0, drift=False).json()["study"]
    assert study["published"]["reproduced"]["total_portfolio_return"] == pytest.approx(0.00298695, abs=1e-8)
    assert study["summary"]["total_return"] == pytest.approx(0.1126, abs=1e-4)


def test_bounds_and_prices_of_another_name_are_used(client: Any, home: Path):
    tables = home.parent / "operator"
    (home / "api" / "datasets" / "closes.yaml").write_text(f"prices: {tables / 'closes.csv'}\nbenchmark: AAA\n")
    (home / "api" / "datasets" / "posts.yml").write_text(f"sentiment: {tables / 'posts.csv'}\n")
    body = {"dataset": "posts", "prices": "closes", "start": "2022-02-01", "end": "2022-03-31", "top_n": 1}
    study = analyze(client, **body).json()["study"]
    market = load_market(
        tables / "posts.csv", tables / "closes.csv", benchmark="AAA", start="2022-02-01", end="2022-03-31"
    )
    assert study["summary"] == json.loads(json.dumps(run_study(StudyConfig(top_n=1), market).summary))
    refused = analyze(client, dataset="closes")
    assert (refused.status_code, "prices only" in refused.text) == (422, True)
    without = analyze(client, dataset="posts")
    assert (without.status_code, str(tables) in without.text) == (422, False)


def test_a_hit_has_the_bytes_of_the_miss_and_outlives_the_server(connect: Any):
    first = connect()
    missed, hit = analyze(first, **SMALL), analyze(first, **SMALL)
    later = analyze(connect(), **SMALL)
    assert [answer.headers["x-cache"] for answer in (missed, hit, later)] == ["miss", "hit", "hit"]
    assert missed.content == hit.content == later.content
    assert first.get("/health").json()["cache_size"] == 1
    assert analyze(first, **SMALL, seed=1).headers["x-cache"] == "miss"


def test_clearing_the_cache_is_seen_by_another_server(connect: Any):
    one, other = connect(), connect()
    analyze(one, **SMALL)
    assert other.delete("/cache/clear").json() == {"status": "success", "removed": 1}
    assert analyze(one, **SMALL).headers["x-cache"] == "miss"


def test_a_changed_table_is_computed_anew(client: Any, home: Path):
    before = analyze(client, **SMALL)
    posts = home.parent / "operator" / "posts.csv"
    posts.write_text("\n".join(posts.read_text().splitlines()[:-40]) + "\n")
    after = analyze(client, **SMALL)
    assert after.headers["x-cache"] == "miss"
    hashes = [answer.json()["study"]["provenance"]["sentiment_sha256"] for answer in (before, after)]
    assert hashes[0] != hashes[1]


def test_a_cache_that_is_full_forgets_and_never_fails(connect: Any, home: Path):
    client = connect(cache_bytes=1 << 18)
    sizes = [len(analyze(client, **SMALL, seed=seed).content) for seed in range(60)]
    held = client.get("/status").json()["cache"]["entries"]
    assert 0 < held < 60 and all(sizes)


def test_a_damaged_cache_is_made_anew(connect: Any, home: Path):
    client = connect()
    analyze(client, **SMALL)
    client.__exit__(None, None, None)
    for file in (home / "api" / "cache").glob("cache.db*"):
        file.write_bytes(b"no database at all" * 1000)
    answer = analyze(connect(), **SMALL)
    assert (answer.status_code, answer.headers["x-cache"]) == (200, "miss")


def test_stocks_are_those_of_the_plain_function(client: Any, home: Path):
    prices = load_market(*(home.parent / "operator" / name for name in ("posts.csv", "closes.csv"))).prices
    body = {"dataset": "small", "symbols": ["NA", "AAA", "ZZZ"], "start": "2022-01-03"}
    answers = [client.post("/stocks/analyze", json=body) for _ in range(2)]
    expected = analyze_stocks(prices, body["symbols"], "2022-01-03").to_dict()
    found = answers[0].json()
    assert {name: found[name] for name in expected} == expected
    assert found["provenance"]["prices"] == "small-prices.csv" and found["provenance"]["data_kind"] == "real"
    assert answers[1].headers["x-cache"] == "hit" and answers[0].content == answers[1].content


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_is_refused_with_the_new_one(shared: Any, old: str):
    answer = analyze(shared, **{old: 5})
    assert answer.status_code == 422
    assert answer.json() == {"detail": f"{old} is called {RENAMED[old]} now; use that name"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"sentiment_url": "http://127.0.0.1:1/x.csv"}, "sentiment_url is refused"),
        ({"dataset": "http://127.0.0.1:1/x.csv"}, "dataset must be the name of a registered table"),
        ({"dataset": "../operator/posts.csv"}, "dataset must be the name"),
        ({"dataset": "/etc/passwd"}, "dataset must be the name"),
        ({"dataset": "SMALL"}, "dataset must be the name"),
        ({"dataset": ""}, "dataset must be the name"),
        ({"prices": "file:///etc/passwd"}, "prices must be simulated, snapshot:ID or the name"),
        ({"prices": "closes.csv"}, "prices must be"),
        ({"prices": "yfinance"}, "prices must be"),
        ({"prices": "snapshot:../../x"}, "prices must be"),
        ({"prices": "snapshot:0123456789ab"}, "snapshot must be the id of one in WORKBENCH_HOME"),
        ({"topn": 5}, "unknown field 'topn'; did you mean top_n?"),
        ({"self": 5}, "unknown field 'self'"),
        ({"grid": "top_n=1"}, "unknown field 'grid'"),
        ({"top_n": "5"}, "top_n must be a whole number, got '5'"),
        ({"top_n": True}, "top_n must be a whole number"),
        ({"top_n": 1000}, "top_n must be between 1 and 4"),
        ({"min_likes": 2**53 + 1}, "min_likes must be at most"),
        ({"max_weight": 0}, "max_weight must be above 0"),
        ({"signal": "nope"}, "signal must be one of"),
        ({"exclude": ["A" * 65]}, "exclude must hold symbols of 1 to 64"),
        ({"exclude": [f"S{i}" for i in range(1000)]}, "exclude must name at most 500 symbols, got 1000"),
        ({"benchmark": "ZZZ"}, "must have prices of the benchmark"),
        ({"start": "9999-01-01"}, "start must be a day in the years"),
        ({"start": "2022-02-30"}, "start must be a day of the calendar"),
        ({"start": "2022-04-01", "end": "2022-01-01"}, "start must not lie after end"),
        ({"end": "2100-01-01", "start": "2099-01-01"}, "must have rows from start to end"),
    ],
)
def test_a_wrong_study_is_refused_in_one_line(shared: Any, body: dict[str, Any], words: str):
    home = shared.app.state.server.settings.home
    answer = analyze(shared, **{"dataset": "small", **body})
    assert answer.status_code == 422
    assert set(answer.json()) == {"detail"}
    assert words in answer.json()["detail"] and "\n" not in answer.json()["detail"]
    assert str(home) not in answer.text and str(home.parent) not in answer.text and "--" not in answer.text


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"cost_bps": NaN}',
        b'{"cost_bps": -Infinity}',
        b'{"cost_bps": 1e999}',
        b'{"top_n": ' + b"9" * 5000 + b"}",
        b'{"seed":' + b"[" * 60_000,
        b'{"exclude": ["\\ud800"]}',
        b'{"exclude": ["A\\u0000B"]}',
        b'{"signal": "\\udfff"}',
        b'{"top_n": null}',
    ],
)
def test_a_body_that_is_no_study_is_refused(shared: Any, raw: bytes):
    answer = send(shared, raw)
    assert answer.status_code == 422
    assert list(answer.json()) == ["detail"] and len(answer.text) < 1000


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"symbols": []},
        {"symbols": "AAA"},
        {"symbols": [1]},
        {"symbols": [""]},
        {"symbols": ["nope"]},
        {"symbols": [f"S{i}" for i in range(1000)]},
        {"symbols": ["AAA"], "end": "1999-01-01"},
        {"symbols": ["AAA"], "start": "9999-12-31"},
        {"symbols": ["AAA"], "end_date": "2022-01-01"},
        {"symbols": ["AAA"], "prices": "http://x/y"},
    ],
)
def test_wrong_stocks_are_refused(shared: Any, body: dict[str, Any]):
    answer = shared.post("/stocks/analyze", json={"dataset": "small", **body})
    assert answer.status_code == 422 and list(answer.json()) == ["detail"]


def test_a_record_that_cannot_be_read_is_not_the_clients_fault(client: Any, home: Path):
    records = home / "api" / "datasets"
    (records / "broken.json").write_text("{")
    (records / "address.json").write_text('{"sentiment": "http://127.0.0.1:1/x.csv"}')
    (records / "gone.json").write_text('{"sentiment": "gone.csv"}')
    for name in ("broken", "address", "gone"):
        answer = analyze(client, dataset=name)
        assert answer.status_code == 503 and str(home) not in answer.text
    assert [item["name"] for item in client.get("/datasets").json()["datasets"]] == ["default", "gone", "small"]


def test_many_at_once_get_the_right_answers(connect: Any):
    client = connect(queue=100)
    wanted = [{**SMALL, "top_n": 1 + i % 3, "seed": i % 5} for i in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda body: analyze(client, **body), wanted))
    assert {answer.status_code for answer in answers} == {200}
    for body, answer in zip(wanted, answers, strict=True):
        config = answer.json()["study"]["config"]
        assert (config["top_n"], config["seed"]) == (body["top_n"], body["seed"])
        alone = analyze(client, **body)
        assert alone.headers["x-cache"] == "hit" and alone.json()["study"] == answer.json()["study"]


def test_a_full_queue_refuses_and_says_when_to_come_back(connect: Any):
    client = connect(threads=1, queue=1)
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda seed: analyze(client, **SMALL, seed=seed), range(30)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused and {answer.status_code for answer in refused} == {503}
    assert all(answer.headers["retry-after"] == "2" for answer in refused)
    assert any(answer.status_code == 200 for answer in answers)
    assert analyze(client, **SMALL, seed=99).status_code == 200


def test_a_computation_that_takes_too_long_is_given_up(connect: Any):
    client = connect(study_seconds=0.001)
    answer = analyze(client)
    assert answer.status_code == 504 and "at most 0.001 s" in answer.json()["detail"]


def test_the_version_and_the_endpoints_of_the_contract_are_there(client: Any):
    about = client.get("/").json()
    assert (about["name"], about["version"], about["engine"]) == ("workbench", workbench.__version__, "uvicorn")
    assert set(about["endpoints"]) == {
        "GET /",
        "GET /health",
        "GET /status",
        "GET /metrics",
        "GET /datasets",
        "POST /datasets",
        "POST /portfolio/analyze",
        "POST /stocks/analyze",
        "POST /sweeps",
        "POST /reports",
        "GET /jobs/{job_id}",
        "DELETE /jobs/{job_id}",
        "GET /jobs/{job_id}/result",
        "GET /jobs/{job_id}/html",
        "DELETE /cache/clear",
    }


def test_health_and_status_say_how_it_is(client: Any):
    assert client.get("/health").json() == {"status": "healthy", "ray_initialized": False, "cache_size": 0}
    status = client.get("/status").json()
    assert status["nodes"] and status["resources"]["CPU"] >= 1
    assert status["cache"]["entries"] == 0 and status["jobs"] == {"queued": 0, "running": 0}


def test_metrics_count_requests_and_cache_outcomes(client: Any):
    for _ in range(3):
        analyze(client, **SMALL)
    client.get("/none/of/these")
    text = client.get("/metrics").text
    assert 'workbench_requests_total{method="POST",route="/portfolio/analyze",status="200"} 3.0' in text
    assert 'workbench_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'workbench_cache_total{outcome="hit"} 2.0' in text and 'outcome="miss"} 1.0' in text
    assert 'workbench_request_seconds_count{route="/portfolio/analyze"} 3.0' in text
    assert "workbench_jobs_queued 0.0" in text
