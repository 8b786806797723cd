"""The single containers of docs/docker.md, without Docker: what each runs, with its variables, its secret and its health check."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from compose import ROOT
from lines import DOCKER, split
from pages import Page, commands
from served import free_port


@dataclass(frozen=True)
class Container:
    """What a `docker run` line asks for: variables, the places that are mounted, the health check, the command."""

    variables: dict[str, str]
    mounted: dict[str, str]
    health: list[str]
    command: list[str]


def container(line: str) -> Container:
    _, options, (_, *command) = split(DOCKER, shlex.split(line)[1:])
    values = {name: [value for option, value in options if option == name] for name in ("-e", "-v", "--health-cmd")}
    return Container(
        variables=dict(value.split("=", 1) for value in values["-e"]),
        mounted={place.split(":")[1]: place.split(":")[0] for place in values["-v"]},
        health=shlex.split(" ".join(values["--health-cmd"])),
        command=command,
    )


def containers() -> dict[str, Container]:
    """Return the containers of the page that run the workbench, by its command."""
    blocks = Page(ROOT / "docs" / "docker.md").blocks
    lines = [line.text for block in blocks if block.language == "console" for line in commands(block)]
    found = [container(line) for line in lines if line.startswith("docker run ") and "--entrypoint" not in line]
    return {one.command[1]: one for one in found if one.command}  # Lab is the image's own command: see .ci/image


class Place:
    """A folder in the place of the volumes and of `/run/secrets`, and ports in the place of a container's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, str] = {}
        made = ["sh", str(ROOT / ".ci/container/secrets")]
        (folder / "run").mkdir()
        subprocess.run(made, cwd=folder / "run", check=True, capture_output=True)

    def here(self, text: str) -> str:
        """Return what stands here for an address, a file or a port of the page."""
        text = re.sub(r"^/run/", f"{self.folder}/run/", text).replace("//api:", "//127.0.0.1:")
        return re.sub(r":(8\d{3})\b", lambda port: f":{self.port(port[1])}", text)

    def port(self, number: str) -> str:
        return self._ports.setdefault(number, str(free_port()))

    def environment(self, one: Container) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), str(ROOT / ".ci/container"), "/usr/bin", "/bin"])
        own = {"PATH": path, "HOME": str(self.folder / "home"), "WORKBENCH_HOME": str(self.folder / "data")}
        return own | {name: self.here(value) for name, value in one.variables.items()}

    @contextmanager
    def running(self, one: Container, default_port: str) -> Iterator[None]:
        """Run a container's command until it is healthy by its own check; end it at the end."""
        command = ["enter", *one.command, "--port", self.port(default_port)]
        environment = self.environment(one)
        with open(self.folder / "log", "wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        try:
            check = [self.here(word) for word in one.health]
            end = time.monotonic() + 120
            while subprocess.run(check, env=environment, capture_output=True, timeout=60, check=False).returncode:
                assert process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end, (self.folder / "log").read_text()
            yield
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_page_has_a_report_the_api_and_the_dashboard():
    assert set(containers()) == {"report", "serve", "dashboard"}
    for one in containers().values():
        wanted = {value for value in one.variables.values() if value.startswith("/run/secrets/")}
        assert wanted == {name for name in one.mounted if name.startswith("/run/secrets/")}


def test_a_report_lies_in_the_volume(place: Place):
    one = containers()["report"]
    done = subprocess.run(
        ["enter", *one.command],
        cwd=place.folder,
        env=place.environment(one),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "/srv/reports" in one.mounted and list((place.folder / "reports").glob("*.html"))


def test_the_api_wants_its_key_and_the_dashboard_has_it(place: Place):
    api, dashboard = containers()["serve"], containers()["dashboard"]
    health = ["workbench", "health", "--url", place.here(dashboard.variables["WORKBENCH_URL"])]
    status = ["workbench", "status", "--url", place.here(dashboard.variables["WORKBENCH_URL"])]
    with place.running(api, "8000"):
        stranger = place.environment(Container({}, {}, [], []))
        codes = [
            subprocess.run(words, env=environment, capture_output=True, timeout=60, check=False).returncode
            for words, environment in (
                (health, stranger),
                (status, stranger),
                (status, place.environment(dashboard)),
            )
        ]
        assert codes == [0, 2, 0]
        with place.running(dashboard, "8501"):
            pass
