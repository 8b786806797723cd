"""The whole of docker-compose.yml at work, in boxes instead of containers: health checks, a report, a sweep, a lost worker, a lost API.

Two workers, each a host of its own. It takes some minutes, hence WORKBENCH_FULL=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from boxes import Boxes, why_not
from compose import size
from processes import until

from workbench import StudyConfig, load_market, run_study
from workbench.client import Client

pytestmark = pytest.mark.skipif(not os.environ.get("WORKBENCH_FULL"), reason="some minutes: WORKBENCH_FULL=1")
GRID = "top_n=1..8;weighting=equal,inverse_volatility;cost_bps=0,5,10;min_observations=1,2,3"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    boxes = Boxes(tmp_path_factory.mktemp("system"), workers=2)
    try:
        # In the order of depends_on; a health check each.
        for wave in (["ray-head"], ["ray-worker-1", "ray-worker-2", "api"], ["dashboard", "lab"]):
            for name in wave:
                boxes.start(name)
            for name in wave:
                took = boxes.boxes[name].wait_until_healthy()
                print(f"{name}: healthy after {took:.0f} s more, {boxes.boxes[name].restarts} restarts")
        yield boxes
    finally:
        boxes.close()


@pytest.fixture(scope="module")
def api(system: Boxes) -> Iterator[Client]:
    with Client(f"http://{system.addresses['api']}:8000", system.secret("api_key"), timeout_seconds=300) as client:
        yield client


def cpus(api: Client) -> float:
    return float(api.status()["resources"]["CPU"])


def test_the_services_make_one_cluster_in_which_only_workers_compute(system: Boxes, api: Client):
    status = api.status()
    assert api.about()["engine"] == "Ray Serve"
    assert {node["name"] for node in status["nodes"] if node["alive"]} == set(system.addresses) - {"dashboard"}
    assert cpus(api) == 4.0


def test_the_answer_of_the_api_is_that_of_a_call_here(api: Client):
    answer = api.analyze({"dataset": "default", "top_n": 3})
    expected = run_study(StudyConfig(top_n=3), load_market("sentiment_data.csv", "simulated")).to_dict()
    assert answer["study"]["summary"] == json.loads(json.dumps(expected["summary"]))


def test_without_its_secret_nobody_gets_in(system: Boxes):
    at = system.addresses
    assert httpx.get(f"http://{at['api']}:8000/datasets").status_code == 401
    assert httpx.get(f"http://{at['lab']}:8888/api/contents").status_code == 403
    token = {"Authorization": f"token {system.secret('lab_token')}"}
    assert httpx.get(f"http://{at['lab']}:8888/api/contents", headers=token).status_code == 200
    assert httpx.get(f"http://{at['ray-head']}:8265/api/jobs/").status_code == 401
    check = "import sys; from workbench.cluster.address import check_address; check_address(sys.argv[1])"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", check, f"{at['ray-head']}:6379"], env=bare, capture_output=True, text=True, check=False
    )
    assert "wants a token" in done.stderr


def test_the_dashboard_is_served(system: Boxes):
    page = httpx.get(f"http://{system.addresses['dashboard']}:8501/", timeout=30)
    assert page.status_code == 200 and "<title>" in page.text


def test_a_root_cannot_be_written_and_there_are_no_capabilities(system: Boxes):
    for name, box in system.boxes.items():
        tried = box.run(["sh", "-c", "touch /srv/x /usr/x /etc/x; id -u; grep CapBnd /proc/self/status"])
        assert tried.stderr.count("Read-only file system") >= 2, (name, tried.stderr)  # /srv is the box's own
        assert tried.stdout.split() == ["1000", "CapBnd:", "0" * 16]


def test_a_report_and_a_sweep_through_the_api_use_the_cluster(api: Client):
    job = api.wait(api.start_report({"dataset": "default"})["id"])
    assert json.loads(api.result(job["id"]))["report"]["execution"]["engine"] == "ray"
    assert b"<html" in api.page(job["id"])[:200]
    job = api.wait(api.start_sweep({"dataset": "default", "grid": GRID})["id"])
    assert len(json.loads(api.result(job["id"]))) == 144


def test_run_lab_workbench_report_renders_a_report_on_the_cluster(system: Boxes):
    box = system.start("lab-run", ["workbench", "report"], service="lab")
    assert box.wait(400) == 0, box.said()
    (page,) = system.volume("reports").glob("*.html")
    assert json.loads(page.with_suffix(".json").read_text())["report"]["execution"]["engine"] == "ray"
    assert page.stat().st_uid == 1000
    assert "reports/" in box.said()


def test_ray_job_submit_workbench_report_renders_one_too(system: Boxes):
    command = ["ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--"]
    done = system.boxes["ray-head"].run([*command, "workbench", "report", "-o", "/srv/reports/of-a-job"], 400)
    assert done.returncode == 0, done.stdout + done.stderr
    (page,) = system.volume("reports").glob("of-a-job/*.html")
    assert json.loads(page.with_suffix(".json").read_text())["report"]["execution"]["engine"] == "ray"


def test_nobody_comes_near_a_limit(system: Boxes):
    for name, box in system.boxes.items():
        if name != "lab-run":
            threads, memory = box.measure()
            print(
                f"{name}: {threads} threads of {box.service['pids_limit']}, {memory >> 20} MB of {box.service['mem_limit']}"
            )
            assert threads < 0.8 * box.service["pids_limit"], name
            assert memory < 0.8 * size(box.service["mem_limit"]), name


def test_a_worker_that_is_lost_in_the_middle_costs_no_result(system: Boxes, api: Client):
    job = api.start_sweep({"dataset": "default", "grid": GRID.replace("cost_bps=0,5,10", "cost_bps=0..40")})["id"]
    until(lambda: api.job(job)["status"] != "queued", 120)
    system.boxes["ray-worker-1"].kill()
    assert api.wait(job)["status"] == "done"
    assert len(json.loads(api.result(job))) == 1968
    assert api.health()["status"] == "healthy"


def test_an_api_that_is_killed_comes_back_and_a_worker_too(system: Boxes, api: Client):
    system.boxes["api"].kill()
    system.start("api").wait_until_healthy()
    system.start("ray-worker-1").wait_until_healthy()
    assert api.analyze({"dataset": "default", "top_n": 3})["status"] == "success"
    until(lambda: cpus(api) >= 4.0, 120)


def test_services_end_in_the_time_that_they_are_given(system: Boxes):
    for name in ("lab", "dashboard", "api", "ray-worker-2", "ray-head"):
        box = system.boxes[name]
        allowed = float(box.service["stop_grace_period"].removesuffix("s"))
        print(f"{name}: ended in {box.stop(allowed):.1f} s")
