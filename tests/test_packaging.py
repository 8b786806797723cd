"""The lock, environment.yml, the wheel, and what no file in the repository may contain."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import workbench

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLATFORMS = {
    f"{system}-{machine}-{version}": {
        "sys_platform": system,
        "platform_machine": machine,
        "os_name": "posix",
        "python_version": version,
        "python_full_version": f"{version}.4",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
    for version in ("3.11", "3.12", "3.13")
}


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """Return the lock as name -> (requirement, hashes), read without the code that writes environment.yml."""
    logical = re.sub(r"\\\n", " ", "\n".join(line for line in LOCK.splitlines() if not line.strip().startswith("#")))
    entries = {}
    for line in filter(str.strip, logical.splitlines()):
        text, *hashes = re.split(r"\s--hash=", line)
        requirement = Requirement(text.strip())
        name = canonicalize_name(requirement.name)
        assert name not in entries, f"{name} is locked twice"
        entries[name] = (requirement, [item.strip() for item in hashes])
    return entries


def tracked_files() -> list[Path]:
    """Return the files that are, or would be, in the repository; without git, all files outside hidden folders."""
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        found = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        folders = ("workbench", "tests", "notebooks", "benchmarks", ".ci")
        found = [*ROOT.glob("*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def readable(path: Path) -> str:
    """Return a file's text, with nothing for binary files."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", errors="replace")


# ---- the lock ----


def test_every_locked_package_has_one_version_and_a_hash():
    entries = locked()
    assert len(entries) > 100
    for name, (requirement, hashes) in entries.items():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), f"{name} is not pinned"
        assert hashes, f"{name} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", item) for item in hashes), name


def test_lock_names_no_address_and_no_index():
    assert "://" not in LOCK
    assert "git+" not in LOCK
    assert not re.search(r"^\s*-(?!-hash=)", LOCK, flags=re.MULTILINE), "an option other than --hash"


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS.keys())
def test_lock_satisfies_pyproject_on_every_platform_it_is_made_for(platform: dict[str, str]):
    entries = locked()
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["test"]]
    for text in [*wanted, *PROJECT["build-system"]["requires"]]:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(platform):
            pin, _ = entries[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(next(iter(pin.specifier)).version), f"{pin} does not fit {text}"
            assert pin.marker is None or pin.marker.evaluate(platform), f"{pin} is left out on {platform}"


def test_environment_yml_installs_the_lock_by_its_hashes():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    environment = yaml.safe_load(text)
    python, pip, packages = environment["dependencies"]
    assert (environment["name"], python, pip) == ("workbench", "python=3.11", "pip")
    assert environment["channels"] == ["conda-forge"]
    assert packages["pip"] == ["--require-hashes", "-r requirements.lock"]
    assert "conda itself is not run in this project's tests" in text


def test_this_environment_has_the_locked_versions():
    """A test run against other versions than the lock's says nothing about the lock."""
    if "CI" not in os.environ:
        pytest.skip("outside CI, anybody's own environment will do")
    for name, (pin, _) in locked().items():
        if pin.marker is None or Marker(str(pin.marker)).evaluate():
            assert pin.specifier.contains(importlib.metadata.version(name)), name


def test_package_and_pyproject_state_one_version():
    assert workbench.__version__ == PROJECT["project"]["version"]


# ---- what no file may contain ----

# Written in pieces, so that this file does not contain what it forbids.
REGISTRIES = [
    r"pypi\.(org|python)",
    r"python" + r"hosted\.org",
    r"anaconda\.(org|com)",
    r"registry\." + r"(npmjs|yarnpkg)",
    r"deb\." + r"debian\.org",
    r"archive\." + r"ubuntu\.com",
    r"crates\." + "io",
    r"proxy\." + r"golang\.org",
]
MACHINE_PATHS = [r"/home/[a-z_][a-z0-9_-]*/", r"/root/", r"/Users/[A-Za-z]", r"[A-Z]:\\Users\\"]
SECRETS = [
    r"-----BEGIN [A-Z ]*PRIVATE " + "KEY",
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b",  # a cloud's access key
    r"\bgh[pousr]_[A-Za-z0-9]{36}",
    r"\bgithub_pat_[A-Za-z0-9_]{22}",
    r"\bglpat-[A-Za-z0-9_-]{20}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10}",
    r"\bsk-(ant-|proj-)?[A-Za-z0-9_-]{24}",
    r"\bpypi-[A-Za-z0-9_-]{40}",
    r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20}",  # a signed web token
    r"://[^/\s:@\"'<>{}$]+:[^/\s:@\"'<>{}$]{8,}@",  # a password in an address
    r"(?i)\b(api_?key|secret|passw(or)?d|token)\b\s*[:=]\s*[\"'][A-Za-z0-9+/_-]{16,}[\"']",
]


