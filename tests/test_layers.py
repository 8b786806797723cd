"""DESIGN's import rule, read from the source: every import points to a layer above, and only cluster/ knows Ray."""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "workbench"
CEILING = 400  # lines of a module

# From the top down. A module may import from the rows above its own; `*` stands for the modules of a folder, which may
# import each other, except in core/. Adding a module outside these folders means choosing its row here.
LAYERS = [
    "errors",
    "shown",
    "losses",
    "registry",
    "config",
    "progress",
    "parent",
    "listening",
    "address",  # of an API, ...
    "client",  # ... and who speaks with it
    "workers",  # processes of this machine, ...
    "execution",  # ... and where work runs
    "market.*",
    "core.*",
    "plan",  # the steps of a study: ranking and holding, ...
    "questions",
    "evaluate",
    "universe",
    "stocks",
    "result",
    "accounting",
    "published",
    "study",  # ... and the one call
    "sweep.*",
    "batch",
    "report.*",
    "ledger",
    "cluster.*",
    "engines",  # the place where a name becomes an engine
    "calls",  # ... and the calls that take one
    "session",
    "scaling",
    "form_widgets",
    "form",
    "magics",
    "lab_folder",
    "lab_server",
    "lab",
    "api.*",
    "dashboard.*",
    "options cli_dashboard cli_prices cli_lab cli_ray cli_remote cli_score cli_serve cli_sweep cli_system cli_tables",
    "cli",
    "__main__",
]
ALONE = {"core.*"}  # rows whose modules do not import each other
HEAVY = ("ray", "skfolio", "yfinance", "streamlit", "papermill", "pandas", "numpy", "pyarrow", "pydantic", "plotly")
HEAVY += ("ipywidgets", "IPython", "jupyterlab")


def module_name(path: Path) -> str:
    """Return `core.metrics` for workbench/core/metrics.py, `core` for its __init__, `` for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def layer(module: str) -> int:
    """Return the row of `LAYERS` that holds a module."""
    for row, names in enumerate(LAYERS):
        for name in names.split():
            if module == name or (name.endswith(".*") and f"{module}.".startswith(name[:-1])):
                return row
    raise AssertionError(f"workbench/{module.replace('.', '/')}.py stands in no row of LAYERS: choose one")


def imported(path: Path) -> Iterator[str]:
    """Yield the full dotted name of everything a file imports, wherever in the file, relative imports resolved."""
    package = ["workbench", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1] if node.level else []
                start = ".".join([*base, *([node.module] if node.module else [])])
                yield from (f"{start}.{alias.name}" for alias in node.names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                yield from (item.value for item in node.args[:1] if isinstance(item, ast.Constant))


def dependencies(module: str) -> set[str]:
    """Return the workbench modules that a module imports; a name taken from the package counts as its home module."""
    found = set()
    for name in imported(MODULES[module]):
        if not f"{name}.".startswith("workbench."):
            continue
        inner = name.removeprefix("workbench").removeprefix(".")
        if inner in workbench._MODULES:
            inner = workbench._MODULES[inner].removeprefix("workbench.")
        elif inner == "WorkbenchError":
            inner = "errors"
        while inner and inner not in MODULES:
            inner = inner.rpartition(".")[0]
        if inner != "":  # the package itself: __version__
            found.add(inner)
    return found - {module}


GRAPH = {module: dependencies(module) for module in MODULES if module != ""}


@pytest.mark.parametrize("module", GRAPH)
def test_a_module_imports_only_from_layers_above_it(module: str):
    own = layer(module)
    for other in sorted(GRAPH[module]):
        allowed = layer(other) < own or (layer(other) == own and LAYERS[own] not in ALONE)
        assert allowed, f"workbench.{module} imports workbench.{other}, which is not above it"


def test_imports_form_no_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()


def test_main_calls_the_command_line_and_nothing_else():
    assert GRAPH["__main__"] == {"cli"}


def test_the_package_itself_imports_only_the_errors_when_it_is_imported():
    tree = ast.parse(MODULES[""].read_bytes())
    eager = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in eager}
    assert {name for name in names if name.startswith("workbench")} == {"workbench.errors"}


@pytest.mark.parametrize("module", MODULES)
def test_only_cluster_imports_ray(module: str):
    uses = {name for name in imported(MODULES[module]) if name.split(".")[0] == "ray"}
    assert not uses or module.split(".")[0] == "cluster", f"workbench.{module} imports {sorted(uses)}"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_the_ceiling(module: str):
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= CEILING, f"{MODULES[module].relative_to(ROOT)} has {lines} lines: cut it in two"


def test_importing_the_package_leaves_heavy_packages_unimported():
    code = f"import sys, workbench, workbench.errors; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", workbench.__all__)
def test_every_public_name_is_there_on_first_use(name: str):
    assert getattr(workbench, name) is not None
    assert name in dir(workbench)
    if name in workbench._MODULES:
        assert getattr(workbench, name) is getattr(importlib.import_module(workbench._MODULES[name]), name)


def test_public_names_and_their_modules_are_the_same_list():
    assert set(workbench.__all__) == {*workbench._MODULES, "WorkbenchError", "__version__"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'run_studie'"):
        _ = workbench.run_studie
