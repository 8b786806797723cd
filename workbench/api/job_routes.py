"""`POST /sweeps`, `POST /reports` and `/jobs/{id}`: work that takes longer than a client waits.

Enters: a JSON body, then the id of a job. Leaves: a status to poll, and at the end a result.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel

from workbench.api.bodies import AnalyzeRequest, SweepRequest, documented_body, parse_body
from workbench.api.datasets import Data
from workbench.api.job_commands import Command, report_command, sweep_command
from workbench.api.job_files import JobFolder
from workbench.api.job_outcome import (
    IPYNB,
    JSON,
    PARQUET,
    hide_inputs,
    not_done,
    result_file,
    warnings_of,
    without_tracebacks,
)
from workbench.api.problems import Refusal, documented
from workbench.api.server import Server, json_body, server_of
from workbench.report.parameters import NOTEBOOKS
from workbench.study import run_study

router = APIRouter(tags=["jobs"])

JobId = Annotated[
    str, Path(description="what the job was started with", json_schema_extra={"pattern": "^[0-9a-f]{16}$"})
]

# The page's own policy names the hash of its script; both hold. Without allow-same-origin it cannot use this API in the reader's name.
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)


class Progress(BaseModel):
    """How far a job is; `total` is null where that is not known."""

    done: int
    total: int | None
    unit: str


class JobAnswer(BaseModel):
    """A job. `result` and `html` are where to fetch what it left, null as long as there is nothing; `warnings` are for its user."""

    id: str
    kind: Literal["sweep", "report"]
    status: Literal["queued", "running", "done", "failed", "cancelled", "lost"]
    created_at: str
    started_at: str | None
    finished_at: str | None
    progress: Progress | None
    error: str | None
    warnings: list[str]
    result: str | None
    html: str | None
    request: dict[str, Any]


def _accepted(model: type[BaseModel]) -> dict[str, Any]:
    accepted: dict[int | str, dict[str, Any]] = {202: {"model": JobAnswer, "description": "Queued"}}
    return {
        "status_code": 202,
        "response_class": JSONResponse,
        "responses": accepted | documented(415, 422, 504),
        "openapi_extra": documented_body(model),
    }


@router.post("/sweeps", summary="Run many studies", **_accepted(SweepRequest))
async def start_sweep(request: Request) -> Response:
    """Queue a sweep over all combinations of a grid; the other fields hold for all of them."""
    server = server_of(request)
    asked = parse_body(SweepRequest, await json_body(request), server.settings.symbols)
    return await _submit(
        server,
        asked,
        lambda data: sweep_command(asked, data, server.settings.job_engine, server.settings.sweep_configs),
    )


@router.post("/reports", summary="Make a report", **_accepted(AnalyzeRequest))
async def start_report(request: Request) -> Response:
    """Queue a portfolio report of the study that the fields describe."""
    server = server_of(request)
    asked = parse_body(AnalyzeRequest, await json_body(request), server.settings.symbols)
    return await _submit(server, asked, lambda data: report_command(asked, data, server.settings.job_engine))


async def _submit(server: Server, asked: AnalyzeRequest, command: Any) -> Response:
    data = server.registry.resolve(asked.dataset, asked.prices, asked.benchmark, asked.start, asked.end)
    made: Command = command(data)
    await server.pool.run(_check, server, asked, data, made.kind)  # what is wrong with it is said now, not by the job
    status = await asyncio.to_thread(server.jobs.submit, made, asked.model_dump(mode="json", exclude_unset=True))
    answer = _answer(server, JobFolder(server.jobs.folder / status["id"]), status)
    return JSONResponse(answer, 202, {"Location": f"/jobs/{status['id']}"})


def _check(server: Server, asked: AnalyzeRequest, data: Data, kind: str) -> None:
    """Load the data, and run the study of a report: a sweep's may differ in what they need."""
    market = server.markets.market(data)
    if kind == "report":
        run_study(asked.study(), market)


