"""The OpenAPI document is what the server does: generated requests find no 500 and no status that it does not name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator

from workbench import StudyConfig
from workbench.api.app import create_app
from workbench.api.settings import Settings


def test_every_operation_names_its_statuses_and_bodies_have_examples(client: Any):
    document = client.get("/openapi.json").json()
    operations = [(path, method, what) for path, item in document["paths"].items() for method, what in item.items()]
    assert len(operations) == 15
    for path, method, what in operations:
        assert what["summary"] and what["description"], path
        assert {"400", "401", "408", "413", "429", "500", "503"} <= set(what["responses"]), path
        if method == "post" and path != "/datasets":
            body = what["requestBody"]["content"]["application/json"]
            assert body["schema"]["additionalProperties"] is False
            for example in body["examples"].values():
                Draft202012Validator(body["schema"]).validate(example["value"])
    fields = document["paths"]["/portfolio/analyze"]["post"]["requestBody"]["content"]["application/json"]["schema"][
        "properties"
    ]
    assert set(fields) == {*StudyConfig.model_fields, "dataset", "prices", "benchmark", "start", "end"}
    assert fields["top_n"]["default"] == 5 and fields["top_n"]["minimum"] == 1


def test_the_examples_of_the_document_work(client: Any):
    document = client.get("/openapi.json").json()
    for path in ("/portfolio/analyze", "/stocks/analyze"):
        post = document["paths"][path]["post"]
        for example in post["requestBody"]["content"]["application/json"]["examples"].values():
            answer = client.post(path, json=example["value"])
            assert answer.status_code == 200
            reference = post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
            schema = document["components"]["schemas"][reference.rpartition("/")[2]] | {
                "components": document["components"]
            }
            Draft202012Validator(schema).validate(json.loads(answer.content))


OPERATIONS = [
    ("/", "GET"),
    ("/health", "GET"),
    ("/status", "GET"),
    ("/metrics", "GET"),
    ("/cache/clear", "DELETE"),
    ("/datasets", "GET"),
    ("/datasets", "POST"),
    ("/portfolio/analyze", "POST"),
    ("/stocks/analyze", "POST"),
    ("/sweeps", "POST"),
    ("/reports", "POST"),
    ("/jobs/{job_id}", "GET"),
    ("/jobs/{job_id}", "DELETE"),
    ("/jobs/{job_id}/result", "GET"),
    ("/jobs/{job_id}/html", "GET"),
]


CASES = [(*operation, "POSITIVE") for operation in OPERATIONS]
CASES += [(*operation, "NEGATIVE") for operation in OPERATIONS[6:]]  # the others take nothing that could be wrong


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_generated_requests_find_nothing_undocumented(home: Path, path: str, method: str, mode: str):
    schemathesis = pytest.importorskip("schemathesis")
    checks = schemathesis.checks
    chosen = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.response_headers_conformance,
    ]
    # Without its lifespan the application looks after no jobs: they are queued, and that is all. Limits are wide: back-pressure is a 503.
    app = create_app(Settings(home=home, rate_per_second=0, jobs_queued=1000))
    try:
        schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "127.0.0.1"})
        strategy = schema[path][method].as_strategy(generation_mode=schemathesis.GenerationMode[mode])

        @given(case=strategy)
        @settings(
            max_examples=10 if path != "/datasets" else 5,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            case.call_and_validate(checks=chosen, headers={"Host": "127.0.0.1"})

        ask()
    finally:
        app.state.server.close()
