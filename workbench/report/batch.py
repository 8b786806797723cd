"""Reports by the hundred: what is there is kept, what is missing is made in parallel, and one page compares them all.

Enters: a matrix of studies, a folder, an engine. Leaves: each study's report as `run_report` writes it, `index.html` and `index.json`.
Whatever happens to one report (a cell, its kernel, its worker, data that refuse a parameter) is that report's failure alone.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from workbench.errors import UnavailableError, WorkbenchError
from workbench.execution import Engine
from workbench.market.home import temporary
from workbench.market.tables import SNAPSHOT
from workbench.progress import progress
from workbench.report.index import Entry, check_place, write_index
from workbench.report.jupyter import end_kernels
from workbench.report.matrix import Matrix
from workbench.report.parameters import DATA, study_config
from workbench.report.reuse import Inputs, find_reusable, load_cached, read_report
from workbench.report.run import CELL_TIMEOUT_SECONDS, Provided, run_report
from workbench.report.store import output_folder, report_name, scratch_folder

_MOST_LOST = 8


@dataclass(frozen=True)
class Batch:
    """What became of a matrix.

    index : the page that compares the studies; `index.json` lies beside it.
    entries : one per study, in the matrix' order.
    """

    index: Path
    entries: tuple[Entry, ...]

    @property
    def failed(self) -> list[Entry]:
        """The studies whose report could not be made, or stopped before its end."""
        return [entry for entry in self.entries if entry.status == "failed"]


class Order(NamedTuple):
    """One report to be made: its files' name, its notebook's parameters, and the positions of the studies that wait for it."""

    name: str
    given: Mapping[str, Any]
    positions: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """What all reports of a batch share.

    notebook, folder : what is run, and where the files go.
    current : the folder against which relative names of inputs are resolved.
    provided : inputs and folders that are ready.
    cell_timeout : seconds that one cell may take.
    """

    notebook: Path
    folder: Path
    current: Path
    provided: Provided
    cell_timeout: float


class Outcome(NamedTuple):
    """What a worker reports: "done" or "failed", the reason in one line, the files' common name if there are files."""

    status: str
    reason: str
    stem: str | None


def run_matrix(
    matrix: Matrix,
    out: str | Path,
    engine: Engine,
    *,
    refresh: bool = False,
    cell_timeout: float = CELL_TIMEOUT_SECONDS,
) -> Batch:
    """Make the reports of a matrix, as far as they are not there, and the page that compares them.

    Parameters
    ----------
    matrix
        What `read_matrix` returned.
    out
        Folder for the files, made if it is not there. Workers on other machines must see it, and the inputs, under the same path.
    engine
        Runs the reports; each one has a kernel and private Jupyter folders of its own.
    refresh
        Make every report again, though nothing that it depends on has changed.
    cell_timeout
        Seconds that one cell may take.

    Returns
    -------
    Batch
        A report that fails is an entry with its reason, and a page that shows how far it came if it came to a cell.

    Raises
    ------
    ConfigError, DataError, UnavailableError
        The folder cannot be written, or no study's tables can be read: nothing was run.
    UnavailableError
        The engine is gone. The index shows what there is, as it does after any other interruption; the same call goes on from there.
    """
    folder, since = output_folder(out), dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    check_place(folder)
    with (
        scratch_folder(folder) as beside,
        tempfile.TemporaryDirectory(prefix="workbench-", dir=temporary(), ignore_cleanup_errors=True) as kernels,
    ):
        inputs = Inputs(beside)
        entries = [Entry(study.name, study.parameters) for study in matrix.studies]
        orders = _plan(matrix, folder, inputs, entries, refresh)
        provided = Provided(inputs.fetched, beside, Path(kernels), load_cached)
        place = Place(matrix.notebook, folder, Path.cwd(), provided, cell_timeout)
        try:
            done = outcomes(engine, orders, place)
            with contextlib.closing(done), progress(len(orders), "matrix", "reports") as tick:
                for position, outcome in done:
                    for study in orders[position].positions:
                        entries[study] = _settled(entries[study], outcome, folder)
                    tick(1)
        finally:
            end_kernels(Path(kernels))
            _settle_finished(entries, orders, folder, since)
            index = write_index(matrix, entries, engine.account(), beside, folder)
    return Batch(index, tuple(entries))


