"""The tables that clients may name: one small file per name in a folder of the operator.

Enters: names. Leaves: files and hashes. A client never names a path: a name matches a strict pattern and is looked up in the folder
`api/datasets` of the state folder, whose files (JSON or YAML) have the fields `sentiment` and `prices` (files, relative to the folder;
`prices` may also be `simulated` or `snapshot:ID`; one of the two is enough), `benchmark`, `columns`, `allow_mixed_data`. `default` is
the simulated market that ships with the workbench, unless the operator registers another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from workbench import __version__
from workbench.api.settings import Settings
from workbench.errors import ConfigError, UnavailableError
from workbench.market.files import PACKAGE_DATA, show
from workbench.market.load import DEFAULT_BENCHMARK
from workbench.market.tables import SNAPSHOT

DEFAULT, SIMULATED = "default", "simulated"
RESERVED = (DEFAULT, SIMULATED, "yfinance", "snapshot")
NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
SNAPSHOT_ID = rf"{SNAPSHOT}[0-9a-f]{{6,64}}"

_FIELDS = ("sentiment", "prices", "benchmark", "columns", "allow_mixed_data", "about")
_SUFFIXES = (".json", ".yaml", ".yml")
_SHIPPED = "sentiment_data.csv"
_SETTLED_NS = 2_000_000_000


@dataclass(frozen=True)
class Table:
    """An input: `name` as answers show it, the file, or the keyword `source` where it is none; `sha256` names its content."""

    name: str
    path: Path | None
    source: str
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A registered name. `sentiment` and `prices` as the operator wrote them, files resolved; `about` what an upload's check found."""

    name: str
    sentiment: Path | None = None
    prices: Path | str | None = None
    benchmark: str | None = None
    columns: Mapping[str, str] | None = None
    allow_mixed_data: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what `GET /datasets` says of it: no paths."""
        prices = self.prices if isinstance(self.prices, str) else self.name if self.prices else None
        return {
            "name": self.name,
            "has_sentiment": self.sentiment is not None,
            "has_prices": self.prices is not None,
            "prices": prices,
            "benchmark": self.benchmark,
            "columns": dict(self.columns) if self.columns else None,
            "about": dict(self.about) or None,
        }


@dataclass(frozen=True)
class Data:
    """What a request is about: the tables by name, the benchmark and the bounds of the sentiment rows."""

    dataset: str
    sentiment: Table
    prices: Table | None  # None: those that a simulated table defaults to
    benchmark: str
    start: str | None
    end: str | None
    columns: tuple[tuple[str, str], ...]
    allow_mixed_data: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes it this market and no other: names as well as hashes, for answers show both."""
        prices = (self.prices.name, self.prices.sha256) if self.prices else ("", __version__)
        table = (self.sentiment.name, self.sentiment.sha256)
        return (table, prices, self.benchmark, self.start, self.end, self.columns, self.allow_mixed_data)


