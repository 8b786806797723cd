"""The files of a report: their names, and how they come to be there whole or not at all.

Enters: texts. Leaves: files side by side in the target folder. They are written into a hidden folder in it and moved from there, the
HTML last, so that whoever sees a report's page finds the rest of it complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.config import StudyConfig
from workbench.errors import ConfigError, UnavailableError
from workbench.market.tables import Market
from workbench.report.parameters import read_notebook, source_of

SUFFIXES = (".json", ".ipynb", ".html")  # in the order in which they appear
NOT_HASHED = (
    "sentiment",
    "prices",
    "engine",
)  # parameters that leave the result as it is: of the data the content counts
_PREFIX = ".workbench-"
_DAY_SECONDS = 86_400


def output_folder(out: str | Path) -> Path:
    """Return the folder for reports, made if it is not there; ConfigError if it cannot be written."""
    try:
        folder = Path(out).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder.resolve()
    # Beside what the system refuses: half a character or a zero byte in the name, and the home of nobody.
    except (OSError, ValueError, RuntimeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise ConfigError(
            f"the output folder must be one that can be written, got {str(out)!r} ({why}); name another with -o"
        ) from None


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder in `folder`, removed at the end; those that killed processes left a day ago are removed too."""
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another process removes it as well
            if time.time() - left.stat().st_mtime > _DAY_SECONDS:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder, ignore_cleanup_errors=True) as name:
        yield Path(name)


def report_name(notebook: Path, values: Mapping[str, Any], config: StudyConfig | None, market: Market | None) -> str:
    """Return a name that is the same for the same report, and warns of simulated data and of look-ahead.

    The last eight digits are a hash of parameters, data and the notebook's cells; where the data lie, and what engine did the work, is
    not in it.
    """
    content: dict[str, Any] = {name: value for name, value in values.items() if name not in NOT_HASHED}
    content["cells"] = [source_of(cell) for cell in read_notebook(notebook)["cells"]]
    parts = [notebook.stem]
    if market is not None:
        content["data"] = [market.sentiment.source.sha256, market.prices.source.sha256]
        parts[:0] = [] if market.data_kind == "real" else [market.data_kind]
    if config is not None:
        content["config_id"] = config.config_id
        parts += [config.signal, f"top{config.top_n}", config.rebalance]
        parts[:0] = ["look-ahead"] if config.look_ahead else []
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return "-".join([*parts, digest[:8]])


def file_hashes(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the sha256 of a report's notebook and page, which its JSON file stores: `whole_report` sees what belongs together."""
    return {suffix: hashlib.sha256(texts[suffix].encode()).hexdigest() for suffix in SUFFIXES[1:]}


def whole_report(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the content of a report's JSON file; None unless notebook and page lie beside it, as they were when it was written."""
    try:
        content = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for suffix in SUFFIXES[1:]:
            data = (folder / f"{name}{suffix}").read_bytes()
            if hashlib.sha256(data).hexdigest() != content["report"]["files"][suffix]:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(content)


def publish(scratch: Path, folder: Path, name: str, texts: Mapping[str, str]) -> dict[str, Path]:
    """Put the files of a report into `folder`, each of them whole.

    Parameters
    ----------
    scratch
        A folder on the same file system.
    folder
        Where they go; files of the same name are replaced.
    name
        What they are called.
    texts
        Content by suffix; one of each of `SUFFIXES`.

    Raises
    ------
    UnavailableError
        The file system refuses, because it is full for example.
    """
    try:
        for suffix in SUFFIXES:
            (scratch / f"{name}{suffix}").write_text(texts[suffix], encoding="utf-8")
        for suffix in SUFFIXES:
            os.replace(scratch / f"{name}{suffix}", folder / f"{name}{suffix}")
    except OSError as error:
        raise UnavailableError(
            f"{folder}: the report cannot be written: {error.strerror or type(error).__name__}"
        ) from None
    return {suffix: folder / f"{name}{suffix}" for suffix in SUFFIXES}
