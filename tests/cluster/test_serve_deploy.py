"""`serve deploy` with the config file that ships: on a cluster of its own, with its key, a study and a job; and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from processes import until
from served import free_port
from small_home import make_home

from workbench.api import deploy
from workbench.api.patience import VARIABLE as LIMITS
from workbench.api.settings import Settings
from workbench.client import Client
from workbench.cluster.serving import PROXY_HOOK
from workbench.cluster.surroundings import PROXY_METRICS_VARIABLE as METRICS
from workbench.errors import ConfigError

CONFIG = Path(deploy.__file__).with_name("serve.yaml")
KEY = "a-key-for-this-test-only"
FULL = pytest.mark.skipif(
    not os.environ.get("WORKBENCH_FULL"), reason="a cluster with a dashboard of its own: WORKBENCH_FULL=1"
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"workers": 2}, "args must be of replicas, got workers"),
        ({"replicas": "2"}, "replicas must be a whole number, got '2'"),
        ({"replicas": True}, "replicas must be a whole number, got True"),
        ({"replicas": 0}, "REPLICAS must be above 0, got 0"),
        ({}, "WORKBENCH_API_KEY"),
    ],
)
def test_wrong_arguments_and_no_key_are_refused(arguments: dict, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORKBENCH_API_KEY", raising=False)
    monkeypatch.delenv("WORKBENCH_API_KEY_FILE", raising=False)
    if arguments:
        monkeypatch.setenv("WORKBENCH_API_KEY", KEY)
    with pytest.raises(ConfigError, match=said):
        deploy.application(arguments)


def test_the_config_file_has_the_limits_of_workbench_serve():
    config = yaml.safe_load(CONFIG.read_text())
    settings = Settings(Path("unused"))
    assert config["http_options"]["host"] == "127.0.0.1" and config["http_options"]["port"] == settings.port
    limit = settings.upload_seconds + settings.check_seconds + settings.study_seconds
    assert config["http_options"]["request_timeout_s"] == limit
    (application,) = config["applications"]
    assert application["import_path"] == "workbench.api.deploy:application"
    assert application["args"] == {"replicas": settings.replicas}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[dict[str, str], str, int]]:
    """Start a head; yield its environment, the address of its dashboard, and the port to serve on."""
    home, ports = make_home(tmp_path / "home"), [free_port() for _ in range(3)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    environment |= {"WORKBENCH_HOME": str(home), "WORKBENCH_API_KEY": KEY}
    # What the config file tells the operator to set for the limits.
    environment |= dict(re.findall(r"^#   (\w+)=(.*)$", CONFIG.read_text(), flags=re.M))
    assert {PROXY_HOOK, LIMITS, METRICS} <= set(environment)
    environment[METRICS] = str(tmp_path / "metrics")
    environment["PATH"] = str(Path(sys.executable).parent) + os.pathsep + environment["PATH"]
    short = tempfile.mkdtemp(prefix="wb-")  # the path of a socket has 107 bytes at most
    command = ["ray", "start", "--head", "--block", "--disable-usage-stats", f"--port={ports[0]}", "--num-cpus=2"]
    command += [
        f"--dashboard-port={ports[1]}",
        f"--ray-client-server-port={free_port()}",
        f"--dashboard-agent-listen-port={free_port()}",
    ]
    command += [f"--temp-dir={short}", "--node-ip-address=127.0.0.1"]
    with open(tmp_path / "log", "wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
    address = f"http://127.0.0.1:{ports[1]}"

    def is_up() -> bool:
        assert head.poll() is None, (tmp_path / "log").read_text()
        try:
            return httpx.get(f"{address}/api/gcs_healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(is_up, 120.0)
        yield environment, address, ports[2]
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(short, ignore_errors=True)


@FULL
def test_serve_deploy_serves_the_api_on_a_cluster(cluster: tuple[dict[str, str], str, int], tmp_path: Path):
    environment, address, port = cluster
    config = yaml.safe_load(CONFIG.read_text())
    config["http_options"]["port"] = port
    file = tmp_path / "serve.yaml"
    file.write_text(yaml.safe_dump(config))
    done = subprocess.run(
        ["serve", "deploy", str(file), "--address", address],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    url = f"http://127.0.0.1:{port}"

    def is_served() -> bool:
        try:
            return httpx.get(f"{url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    until(is_served, 180.0)
    assert httpx.get(f"{url}/datasets").status_code == 401
    with Client(url, KEY) as api:
        assert api.about()["engine"] == "Ray Serve"
        assert api.analyze({"dataset": "small", "top_n": 2})["status"] == "success"
        job = api.wait(api.start_sweep({"dataset": "small", "grid": "top_n=1..3"})["id"])
        assert job["status"] == "done"
    assert httpx.get(f"{url}/-/routes").json() == {
        "detail": "Not Found"
    }  # the limits are in force: Serve would list its routes
    text = httpx.get(f"{url}/metrics", headers={"X-API-Key": KEY}, timeout=30).text
    assert 'workbench_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'workbench_requests_total{method="GET",route="unmatched",status="401"} 1.0' in text