def _plan(matrix: Matrix, folder: Path, inputs: Inputs, entries: list[Entry], refresh: bool) -> list[Order]:
    """Settle the entries that need no run and return the reports to be made, each of them once; nothing has been started then."""
    waiting: dict[str, Order] = {}
    errors: list[WorkbenchError] = []
    groups = _by_data(entries)
    for positions in groups:
        try:
            has_data = "sentiment" in entries[positions[0]].parameters
            market = inputs.market(entries[positions[0]].parameters) if has_data else None
        except WorkbenchError as error:
            errors.append(error)
            for position in positions:
                entries[position] = replace(entries[position], status="failed", reason=str(error))
            continue
        for position in positions:
            entry = entries[position] = replace(entries[position], data_kind="" if market is None else market.data_kind)
            name = report_name(matrix.notebook, entry.parameters, study_config(entry.parameters), market)
            content = None if refresh else find_reusable(folder, name, entry.parameters, market)
            if content is not None:
                entries[position] = replace(entry, status="reused", stem=name, content=content)
                continue
            given = dict(matrix.studies[position].given)
            if market is not None and market.prices.source.path.startswith(SNAPSHOT):
                given["prices"] = market.prices.source.path  # what was fetched from Yahoo a moment ago, for all reports
            before = waiting[name].positions if name in waiting else ()
            waiting[name] = Order(name, given, (*before, position))
    if len(errors) == len(groups):
        raise errors[0]
    return list(waiting.values())


def _by_data(entries: Sequence[Entry]) -> list[list[int]]:
    """Return the positions of the studies that read the same data, group by group."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, entry in enumerate(entries):
        groups.setdefault(tuple(entry.parameters.get(name) for name in DATA), []).append(position)
    return list(groups.values())


def outcomes(engine: Engine, orders: Sequence[Order], place: Place) -> Generator[tuple[int, Outcome]]:
    """Yield (position, outcome) of each order as it is done.

    An engine gives up altogether when a worker dies again and again. Here that is the failure of the one report that kills its workers: of
    those that were on their way each is run once more on its own, then the others go on. UnavailableError where `_MOST_LOST` in a row
    are lost: it is the engine then.
    """
    waiting, lost = deque(range(len(orders))), 0
    while waiting:
        sent: list[int] = []
        finished: set[int] = set()
        try:
            for position, outcome in _mapped(engine, orders, place, waiting, sent):
                finished.add(position)
                lost = 0
                yield position, outcome
        except UnavailableError:
            suspects = [position for position in sent if position not in finished]
            if not suspects:
                raise
            for position in suspects:
                try:
                    yield from list(_mapped(engine, orders, place, deque([position]), []))
                    lost = 0
                except UnavailableError as error:
                    lost += 1
                    if lost == _MOST_LOST:
                        raise
                    yield position, Outcome("failed", f"lost with its worker: {error}", None)


def _mapped(
    engine: Engine, orders: Sequence[Order], place: Place, waiting: deque[int], sent: list[int]
) -> Iterator[tuple[int, Outcome]]:
    """Yield (position, outcome) of the orders that wait; `sent` notes those that the engine took from `waiting`."""

    def taken() -> Iterator[Order]:
        while waiting:
            sent.append(waiting.popleft())
            yield orders[sent[-1]]

    done = engine.map(make_one, taken(), shared=(place,), holds_gil=True)
    # Whoever leaves early must find no report still being made.
    with contextlib.closing(cast("Generator[tuple[int, Outcome]]", done)) as results:
        for number, outcome in results:
            yield sent[number], outcome


def make_one(order: Order, place: Place) -> Outcome:
    """Make one report, in a worker. Whatever stops it is returned as its outcome."""
    try:
        for folder in (place.provided.kernels, place.provided.scratch):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)  # on another machine they may not be there
        with contextlib.chdir(place.current):
            run = run_report(
                place.notebook, order.given, place.folder, cell_timeout=place.cell_timeout, provided=place.provided
            )
    except WorkbenchError as error:
        return Outcome("failed", str(error), None)
    except Exception as error:  # one report's failure, whatever it is, must not be that of all others
        return Outcome("failed", f"{type(error).__name__}: {error}", None)
    return Outcome(run.status, "" if run.failure is None else str(run.failure), run.html.stem)


def _settle_finished(entries: list[Entry], orders: Sequence[Order], folder: Path, since: str) -> None:
    """Take note of reports that were made, `since` when, although an interruption came before their worker could say so."""
    for order in orders:
        if entries[order.positions[0]].status != "not run":
            continue
        content = read_report(folder, order.name)
        if content is not None and content["report"]["created_at"] >= since:
            for position in order.positions:
                entries[position] = replace(entries[position], status="done", stem=order.name, content=content)


def _settled(entry: Entry, outcome: Outcome, folder: Path) -> Entry:
    """Return a study's entry with its outcome, and with the numbers from the file that was written."""
    content = None if outcome.stem is None else read_report(folder, outcome.stem)
    if outcome.stem is not None and content is None:
        reason = f"its files are not in {folder}, which every worker must see under that path"
        return replace(entry, status="failed", reason=reason)
    return replace(entry, status=outcome.status, reason=outcome.reason, stem=outcome.stem, content=content)
