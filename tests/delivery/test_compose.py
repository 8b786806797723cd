"""docker-compose.yml holds what it promises: nothing to be reached from outside, nothing allowed that is not needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compose import ROOT, compose, object_store, services, size

from workbench import __version__, cli

SERVICES = services()
LISTENING = {"ray-head": "8265", "api": "8000", "dashboard": "8501", "lab": "8888"}
EACH = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def tool(name: str) -> str:
    """Return a program of the test tools; they are in the lock."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"no {name} for this machine")
    return found


def test_it_is_a_compose_file_by_the_schema():
    schema = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    done = subprocess.run(schema, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_its_linter():
    done = subprocess.run(
        [tool("hadolint"), "--no-color", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_every_service_is_there_and_only_one_builds_the_image():
    assert set(SERVICES) == {"lab", "ray-head", "ray-worker", "api", "dashboard"}
    assert {service["image"] for service in SERVICES.values()} == {f"workbench:{__version__}"}
    assert [name for name, service in SERVICES.items() if "build" in service] == ["ray-head"]


def test_ports_are_published_on_loopback_only():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: [f"127.0.0.1:{port}:{port}"] for name, port in LISTENING.items()}
    assert "network_mode" not in str(SERVICES)


def test_workers_can_be_many():
    assert not {"container_name", "hostname", "ports"} & set(SERVICES["ray-worker"])


@EACH
def test_a_service_may_do_nothing_that_it_need_not(service: dict[str, Any]):
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "pid", "ipc", "devices", "userns_mode", "env_file"} & set(service)
    assert service["networks"] == ["inside"]


@EACH
def test_a_service_writes_to_volumes_and_tmp_and_nowhere_else(service: dict[str, Any]):
    assert service["read_only"] is True
    assert service["volumes"] == ["data:/srv/data", "reports:/srv/reports"]  # by name: nothing of the host
    assert [entry.split(":")[0] for entry in service["tmpfs"]] == ["/tmp"]
    assert set(compose()["volumes"]) == {"data", "reports"}


@EACH
def test_a_service_has_limits_and_comes_back(service: dict[str, Any]):
    assert service["restart"] == "unless-stopped"
    assert 0 < size(service["mem_limit"]) <= 8 * 2**30 and 0 < service["cpus"] <= 4
    assert 0 < service["pids_limit"] <= 4096
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@EACH
def test_an_object_store_fits_into_shm_and_shm_into_memory(service: dict[str, Any]):
    store = object_store(service)
    if store is None:
        assert "shm_size" not in service and "RAY_ADDRESS" not in service["environment"]
        return
    assert 75 * 2**20 <= store <= size(service["shm_size"]) * 0.95  # Ray's smallest; room for others' shared memory
    # A tmpfs counts against the memory of its container.
    tmp = re.search(r"size=(\w+)", service["tmpfs"][0])
    assert tmp and size(service["shm_size"]) + size(tmp.group(1)) < size(service["mem_limit"])


@EACH
def test_a_service_is_asked_how_it_is_and_given_time_to_start(service: dict[str, Any]):
    check = service["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL") and "healthy" in " ".join(check["test"])
    # `ray start` alone took 46 s on two slow processors.
    assert seconds(check["start_period"]) >= (60 if object_store(service) is None else 120)
    assert seconds(check["interval"]) <= 30 and seconds(check["timeout"]) >= 10 and check["retries"] >= 3
    waited = service.get("depends_on", {})
    assert all(waits == {"condition": "service_healthy"} for waits in waited.values())


def test_every_node_of_ray_wants_the_token_and_secrets_come_from_files():
    for name, service in SERVICES.items():
        environment = service["environment"]
        if object_store(service) is not None:
            assert environment["RAY_AUTH_MODE"] == "token", name
            assert environment["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        named = {Path(value).name for value in environment.values() if value.startswith("/run/secrets/")}
        assert named == set(service["secrets"]), name
        assert not {"RAY_AUTH_TOKEN", "JUPYTER_TOKEN", "WORKBENCH_API_KEY"} & set(environment)
    files = {name: entry["file"] for name, entry in compose()["secrets"].items()}
    assert files == {name: f"./secrets/{name}" for name in ("ray_token", "api_key", "lab_token")}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "/secrets/" in ignored and "!secrets" not in (ROOT / ".dockerignore").read_text()


def test_secrets_are_made_once_and_for_their_owner(tmp_path: Path):
    command = ["sh", str(ROOT / ".ci/container/secrets")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(compose()["secrets"]) and len(set(made.values())) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    (tmp_path / "secrets").chmod(0o755)  # by whoever made the folder
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    (tmp_path / "secrets/api_key").unlink()
    (tmp_path / "secrets/api_key").mkdir()
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("workbench: secrets/api_key must be a file, got a folder")


@pytest.mark.parametrize("name", ["api", "dashboard", "lab"])
def test_the_options_of_a_service_are_those_of_the_command_line(name: str, capsys: pytest.CaptureFixture[str]):
    program, command, *words = SERVICES[name]["command"]
    assert program == "workbench" and cli.run([command, "--help"]) == 0
    options = {word for word in words if word.startswith("--")}
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert options and options <= known


def test_where_a_service_listens_is_where_it_is_asked():
    for name, port in LISTENING.items():
        if name != "ray-head":
            command = SERVICES[name]["command"]
            assert command[command.index("--port") + 1] == port and command[command.index("--host") + 1] == "0.0.0.0"
            assert f"http://127.0.0.1:{port}/" in " ".join(SERVICES[name]["healthcheck"]["test"])
    assert SERVICES["dashboard"]["environment"]["WORKBENCH_URL"] == "http://api:8000"
