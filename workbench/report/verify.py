"""Is a report still what its inputs and this workbench give? Hashes first, then every cell again.

Enters: an executed notebook, from `workbench report` or from papermill. Leaves: what does not hold, in lines for people. nbval runs
the cells in a kernel of this interpreter and compares their outputs with the stored ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, DataError, UnavailableError, WorkbenchError
from workbench.market.home import temporary
from workbench.market.tables import SNAPSHOT
from workbench.report.inputs import PACKAGED, ROLES, Role, StoredInput, sha256_of, snapshot_sha256
from workbench.report.jupyter import kernel_environment, plugins
from workbench.report.parameters import assignments, read_notebook, source_of, tags_of
from workbench.shown import html_rows, text_rows

CELL_TIMEOUT_SECONDS = 1800
_MOST_CELLS = 10
_WIDTH = 100


@dataclass(frozen=True)
class Verification:
    """What became of a check.

    problems : what does not hold, a line or a few each; empty if all does.
    notes : what could not be checked.
    n_cells : code cells that were executed again.
    """

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    n_cells: int

    @property
    def ok(self) -> bool:
        """True where nothing differs."""
        return not self.problems

    def _shown(self) -> tuple[str, list[tuple[str, str]]]:
        cells = f"{self.n_cells} cells were executed again"
        n = len(self.problems)
        head = f"The report holds: {cells}" if self.ok else f"{n} thing{' differs' if n == 1 else 's differ'}; {cells}"
        return head, [("differs", line) for line in self.problems] + [("note", line) for line in self.notes]

    def __repr__(self) -> str:
        head, rows = self._shown()
        return text_rows(head, rows)

    def _repr_html_(self) -> str:
        return html_rows(*self._shown())


def verify_report(path: str | Path) -> Verification:
    """Check a report against its inputs and against a second execution.

    Parameters
    ----------
    path
        The executed notebook. It and what lies beside it may have been moved; inputs that are not beside it must lie where they did,
        or for a relative name in the current folder, beside the report or in WORKBENCH_PROJECT.

    Raises
    ------
    ConfigError
        A module that the report was made with is not named in WORKBENCH_PLUGINS, or not found; or no folder for temporary files
        can be written.
    DataError
        The file is not an executed notebook.
    UnavailableError
        nbval could not be run.
    """
    report = _check_file(Path(path).expanduser())
    notebook = read_notebook(report)
    about = notebook.get("metadata", {}).get("workbench")
    cells = [cell for cell in notebook["cells"] if cell.get("cell_type") == "code"]
    if not any(source_of(cell).strip() for cell in cells):
        raise DataError(f"{report.name}: has no code to execute; name the .ipynb of a report")
    if isinstance(about, dict) and about.get("status") == "failed":
        return Verification((f"the report itself failed: {_failure(about)}",), (), 0)
    problems = list(_unexecuted(cells))
    if problems:
        return Verification(tuple(problems), (), 0)
    notes: list[str] = []
    moved: dict[Role, str] = {}
    if isinstance(about, dict):
        _check_plugins(about)
        changed, moved, missing = _check_inputs(about, report.parent)
        if missing:
            return Verification((*changed, *missing), ("its cells were not executed again",), 0)
        problems += changed
    else:
        notes.append("it stores no hashes of its inputs: it was not made with `workbench report`")
        moved = _relative_inputs(cells, report.parent)
    found = list(_execute(notebook, moved))
    problems += _describe(found, cells)
    return Verification(tuple(problems), tuple(notes), len(found))


def _check_file(path: Path) -> Path:
    beside = path.with_suffix(".ipynb")
    if path.suffix in (".html", ".json") and beside.is_file():
        raise DataError(f"{path.name}: is not the notebook of the report; name {beside}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; name the .ipynb of a report")
    return path.resolve()


def _failure(about: Mapping[str, Any]) -> str:
    failure = about.get("failure") or {}
    return f"cell {failure.get('cell', '?')} stopped with {failure.get('error_name', 'an error')}"


def _unexecuted(cells: list[dict[str, Any]]) -> Iterator[str]:
    """Name the cells without an execution count: nbval compares nothing there, and would pass."""
    for number, cell in enumerate(cells, start=1):
        skipped = "nbval-skip" in tags_of(cell) or not source_of(cell).strip()
        if cell.get("execution_count") is None and not skipped:
            yield f"cell {number} was never executed: there is nothing to compare with"


def _check_inputs(about: Mapping[str, Any], folder: Path) -> tuple[list[str], dict[Role, str], list[str]]:
    """Return what has changed, where inputs beside the report lie now, and what is missing."""
    changed, moved, missing = [], {}, []
    for stored in _stored_inputs(about):
        if stored.path.startswith(SNAPSHOT):
            try:
                if snapshot_sha256(stored.path) != stored.sha256:
                    changed.append(f"{stored.role} have changed: {stored.path} holds other prices than the report used")
            except WorkbenchError as error:
                missing.append(f"{stored.role} are missing: {error}")
            continue
        path = stored.locate(folder)
        if path is None:
            missing.append(f"{stored.role} is missing: {folder / stored.path}")
        elif (now := sha256_of(path)) != stored.sha256:
            changed.append(f"{stored.role} has changed: {path} has sha256 {now[:12]}, the report {stored.sha256[:12]}")
        elif not stored.path.startswith(PACKAGED) and not Path(stored.path).is_absolute():
            moved[stored.role] = str(path)
    return changed, moved, missing


def _check_plugins(about: Mapping[str, Any]) -> None:
    """Raise ConfigError where a module is not named that the cells need: they would all fail, for a reason that is not theirs."""
    stored, here = about.get("plugins", []), plugins()
    if not isinstance(stored, list) or not all(isinstance(name, str) for name in stored):
        raise DataError("the report's metadata name no plugins that can be read; make the report again")
    if not set(stored) <= set(here):
        wanted = ",".join(dict.fromkeys([*stored, *here]))
        raise ConfigError(
            f"WORKBENCH_PLUGINS must name the modules that the report was made with, {', '.join(stored)}, "
            f"got {', '.join(here) or 'none'}; set WORKBENCH_PLUGINS={wanted}"
        )
    for name in stored:
        if find_spec(name.partition(".")[0]) is None:
            raise ConfigError(f"WORKBENCH_PLUGINS: no module {name} is found; set PYTHONPATH to the folder it lies in")


def _stored_inputs(about: Mapping[str, Any]) -> list[StoredInput]:
    try:
        inputs = [StoredInput(item["role"], item["name"], item["path"], item["sha256"]) for item in about["inputs"]]
    except (KeyError, TypeError):
        raise DataError("the report's metadata name no inputs that can be read; make the report again") from None
    if not all(stored.role in ROLES for stored in inputs):
        raise DataError("the report's metadata name an input of an unknown role; it is of another version")
    return inputs


def _relative_inputs(cells: list[dict[str, Any]], folder: Path) -> dict[Role, str]:
    """Return where the inputs lie that a notebook names by relative paths, for it is executed in another folder."""
    values: dict[str, Any] = {}
    for cell in cells:
        if {"parameters", "injected-parameters"} & set(tags_of(cell)):
            values |= {name: value for name, _, value in assignments("the notebook", source_of(cell))}
    found: dict[Role, str] = {}
    for role in ROLES:
        name = values.get(role)
        if isinstance(name, str) and not Path(name).is_absolute():
            candidates = [
                base / name for base in (Path.cwd(), folder, Path(os.environ.get("WORKBENCH_PROJECT") or folder))
            ]
            existing = next((path for path in candidates if path.is_file()), None)
            if existing is not None:
                found[role] = str(existing.resolve())
    return found


def _execute(notebook: dict[str, Any], moved: Mapping[Role, str]) -> Iterator[dict[str, Any]]:
    """Let nbval run a copy, and return its word on each code cell."""
    tagged = [cell for cell in notebook["cells"] if {"parameters", "injected-parameters"} & set(tags_of(cell))]
    if moved and tagged:
        lines = [f"{role} = {path!r}" for role, path in moved.items()]
        tagged[-1]["source"] = "\n".join([source_of(tagged[-1]), *lines])
    with tempfile.TemporaryDirectory(prefix="workbench-", dir=temporary(), ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        (scratch / "report.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        (scratch / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        results = scratch / "results.json"
        plugin = "workbench.report.nbval_plugin"
        environment = kernel_environment(scratch) | {
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "WORKBENCH_NBVAL_RESULTS": str(results),
        }
        command = [sys.executable, "-m", "pytest", "-p", plugin, "-p", "nbval.plugin", "-p", "no:cacheprovider"]
        command += ["--noconftest", "-c", "pytest.ini", "--rootdir=.", "-q", "--tb=short", "--color=no"]
        command += ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_TIMEOUT_SECONDS}", "report.ipynb"]
        done = subprocess.run(
            command,
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if not results.is_file() or done.returncode not in (0, 1):
            words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").split("\n")[-1]
            raise UnavailableError(f"nbval could not be run (exit code {done.returncode}): {words}")
        yield from json.loads(results.read_text(encoding="utf-8"))


def _describe(found: list[dict[str, Any]], cells: list[dict[str, Any]]) -> Iterator[str]:
    """Put the cells that do not hold into words."""
    failed = [record for record in found if record["outcome"] == "failed"]
    for record in failed[:_MOST_CELLS]:
        lines = [f"cell {record['position'] + 1} ({_begin(source_of(cells[record['position']]))})"]
        if record["raised"]:
            lines[0] += f" raises {_short(record['raised'])}"
        elif not record["differences"]:
            lines[0] += f": {_short(record['error'])}"
        else:
            lines[0] += " differs"
            for kind, stored, now in record["differences"]:
                lines += (
                    [f"  {kind}", f"    stored {_short(stored)}", f"    now    {_short(now)}"]
                    if stored or now
                    else [f"  {kind}"]
                )
        yield "\n".join(lines)
    if len(failed) > _MOST_CELLS:
        yield f"and {len(failed) - _MOST_CELLS} more cells"


def _begin(source: str) -> str:
    lines = [line for line in source.strip().split("\n") if not line.startswith("#")] or source.strip().split("\n")
    return _short(lines[0], 50)


def _short(text: str, width: int = _WIDTH) -> str:
    line = text.strip().split("\n")[0]
    return line if len(line) <= width else line[: width - 3] + "..."