@router.get("/jobs/{job_id}", summary="How a job stands", responses=documented(404), response_model=JobAnswer)
async def get_job(request: Request, job_id: JobId) -> dict[str, Any]:
    """Return the status of a job."""
    server = server_of(request)
    return await asyncio.to_thread(lambda: _answer(server, *server.jobs.get(job_id)))


@router.delete("/jobs/{job_id}", summary="Cancel a job", responses=documented(404, 409), response_model=JobAnswer)
async def cancel_job(request: Request, job_id: JobId) -> dict[str, Any]:
    """Cancel a job that waits or runs; one that has ended stays as it is."""
    server = server_of(request)
    status = await asyncio.to_thread(server.jobs.cancel, job_id)
    return _answer(server, JobFolder(server.jobs.folder / job_id), status)


@router.get(
    "/jobs/{job_id}/result",
    summary="What a job left",
    response_class=Response,
    responses={
        200: {
            "description": "A sweep's rows, or a report's JSON or notebook; of a failed report the notebook",
            "content": {JSON: {"schema": {}}, PARQUET: {}, IPYNB: {"schema": {"type": "object"}}},
        },
        **documented(404, 409, 422),
    },
)
async def get_result(
    request: Request,
    job_id: JobId,
    format: Literal["json", "parquet", "ipynb"] = "json",  # noqa: A002
) -> Response:
    """Return a sweep's list of `{"config", "summary"}`, or its Parquet file; a report's JSON, or its executed notebook.

    A report that failed has no JSON, but its notebook up to the cell that stopped it: `format=ipynb`.
    """
    return await asyncio.to_thread(_result, server_of(request), job_id, format)


def _result(server: Server, job_id: str, form: str) -> Response:
    job, status = server.jobs.get(job_id)
    path, kind = result_file(job, status, form)
    if kind == PARQUET:
        return FileResponse(path, media_type=kind, filename=f"sweep-{job_id}.parquet")
    text = hide_inputs(path.read_text(encoding="utf-8"), job, status)
    if kind == IPYNB:
        # papermill's account names the file that was run, which lies with this installation.
        text = text.replace(json.dumps(f"{NOTEBOOKS}{os.sep}", ensure_ascii=False)[1:-1], "")
        if status["status"] != "done":
            text = server.without_paths(without_tracebacks(text))
        return Response(
            text, media_type=kind, headers={"Content-Disposition": f'attachment; filename="report-{job_id}.ipynb"'}
        )
    return Response(text, media_type=kind)


@router.get(
    "/jobs/{job_id}/html",
    summary="A report's page",
    response_class=Response,
    responses={200: {"description": "The page", "content": {"text/html": {}}}, **documented(404, 409)},
)
async def get_page(request: Request, job_id: JobId) -> Response:
    """Return the page of a report, which shows itself without this server."""
    return await asyncio.to_thread(_page, server_of(request), job_id)


def _page(server: Server, job_id: str) -> Response:
    job, status = server.jobs.get(job_id)
    if status["kind"] != "report":
        raise Refusal(404, "only a report has a page; a sweep's rows are at /jobs/{id}/result")
    if status["status"] != "done":
        raise not_done(job, status, "have a page")
    page = job.page()
    if page is None:
        raise Refusal(404, "the report's page is gone")
    text = hide_inputs(page.read_text(encoding="utf-8"), job, status)
    return Response(text, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})


def _answer(server: Server, job: JobFolder, status: dict[str, Any]) -> dict[str, Any]:
    """Return a status as clients see it."""
    error = status.get("error")
    shown = {name: status.get(name) for name in JobAnswer.model_fields}
    done, place = status["status"] == "done", f"/jobs/{status['id']}"
    total = status["total"]
    everything = {"done": total, "total": total, "unit": "configurations"}
    return shown | {
        "progress": everything if done and total is not None else job.progress(),
        "error": None if error is None else server.hide_paths(error),
        "warnings": warnings_of(job, status),
        "result": f"{place}/result" if done else None,
        "html": f"{place}/html" if done and status["kind"] == "report" else None,
    }
