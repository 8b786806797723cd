"""Applications on a state folder of their own, with a small market registered in it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from small_home import make_home

from workbench.api.settings import Settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the test client asks for a successor of httpx
    from fastapi.testclient import TestClient

from workbench.api.app import create_app

Connect = Callable[..., TestClient]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path)


@pytest.fixture
def connect(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Give a function that starts an application and returns a client of it; all of them end with the test."""
    # The sweeps of all tests share their machine code, which takes long to make.
    machine_code = os.environ.get("NUMBA_CACHE_DIR") or str(Path(os.environ["WORKBENCH_HOME"]) / "compiled")
    monkeypatch.setenv("NUMBA_CACHE_DIR", machine_code)
    monkeypatch.setenv("WORKBENCH_HOME", str(home))
    with ExitStack() as stack:

        def start(headers: dict[str, str] | None = None, **settings: Any) -> TestClient:
            app = create_app(Settings(**({"home": home, "rate_per_second": 0} | settings)))
            client = TestClient(app, base_url="http://127.0.0.1", headers=headers, raise_server_exceptions=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def client(connect: Connect) -> TestClient:
    return connect()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Give one client to the tests of a module that leave nothing behind."""
    home = make_home(tmp_path_factory.mktemp("shared"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(home))
        app = create_app(Settings(home=home, rate_per_second=0))
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
            yield client
