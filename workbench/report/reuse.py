"""What many reports need not do again: tables fetched and read once, reports that are there and whole.

Enters: parameters of studies, a folder of reports. Leaves: markets, and the content of a report that would come out the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.market.files import find_input
from workbench.market.tables import SNAPSHOT, Market
from workbench.report.inputs import ROLES, StoredInput, fetch_addresses, sha256_of
from workbench.report.parameters import DATA, market_of
from workbench.report.run import fetched_tables, load_named, report_versions
from workbench.report.store import NOT_HASHED, whole_report

_SHOWN = ("summary", "report")
_MARKETS = 2


class Inputs:
    """The tables that the reports of a batch read.

    fetched : downloaded tables by address; they lie in `folder`, and each address is asked once, whatever it answers.
    """

    def __init__(self, folder: Path) -> None:
        self.fetched: dict[str, Path] = {}
        self._folder, self._failed = folder, dict[str, WorkbenchError]()

    def market(self, values: Mapping[str, Any]) -> Market:
        """Load the market of data parameters; raises what `load_market` raises."""
        for role in ROLES:
            self._fetch(role, values.get(role))
        return load_named(values, fetched_tables(values, self.fetched))

    def _fetch(self, role: str, name: str | None) -> None:
        if name is None or name in self.fetched:
            return
        if name in self._failed:
            raise self._failed[name]
        try:
            for copy in fetch_addresses({role: name}, self._folder / f"table-{len(self.fetched)}").values():
                self.fetched[name] = copy
        except WorkbenchError as error:
            self._failed[name] = error
            raise


def load_cached(values: Mapping[str, Any]) -> Market:
    """Load the market of data parameters, or return it as it was loaded before if its files are untouched since."""
    data = {name: values.get(name, parameter.default) for name, parameter in DATA.items()}
    return _load(json.dumps(data), tuple(_stamp(data[role]) for role in ROLES))


@lru_cache(maxsize=_MARKETS)
def _load(data: str, stamps: tuple[tuple[str, int, int] | None, ...]) -> Market:
    return market_of(json.loads(data))


def _stamp(name: str | None) -> tuple[str, int, int] | None:
    """Return path, size and time of an input file; None where the name is no file's."""
    try:
        path = find_input(name or "")
        status = os.stat(path)
    except (WorkbenchError, OSError):
        return None
    return str(path), status.st_size, status.st_mtime_ns


def read_report(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what an index shows of a report, from its JSON file; None if its three files are not there and whole."""
    content = whole_report(folder, name)
    return None if content is None else {key: content[key] for key in _SHOWN if key in content}


def find_reusable(
    folder: Path, name: str, parameters: Mapping[str, Any], market: Market | None
) -> dict[str, Any] | None:
    """Return what an index shows of a report that need not be made again, None if it must be.

    The name carries a hash of the parameters, the data, the notebook's cells and the signal's version. Beyond that the report must be
    whole and done, by the same versions, and its inputs must lie where it says, unchanged, so that it can be verified.
    """
    content = read_report(folder, name)
    if content is None or content["report"].get("status") != "done":
        return None
    about = content["report"]
    stored = about.get("parameters", {})
    same = all(stored.get(key) == value for key, value in parameters.items() if key not in NOT_HASHED)
    if not same or about.get("versions") != report_versions() or not _inputs_hold(about, folder, market):
        return None
    return content


def _inputs_hold(about: Mapping[str, Any], folder: Path, market: Market | None) -> bool:
    for item in about.get("inputs", []):
        stored = StoredInput(**item)
        if stored.path.startswith(SNAPSHOT):
            if market is None or market.prices.source.path != stored.path:
                return False
        elif (path := stored.locate(folder)) is None or sha256_of(path) != stored.sha256:
            return False
    return True
