"""What all tests share: where the real data lies, and settings that keep a checkout unwritten."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
REAL_FILES = ("sentiment_data.csv", "prices.csv.gz")

# No deadline: the first example of a test pays for imports. The rest is hypothesis' own profile (derandomized in CI).
settings.register_profile("workbench", deadline=None, print_blob=True)
settings.load_profile("workbench")

# Where a script starts the suite in its background, Ctrl-C is ignored, by everything that tests start too; some send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def real_data_folder() -> Path:
    """Return the folder of the real table and prices: WORKBENCH_REAL_DATA, or ../shared/data beside the checkout."""
    named = os.environ.get("WORKBENCH_REAL_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def why_no_real_data() -> str | None:
    """Return why the tests on real data cannot run, or None where they can."""
    folder = real_data_folder()
    missing = [name for name in REAL_FILES if not (folder / name).is_file()]
    if not missing:
        return None
    return f"real data: no {' and no '.join(missing)} in {folder}; WORKBENCH_REAL_DATA names another folder"


@pytest.hookimpl(tryfirst=True)  # before `-m real` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses `real_data` as `real`, and skip the `real` ones where the data is absent."""
    reason = why_no_real_data()
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real)
        if reason and item.get_closest_marker("real"):
            item.add_marker(pytest.mark.skip(reason=reason))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: share(item.nodeid) != "ray")


def share(test: str) -> str:
    """Return what one worker of `pytest -n` runs as a whole: a file, or all that needs a Ray, which is long and comes first."""
    return "ray" if test.startswith(("tests/cluster/", "tests/lab/test_ray_of_a_lab.py")) else test.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the shares in the order in which they are collected."""
    from xdist.scheduler import LoadScopeScheduling

    class Shares(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share(nodeid)

    config.option.loadscopereorder = False
    return Shares(config, log)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with the real sentiment_data.csv and prices.csv.gz; the test is skipped where it is absent."""
    reason = why_no_real_data()
    if reason:
        pytest.skip(reason)
    return real_data_folder()


@pytest.fixture(scope="session", autouse=True)
def own_state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the workbench's state (store, ledger, caches) of the person who runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(tmp_path_factory.mktemp("workbench-home")))
        yield
