"""What the command line as a client asks of the API: the notebook of a report, warnings of a job, hashes of tables."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from processes import until

import workbench
from workbench.report.inputs import sha256_of

ROOT = Path(workbench.__file__).resolve().parents[1]


def finished(client: Any, path: str, **body: Any) -> dict[str, Any]:
    job = client.post(path, json=body).json()["id"]
    until(lambda: client.get(f"/jobs/{job}").json()["status"] not in ("queued", "running"), 60)
    return dict(client.get(f"/jobs/{job}").json())


def test_the_notebook_of_a_report_is_executed_and_shows_no_path_of_the_server(client: Any, home: Path):
    job = finished(client, "/reports", dataset="small", top_n=2)
    answer = client.get(job["result"], params={"format": "ipynb"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ipynb+json")
    assert answer.headers["content-disposition"] == f'attachment; filename="report-{job["id"]}.ipynb"'
    notebook = answer.json()
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 10 and all(cell["execution_count"] for cell in cells)
    assert notebook["metadata"]["papermill"]["input_path"] == "portfolio_report.ipynb"
    assert notebook["metadata"]["workbench"]["status"] == "done"
    for path in (home, home.parent, ROOT):
        assert str(path) not in answer.text
    assert '"small.csv"' in answer.text.replace("\\", "")
    assert client.get(job["result"], params={"format": "parquet"}).status_code == 422
    assert client.get(job["result"]).json()["report"]["parameters"]["top_n"] == 2


def test_a_sweep_has_no_notebook_and_its_warnings_are_told(client: Any):
    job = finished(client, "/sweeps", dataset="small", grid="top_n=1,9;exclude=NOBODY,AAA")
    answer = client.get(job["result"], params={"format": "ipynb"})
    assert (answer.status_code, answer.json()["detail"]) == (
        422,
        "the result of a sweep is json or parquet; only a report has a notebook",
    )
    unknown, failed = job["warnings"]
    assert unknown == "exclude names NOBODY, which the table does not contain"
    assert failed.startswith("2 of 4 configurations failed; row 2: top_n must be between 1 and ")


def test_a_job_without_warnings_has_an_empty_list(client: Any):
    assert finished(client, "/sweeps", dataset="small", grid="top_n=1,2")["warnings"] == []


def test_tables_are_known_by_the_hash_of_their_bytes(client: Any, home: Path):
    tables = home.parent / "operator"
    content = b"date,QQQ,AAA\n2022-01-03,1.0,2.0\n2022-01-04,1.5,2.5\n"
    upload = client.post(
        "/datasets", params={"name": "sent", "kind": "prices"}, content=content, headers={"Content-Type": "text/csv"}
    )
    assert (upload.status_code, upload.json()["prices_sha256"]) == (201, hashlib.sha256(content).hexdigest())
    (home / "api" / "datasets" / "gone.json").write_text(json.dumps({"sentiment": "nowhere.csv"}))
    entries = {entry["name"]: entry for entry in client.get("/datasets").json()["datasets"]}
    hashes = {name: (entry["sentiment_sha256"], entry["prices_sha256"]) for name, entry in entries.items()}
    assert hashes == {
        "default": (sha256_of(ROOT / "sentiment_data.csv"), None),
        "gone": (None, None),
        "sent": (None, hashlib.sha256(content).hexdigest()),
        "small": (sha256_of(tables / "posts.csv"), sha256_of(tables / "closes.csv")),
    }
