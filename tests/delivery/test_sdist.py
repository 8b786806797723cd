"""The source distribution: what a wheel is made of, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from compose import ROOT

from workbench import __version__


def build(kind: str, source: Path, target: Path) -> Path:
    command = [sys.executable, "-B", "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    built = build("sdist", ROOT, folder / "dist")
    assert built.name == f"workbench-{__version__}.tar.gz"
    with tarfile.open(built) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"workbench-{__version__}"


def test_the_sdist_holds_what_the_wheel_is_made_of_and_nothing_else(unpacked: Path):
    expected = {".ci", "CHANGELOG.md", "LICENSE", "README.md", "notebooks", "sentiment_data.csv", "workbench"}
    made = {"PKG-INFO", "pyproject.toml", ".gitignore"}  # by the build backend
    assert {path.name for path in unpacked.iterdir()} == expected | made
    assert [path.name for path in (unpacked / ".ci").iterdir()] == ["hatch_build.py"]
    odd = [path for path in unpacked.rglob("*") if path.name in ("__pycache__", ".ipynb_checkpoints", "secrets")]
    assert not odd


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(unpacked: Path, tmp_path: Path):
    wheels = [zipfile.ZipFile(build("wheel", source, tmp_path / source.name)) for source in (unpacked, ROOT)]
    contents = [{name: wheel.read(name) for name in wheel.namelist() if "RECORD" not in name} for wheel in wheels]
    assert contents[0].keys() == contents[1].keys()
    assert contents[0] == contents[1]
    assert "workbench/api/serve.yaml" in contents[0]
