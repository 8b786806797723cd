"""The source distribution: what builds, tests, documents and delivers the workbench, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from compose import ROOT
from pages import Page

from workbench import __version__

OF_THE_REPOSITORY = {".gitattributes"}  # how git checks files out
# What runs of the tests, of tools and of people leave in a checkout.
LEFTOVERS = (
    "tests/__pycache__/test_docs.cpython-311.pyc",
    "workbench/core/__pycache__/metrics.cpython-311.pyc",
    ".ci/__pycache__/hatch_build.cpython-311.pyc",
    "notebooks/.ipynb_checkpoints/02_signal-checkpoint.ipynb",
    "notebooks/images/.ipynb_checkpoints/report-checkpoint.png",
    "tests/.pytest_cache/README.md",
    "tests/.hypothesis/examples/x",
    "workbench/.mypy_cache/x.json",
    "reports/portfolio_report.html",
    "secrets/api_key",
    "workbench.egg-info/PKG-INFO",
    ".venv/pyvenv.cfg",
    "dist/workbench-0.0.0.tar.gz",
    "notes.txt",
    "mine.csv",
    "scratch/own.py",
)


def git(*words: str) -> list[str]:
    """Return the lines of git's answer about the checkout; skip where that is no repository."""
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this checkout is no git repository")


def build(kind: str, source: Path, target: Path) -> Path:
    command = [sys.executable, "-B", "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = target.iterdir()
    return built


def unpack(built: Path, folder: Path) -> Path:
    with tarfile.open(built) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"workbench-{__version__}"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    built = build("sdist", ROOT, folder / "dist")
    assert built.name == f"workbench-{__version__}.tar.gz"
    return unpack(built, folder)


def test_the_sdist_is_the_repository_and_nothing_else(unpacked: Path):
    tracked, possible = git("ls-files"), git("ls-files", "-co", "--exclude-standard")
    there = {name for name in tracked if (ROOT / name).is_file()}  # not what is being removed
    assert there - OF_THE_REPOSITORY - files(unpacked) == set()
    assert files(unpacked) - set(possible) == {"PKG-INFO"}


def test_the_sdist_can_build_test_and_deliver(unpacked: Path):
    needed = "pyproject.toml .ci/hatch_build.py .ci/venv Makefile requirements.lock environment.yml Dockerfile docker-compose.yml"
    needed += " .dockerignore tests/conftest.py docs/method.md CONTRIBUTING.md CITATION.cff LICENSE CHANGELOG.md"
    assert set(needed.split()) <= files(unpacked)
    for script in (".ci/venv", ".ci/container/enter", ".ci/container/healthy"):
        assert (unpacked / script).stat().st_mode & 0o777 == (ROOT / script).stat().st_mode & 0o777


def test_links_of_its_pages_lead_to_what_is_in_it(unpacked: Path):
    pages = [*unpacked.glob("*.md"), *unpacked.glob("docs/*.md")]
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "method.md"} <= {path.name for path in pages}
    links = 0
    for path in pages:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", Page(path).prose):
            links += 1
            to = (path.parent / target).resolve() if target else path
            assert to.exists() and to.is_relative_to(unpacked), f"{path.name}: {target}"
            assert not anchor or anchor in Page(to).anchors(), f"{path.name}: {target}#{anchor}"
    assert links > 20


def test_leftovers_get_into_neither_sdist_nor_wheel(unpacked: Path, tmp_path: Path):
    checkout = tmp_path / "checkout"
    shutil.copytree(unpacked, checkout)
    (checkout / "PKG-INFO").unlink()
    for name in LEFTOVERS:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("left over")
    again = unpack(build("sdist", checkout, tmp_path / "dist"), tmp_path / "again")
    assert files(again) == files(unpacked)
    with zipfile.ZipFile(build("wheel", checkout, tmp_path / "wheel")) as wheel:
        odd = [name for name in wheel.namelist() if re.search(r"/(__pycache__|\.)|\.(pyc|txt)$", name)]
    assert odd in ([], [f"workbench-{__version__}.dist-info/entry_points.txt"])


def test_the_wheel_of_the_sdist_is_the_wheel_of_the_checkout(unpacked: Path, tmp_path: Path):
    wheels = [zipfile.ZipFile(build("wheel", source, tmp_path / source.name)) for source in (unpacked, ROOT)]
    contents = [{name: wheel.read(name) for name in wheel.namelist() if "RECORD" not in name} for wheel in wheels]
    assert contents[0].keys() == contents[1].keys()
    assert contents[0] == contents[1]
    assert "workbench/api/serve.yaml" in contents[0]
    assert {name.split("/")[0] for name in contents[0]} == {"workbench", f"workbench-{__version__}.dist-info"}
