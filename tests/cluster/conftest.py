"""One local Ray with two CPUs for all tests of this folder, and none for the tests that come after them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workbench.cluster.engine import RayEngine

FOLDER = Path(__file__).resolve().parent
in_use = contextlib.ExitStack()


@pytest.fixture
def ray_with_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.cluster import session

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if session.in_use() is None:
        in_use.enter_context(session.running(num_cpus=2))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Shut Ray down when the next test is not one of this folder: what "auto" means there must not depend on this one."""
    if nextitem is None or FOLDER not in nextitem.path.parents:
        in_use.close()


@pytest.fixture
def engine(ray_with_two_workers: None) -> RayEngine:
    from workbench.cluster.engine import RayEngine

    return RayEngine(why="the test asked for it")
