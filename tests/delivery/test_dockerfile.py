"""The Dockerfile's promises that can be read: an exact base, the lock with its hashes, a user of its own, nothing of the host in it."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys

import pytest
from compose import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from workbench import __version__

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.M)).splitlines()
    if line.strip()
]
LAST = INSTRUCTIONS[max(index for index, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]


def values(word: str) -> list[str]:
    """Return what an instruction of the last stage says."""
    return [rest for found, rest in LAST if found == word]


def part_of_lock(*packages: str) -> list[Requirement]:
    command = [sys.executable, "-B", ".ci/part_of_lock.py", *packages]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", text))
    return [Requirement(line.rstrip(" \\")) for line in text.splitlines() if line[0].isalnum()]


def test_both_stages_stand_on_one_exact_slim_python():
    assert re.findall(r"^ARG PYTHON=(.*)", TEXT, flags=re.M) == [
        match.group() for match in [re.search(r"3\.\d+\.\d+-slim-[a-z]+", TEXT)] if match
    ]
    assert [rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"] == ["python:${PYTHON}"] * 2


def test_what_is_installed_is_the_lock_with_its_hashes():
    installs = re.findall(r"pip .*?(?:install|wheel) [^&]*", re.sub(r"\\\n", " ", TEXT))
    assert len(installs) == 4
    for line in installs:
        assert "--no-deps" in line and ("--require-hashes" in line or "--no-index" in line), line


def test_the_image_is_run_by_a_user_of_its_own_with_tini_and_a_health_check():
    assert values("USER") == ["1000:1000"]
    assert json.loads(values("ENTRYPOINT")[0]) == ["tini", "--", "enter"]
    assert json.loads(values("VOLUME")[0]) == ["/srv/data", "/srv/reports"]
    assert "--start-period=" in values("HEALTHCHECK")[0]
    assert f'image.version="{__version__}"' in values("LABEL")[0]
    assert "PYTHONDONTWRITEBYTECODE" not in TEXT and "--invalidation-mode unchecked-hash" in TEXT


def test_the_last_stage_has_no_compiler_and_no_cache():
    (run,) = values("RUN")
    assert re.findall(r"install -y --no-install-recommends (\S+)", run) == ["tini=0.19.0-*"]
    assert "rm -rf /var/lib/apt/lists/*" in run


def test_the_part_of_the_lock_in_the_image_is_what_the_installed_packages_ask_for():
    """An oracle: the metadata of what is installed here, walked from the workbench's own dependencies."""
    found: dict[str, set[str]] = {}
    asked = [Requirement(text) for text in importlib.metadata.requires("workbench") or []]
    todo = [wanted for wanted in asked if wanted.marker is None or wanted.marker.evaluate({"extra": ""})]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        before = found.get(name)
        if before is not None and wanted.extras <= before:
            continue
        extras = found[name] = (before or set()) | wanted.extras
        for text in importlib.metadata.requires(name) or []:
            inner = Requirement(text)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                todo.append(inner)
    here = {canonicalize_name(pin.name) for pin in part_of_lock() if pin.marker is None or pin.marker.evaluate()}
    assert here == set(found)
    assert not {"mypy", "ruff", "hypothesis", "playwright", "hatchling"} & here


@pytest.mark.parametrize("name", ["hatchling", "setuptools"])
def test_the_build_has_its_backends_from_the_lock(name: str):
    assert name in {pin.name for pin in part_of_lock(name)}


def test_only_what_is_listed_gets_into_the_build():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert all(list(ROOT.glob(name)) for name in allowed)
    assert not [name for name in allowed if name.split("/")[0] in ("secrets", ".git", ".venv", "tests")]
    copied = {
        name for word, rest in INSTRUCTIONS if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]
    }
    assert copied - {".", "--chmod=755"} <= set(allowed)