class Registry:
    """The registered names of one state folder; it is read anew when a file changes."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.folder / "datasets"
        self.tables = settings.folder / "tables"
        for folder in (self.folder, self.tables):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._listed: tuple[int, dict[str, Path]] = (0, {})
        self._records: dict[Path, tuple[tuple[int, ...], Dataset]] = {}
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}

    def names(self) -> list[str]:
        """Return all names, `default` first."""
        return [DEFAULT, *sorted(self._files().keys() - {DEFAULT})]

    def _files(self) -> dict[str, Path]:
        """Return the file of each registered name; the folder is listed again when it changes."""
        changed = self.folder.stat().st_mtime_ns
        if changed != self._listed[0]:
            found = sorted(path for path in self.folder.iterdir() if path.suffix in _SUFFIXES)
            files = {path.stem: path for path in reversed(found) if re.fullmatch(NAME, path.stem)}
            # Clocks of file systems are coarse: what is listed within their last tick may change without a sign.
            self._listed = (changed if time.time_ns() - changed > _SETTLED_NS else 0, files)
        return self._listed[1]

    def all(self) -> list[Dataset]:
        """Return what is registered; a file of the operator that cannot be read is left out, for it serves nobody."""
        found = []
        for name in self.names():
            try:
                found.append(self.get(name))
            except UnavailableError:
                continue
        return found

    def get(self, name: str, what: str = "dataset") -> Dataset:
        """Return what a name stands for.

        Raises
        ------
        ConfigError
            It is not registered.
        UnavailableError
            The operator's file cannot be read.
        """
        path = self._files().get(name)
        if path is not None:
            return self._record(name, path)
        if name == DEFAULT:
            return Dataset(DEFAULT, shipped_table(), SIMULATED)
        raise ConfigError(
            f"{what} must be the name of a registered table, got {show(name)!r}; GET /datasets lists them"
        )

    def _record(self, name: str, path: Path) -> Dataset:
        try:
            stamp = _stamp(path)
        except OSError:  # removed just now
            raise UnavailableError(f"the registered table {name} is not there any more") from None
        known = self._records.get(path)
        if known is None or known[0] != stamp:
            known = stamp, _read_record(name, path)
            self._records[path] = known
        return known[1]

    def resolve(
        self, dataset: str, prices: str | None, benchmark: str | None, start: str | None, end: str | None
    ) -> Data:
        """Return the tables that a request names.

        Raises
        ------
        ConfigError
            A name is not registered, or has no table of the kind.
        UnavailableError
            A registered file is not there.
        """
        record = self.get(dataset)
        if record.sentiment is None:
            raise ConfigError(
                f"dataset must have a sentiment table, got {dataset!r}, which has prices only; name it in prices"
            )
        found, own = self._prices(record, prices)
        return Data(
            dataset,
            self._file(record.sentiment, _SHIPPED if dataset == DEFAULT else record.name),
            found,
            benchmark or record.benchmark or own or DEFAULT_BENCHMARK,
            start,
            end,
            tuple((record.columns or {}).items()),
            record.allow_mixed_data,
        )

    def _prices(self, record: Dataset, prices: str | None) -> tuple[Table | None, str | None]:
        """Return the price table that a request means, and the benchmark of its registered name."""
        if prices is None or prices == record.name:
            if record.prices is None:
                return None, None
            return self._price_table(record), record.benchmark
        if prices == SIMULATED or re.fullmatch(SNAPSHOT_ID, prices):
            return _keyword(prices), None
        if not re.fullmatch(NAME, prices) or prices in RESERVED[1:]:
            raise ConfigError(
                f"prices must be simulated, snapshot:ID or the name of a registered table, got {show(prices)!r}; "
                "GET /datasets lists them"
            )
        named = self.get(prices, "prices")
        if named.prices is None:
            raise ConfigError(
                f"prices must name a table of prices, got {prices!r}, which has none; GET /datasets lists them"
            )
        return self._price_table(named), named.benchmark

    def _price_table(self, record: Dataset) -> Table:
        if isinstance(record.prices, str):
            return _keyword(record.prices)
        assert record.prices is not None
        return self._file(record.prices, record.name if record.sentiment is None else f"{record.name}-prices")

    def hashes(self, dataset: Dataset) -> dict[str, Any]:
        """Return the sha256 of the tables of a registered name, by which a client knows its own; None where there is no such file."""
        found: dict[str, Any] = {}
        for role, path in (("sentiment", dataset.sentiment), ("prices", dataset.prices)):
            found[f"{role}_sha256"] = None
            if isinstance(path, Path):
                with contextlib.suppress(UnavailableError):
                    found[f"{role}_sha256"] = self._file(path, dataset.name).sha256
        return found

    def _file(self, path: Path, name: str) -> Table:
        """Return a file with its hash, which is computed again when the file changes."""
        try:
            stamp = _stamp(path)
            known = self._hashes.get(path)
            if known is None or known[0] != stamp:
                with open(path, "rb") as file:
                    known = stamp, hashlib.file_digest(file, "sha256").hexdigest()
                self._hashes[path] = known
        except OSError:
            raise UnavailableError(
                f"the table of {name} is not there; the operator of the server has to restore it"
            ) from None
        shown = (
            name
            if name == _SHIPPED
            else name + "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
        )
        return Table(shown, path, str(path), known[1])


def shipped_table() -> Path:
    """Return the simulated sentiment table: in the package, or at the top level of a checkout."""
    packed = PACKAGE_DATA / _SHIPPED
    return packed if packed.is_file() else PACKAGE_DATA.parents[1] / _SHIPPED


def _keyword(source: str) -> Table:
    # A snapshot's id is a hash of its prices; the simulated ones change with the version only.
    return Table(source, None, source, source if source != SIMULATED else f"{SIMULATED} {__version__}")


def _stamp(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _read_record(name: str, path: Path) -> Dataset:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(content, dict) or set(content) - set(_FIELDS):
            raise ValueError(f"must have the fields {', '.join(_FIELDS)}")
        sentiment, prices = content.get("sentiment"), content.get("prices")
        if sentiment is None and prices is None:
            raise ValueError("must name sentiment or prices")
        if isinstance(prices, str) and prices != SIMULATED and not re.fullmatch(SNAPSHOT_ID, prices):
            prices = _local_file(path.parent, prices)
        columns = content.get("columns")
        return Dataset(
            name,
            None if sentiment is None else _local_file(path.parent, sentiment),
            prices,
            content.get("benchmark"),
            None if columns is None else {str(key): str(own) for key, own in columns.items()},
            content.get("allow_mixed_data") is True,
            content.get("about") or {},
        )
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        why = show(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise UnavailableError(
            f"the registered table {name} cannot be used: {why}; the operator has to mend its file"
        ) from None


def _local_file(folder: Path, name: str) -> Path:
    if "://" in name:
        raise ValueError("tables must be files, not addresses")
    return Path(folder, Path(name).expanduser()).resolve()