@pytest.mark.parametrize(
    ("what", "patterns", "exempt"),
    [
        ("a package registry's host", REGISTRIES, ()),
        ("a path of a build machine", MACHINE_PATHS, ("Dockerfile", "docker-compose.yml")),  # an image's own home
        ("a secret", SECRETS, ()),
    ],
    ids=["registry", "machine-path", "secret"],
)
def test_no_file_in_the_repository_contains(what: str, patterns: list[str], exempt: tuple[str, ...]):
    found = []
    files = [path for path in tracked_files() if path.name not in exempt and path != Path(__file__)]
    assert len(files) > 10
    for path in files:
        text = readable(path)
        for match in filter(None, (re.search(pattern, text) for pattern in patterns)):
            found.append(f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}")
    assert not found, f"{what}: {found}"


def test_no_file_in_the_repository_names_this_checkout_or_this_home():
    own = {str(path) for path in (ROOT, Path.home(), Path(sys.prefix)) if len(path.parts) > 2}
    found = [(path.name, name) for path in tracked_files() for name in own if name in readable(path)]
    assert not found


# ---- the wheel ----


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-B", "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.iterdir()
    assert built.name == f"workbench-{workbench.__version__}-py3-none-any.whl"
    return zipfile.ZipFile(built)


def test_wheel_holds_the_package_and_nothing_else_at_its_top(wheel: zipfile.ZipFile):
    top = {name.split("/")[0] for name in wheel.namelist()}
    assert top == {"workbench", f"workbench-{workbench.__version__}.dist-info"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name or ".ipynb_checkpoints" in name]


def test_wheel_holds_nothing_that_is_not_in_the_repository(wheel: zipfile.ZipFile):
    known = {path.relative_to(ROOT).as_posix() for path in tracked_files()}
    packed = {
        f"workbench/_notebooks/{name.split('/')[1]}" for name in known if re.fullmatch(r"notebooks/[^/]+\.ipynb", name)
    }
    packed.add("workbench/_data/sentiment_data.csv")
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert len(names) > 100
    assert set(names) - known - packed == set()
    assert len(names) == len(set(names))


def test_wheel_holds_every_module_and_the_type_marker(wheel: zipfile.ZipFile):
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "workbench").rglob("*.py")}
    assert modules | {"workbench/py.typed"} <= set(wheel.namelist())


@pytest.mark.parametrize(
    ("source", "packed"),
    [
        ("notebooks/*.ipynb", "workbench/_notebooks"),
        ("sentiment_data.csv", "workbench/_data"),
        ("workbench/_data/simulated_prices.parquet", "workbench/_data"),
    ],
)
def test_wheel_holds_what_a_report_needs(wheel: zipfile.ZipFile, source: str, packed: str):
    sources = sorted(ROOT.glob(source))
    if not sources:
        pytest.skip(f"no {source} in the checkout")
    for path in sources:
        assert wheel.read(f"{packed}/{path.name}") == path.read_bytes()


def test_wheel_declares_the_command_and_the_licence(wheel: zipfile.ZipFile):
    folder = f"workbench-{workbench.__version__}.dist-info"
    assert "workbench = workbench.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert wheel.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
