"""The dashboard computes no study: it speaks to an API, and what it imports says so."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
MODULES = sorted((PACKAGE / "dashboard").rglob("*.py"))
NOT_HERE = ("study", "batch", "session", "calls", "engines", "accounting", "cluster", "api", "sweep.run", "market.load")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_imports_what_computes(path: Path):
    for name in imports(path):
        assert name.split(".")[0] != "ray"
        inner = name.removeprefix("workbench.")
        assert not any(f"{inner}.".startswith(f"{module}.") for module in NOT_HERE), name
        assert inner not in ("run_study", "run_sweep", "load_market")


def test_the_page_leaves_ray_and_what_loads_markets_unimported():
    code = (
        "import sys, workbench.dashboard.page;"
        "print([name for name in ('ray', 'workbench.sweep.run', 'workbench.market.load') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_colours_are_the_report_s():
    """A second palette would drift: the only colour named here begins a scale that ends in the portfolio's own."""
    named = {path.stem: re.findall(r"#[0-9a-f]{6}\b", path.read_text(encoding="utf-8")) for path in MODULES}
    assert {stem: len(found) for stem, found in named.items() if found} == {"figures": 1}
