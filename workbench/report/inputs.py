"""The inputs of a report: what the notebook is told to read, and what is stored so that `verify` can find it again.

Enters: the market of a report. Leaves: one record per input, and the parameters that name them. A local file is named by its resolved
path and not copied. What came from an address or from memory is written beside the report, so that the report can be made again
without a network and without the program that made the frames.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pandas as pd

from workbench.errors import DataError, WorkbenchError
from workbench.market.files import PACKAGE_DATA, find_input, read_input
from workbench.market.prices import price_source
from workbench.market.tables import SNAPSHOT, InputFile, Market
from workbench.market.typed import losses_metadata

Role = Literal["sentiment", "prices"]
ROLES: tuple[Role, ...] = ("sentiment", "prices")
PACKAGED = "package:"
GZIP_MAGIC = b"\x1f\x8b"
_KEYWORDS: dict[Role, str] = {"sentiment": "sentiment_data.csv", "prices": "simulated"}
_PACKAGED_FILES: dict[Role, tuple[Path, ...]] = {
    # A checkout has the shipped table at its top level.
    "sentiment": (PACKAGE_DATA / "sentiment_data.csv", PACKAGE_DATA.parents[1] / "sentiment_data.csv"),
    "prices": (PACKAGE_DATA / "simulated_prices.parquet",),
}


@dataclass(frozen=True)
class StoredInput:
    """One input as a report stores it.

    role : "sentiment" or "prices".
    name : as the user gave it.
    path : absolute; or relative to the report, for a copy beside it; or `package:FILE`, or `snapshot:ID` of the price store.
    sha256 : of the bytes; of a snapshot's days, symbols and values.
    """

    role: Role
    name: str
    path: str
    sha256: str

    def to_dict(self) -> dict[str, str]:
        """Return the record as a plain dict, ready for JSON."""
        return asdict(self)

    def locate(self, report_folder: Path) -> Path | None:
        """Return where the input lies now, seen from the report's folder; None if it is not there."""
        if self.path.startswith(PACKAGED):
            name = self.path.removeprefix(PACKAGED)
            return next((path for path in _PACKAGED_FILES[self.role] if path.name == name and path.is_file()), None)
        path = report_folder / self.path
        return path if path.is_file() else None


def snapshot_sha256(name: str) -> str:
    """Return the hash of a snapshot's prices, all its files checked; DataError or UnavailableError where they are not there."""
    return price_source(name).load().source.sha256


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch_addresses(values: Mapping[str, Any], folder: Path) -> dict[Role, Path]:
    """Download those inputs that are addresses into `folder`, so that they are read once and stay what they were.

    Raises
    ------
    DataError, UnavailableError
        The address is none, or does not deliver.
    """
    copies: dict[Role, Path] = {}
    for role in ROLES:
        address = values.get(role)
        if isinstance(address, str) and address.lower().startswith(("http://", "https://")):
            _, data = read_input(address)
            name = Path(unquote(urlsplit(address).path)).name.lstrip(".") or "table"
            if not data.startswith(GZIP_MAGIC):
                name = name.removesuffix(".gz")  # the server has unpacked it, and the readers refuse a .gz that is none
            copies[role] = folder / role / name
            copies[role].parent.mkdir(parents=True)
            copies[role].write_bytes(data)
    return copies


@contextmanager
def naming(copies: Mapping[Role, Path], values: Mapping[str, Any]) -> Iterator[None]:
    """Let errors in a downloaded table name its address, which the user knows, and not the copy."""
    try:
        yield
    except WorkbenchError as error:
        text = str(error)
        for role, path in copies.items():
            text = text.replace(str(path), str(values[role]))
        raise type(error)(text) from None


def keep_inputs(
    market: Market, names: Mapping[str, Any], copies: Mapping[Role, Path], folder: Path
) -> tuple[Market, list[StoredInput], dict[str, Any]]:
    """Make sure that the inputs outlast this process.

    Parameters
    ----------
    market
        As loaded.
    names
        What the user calls the inputs, by role.
    copies
        Downloaded inputs; they are moved into `folder`.
    folder
        Of the report's own inputs; it is made when something has to be kept there.

    Returns
    -------
    tuple
        The market with the sources as they are now; the records to store; the values of the notebook's parameters.
    """
    stored: list[StoredInput] = []
    parameters: dict[str, Any] = {}
    for role in ROLES:
        table = getattr(market, role)
        source: InputFile = table.source
        path = Path(source.path)
        if source.path.startswith(SNAPSHOT):
            stored.append(StoredInput(role, source.name, source.path, source.sha256))
            parameters[role] = source.path
            continue
        if path in _PACKAGED_FILES[role]:
            stored.append(StoredInput(role, source.name, f"{PACKAGED}{path.name}", source.sha256))
            parameters[role] = _packaged_name(role, path)
            continue
        beside = role in copies or not path.is_file()
        if beside:
            kept = _move(copies[role], folder) if role in copies else _write(market, role, folder)
            name = str(names[role]) if role in copies else source.name
            source = InputFile(name, str(kept), sha256_of(kept))
            market = replace(market, **{role: replace(table, source=source)})
        where = f"{folder.name}/{Path(source.path).name}" if beside else source.path
        stored.append(StoredInput(role, source.name, where, source.sha256))
        parameters[role] = source.path
        if beside and role == "sentiment" and role not in copies:
            parameters["columns"] = None  # a frame written here has METHOD's names
    return market, stored, parameters


def _packaged_name(role: Role, path: Path) -> str:
    """Return the name that leads to a packaged file; a file of the same name in the current folder would come first."""
    if role == "prices":
        return _KEYWORDS[role]
    try:
        return _KEYWORDS[role] if find_input(_KEYWORDS[role]) == path else str(path)
    except DataError:
        return str(path)


def _move(copy: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    target = folder / copy.name
    if copy.parent.name == "prices" and target.exists() and sha256_of(target) != sha256_of(copy):
        target = folder / f"prices-{copy.name}"  # both tables have the same name, at different addresses
    os.replace(copy, target)
    return target


def _write(market: Market, role: Role, folder: Path) -> Path:
    """Write a table that is in memory only as Parquet, with what it had lost before in the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    target, unfinished = folder / f"{role}.parquet", folder / f".{role}.{os.getpid()}.parquet"
    frame = market.sentiment.frame
    if role == "prices":
        prices = market.prices
        frame = pd.DataFrame(prices.values, columns=list(prices.symbols))
        frame.insert(0, "date", prices.days.astype("datetime64[us]"))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    losses = losses_metadata(getattr(market, role).losses)
    pq.write_table(table.replace_schema_metadata((table.schema.metadata or {}) | losses), unfinished)
    os.replace(unfinished, target)
    return target
