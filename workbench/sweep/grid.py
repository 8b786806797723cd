"""Grids of configurations, kept as columns: a million of them cost a few arrays, and a StudyConfig is built for the row asked for.

Enters: the values of each knob, text such as "top_n=3,5,10;cost_bps=0,10", or a list of configurations. Leaves: a `Grid` that gives,
for any span of rows, the position of each knob's value. Every value is validated once, however often it occurs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.config import LARGEST, StudyConfig, nearest, parse_value, value_text
from workbench.errors import ConfigError
from workbench.registry import find_signal

Codes = npt.NDArray[np.int64]

FIELDS = tuple(StudyConfig.model_fields)
_LONGEST_RANGE = 100_000


@dataclass(frozen=True, eq=False)
class Grid:
    """Rows of configurations.

    values : the distinct values of each field of StudyConfig, validated.
    size : number of rows.
    strides : of the fields that vary, in a product of them: row = sum of code x stride.
    listed : the code of each row by field, where the rows are a list and not a product.
    invalid : rows of a list that are no configuration: what was given, and why it is none.
    """

    values: Mapping[str, tuple[Any, ...]]
    size: int
    strides: Mapping[str, int] = field(default_factory=dict)
    listed: Mapping[str, Codes] = field(default_factory=dict)
    invalid: Mapping[int, tuple[Any, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.size

    @property
    def varying(self) -> tuple[str, ...]:
        """The fields with more than one value; those of a product in the order of its rows, the slowest first."""
        names = sorted(self.strides, key=self.strides.__getitem__, reverse=True) or FIELDS
        return tuple(name for name in names if len(self.values[name]) > 1)

    def codes(self, name: str, start: int, stop: int) -> Codes:
        """Return (stop - start) positions in `values[name]`, one per row."""
        if name in self.listed:
            return self.listed[name][start:stop]
        if name not in self.strides:
            return np.zeros(stop - start, dtype=np.int64)
        return np.arange(start, stop) // self.strides[name] % len(self.values[name])

    def knobs(self, row: int) -> dict[str, Any]:
        """Return the values of one row by field."""
        return {name: self.values[name][int(self.codes(name, row, row + 1)[0])] for name in FIELDS}

    def config(self, row: int) -> StudyConfig:
        """Return the configuration of one row.

        Raises
        ------
        ConfigError
            The row of a list is no configuration.
        IndexError
            There is no such row.
        """
        self.check_row(row)
        if row in self.invalid:
            raise ConfigError(self.invalid[row][1])
        return StudyConfig(**self.knobs(row))

    def check_row(self, row: int) -> None:
        """Raise IndexError where there is no such row."""
        if not 0 <= row < self.size:
            raise IndexError(f"row must be between 0 and {self.size - 1}, got {row}")

    def describe(self, row: int) -> dict[str, Any]:
        """Return one row as plain values, ready for JSON; an invalid one as it was given."""
        if row in self.invalid:
            given = self.invalid[row][0]
            return (
                {_json(_name(name)): _json(value) for name, value in given.items()}
                if isinstance(given, Mapping)
                else {"given": _written(given)}
            )
        return self.config(row).to_dict()

    def find(self, config: StudyConfig) -> int | None:
        """Return the first row that equals a configuration, None where there is none."""
        wanted = config.model_dump()
        codes = {}
        for name in FIELDS:
            matches = [code for code, value in enumerate(self.values[name]) if value == wanted[name]]
            if not matches:
                return None
            codes[name] = matches[0]
        if not self.listed and not self.invalid:
            return sum(codes[name] * stride for name, stride in self.strides.items())
        same = np.ones(self.size, dtype=bool)
        for name, column in self.listed.items():
            same &= column == codes[name]
        same[list(self.invalid)] = False
        return int(np.flatnonzero(same)[0]) if same.any() else None

    @property
    def grid_id(self) -> str:
        """Sixteen hex digits that name the rows and their order: a hash of all values and of the signals' versions."""
        versions = {name: _version(name) for name in self.values["signal"]}
        content = {"values": self.values, "strides": self.strides, "size": self.size, "versions": versions}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        for name in sorted(self.listed):
            digest.update(name.encode() + self.listed[name].astype("<i8").tobytes())
        for row in sorted(self.invalid):
            digest.update(f"{row} {_written(self.invalid[row])}".encode())
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        axes = ", ".join(f"{name} ({len(self.values[name])})" for name in self.varying)
        return f"{self.size:,} configuration{'' if self.size == 1 else 's'}" + (f": {axes}" if axes else "")


def _version(signal: str) -> str | None:
    try:
        return find_signal(signal).version
    except ConfigError:  # its rows will fail, and say so
        return None


def as_grid(grid: Grid | str | Mapping[str, Any] | Iterable[StudyConfig | Mapping[str, Any]]) -> Grid:
    """Return anything that names configurations as a grid.

    Parameters
    ----------
    grid
        Text such as "top_n=1..20;cost_bps=0,10"; a mapping of fields to values or to one value; a configuration, or an iterable of
        configurations or of mappings of their fields.

    Raises
    ------
    ConfigError
        A field is unknown, a value of a product is refused by StudyConfig or given twice, nothing is left, or it is none of these.
    """
    if isinstance(grid, Grid):
        return grid
    if isinstance(grid, str):
        return product_grid(parse_grid(grid))
    if isinstance(grid, Mapping):
        return product_grid(grid)
    if isinstance(grid, StudyConfig):  # which can be iterated over, field by field
        return list_grid([grid])
    if not isinstance(grid, Iterable):
        raise ConfigError(
            f"a grid must be text like top_n=3,5,10, a mapping or a list of configurations, got {type(grid).__name__}"
        )
    return list_grid(grid)


def product_grid(axes: Mapping[str, Any], base: StudyConfig | None = None) -> Grid:
    """Return all combinations of some fields' values, the last field changing fastest.

    Parameters
    ----------
    axes
        Field -> values; a single value is an axis of one. The values of `exclude` are collections of symbols.
    base
        The other fields; defaults if not given.
    """
    base = base or StudyConfig()
    checked = {name: _axis(name, given) for name, given in axes.items()}
    values = {name: checked.get(name, (getattr(base, name),)) for name in FIELDS}
    strides, size = {}, 1
    for name in reversed(list(checked)):
        if len(checked[name]) > 1:
            strides[name] = size
            size *= len(checked[name])
    return Grid(values, size, strides)


def _axis(name: str, given: Any) -> tuple[Any, ...]:
    """Return an axis's values as StudyConfig has them."""
    if name not in FIELDS:
        raise ConfigError(f"unknown parameter {value_text(name)} in the grid{nearest(_name(name), FIELDS)}")
    if (
        isinstance(given, str | bytes | bytearray | memoryview)
        or not isinstance(given, Iterable)
        or (isinstance(given, np.ndarray) and not given.ndim)
    ):
        given = [given]
    found = [getattr(StudyConfig(**{name: value}), name) for value in given]
    if not found:
        raise ConfigError(f"the grid's {name} must have at least one value, got none")
    seen: set[Any] = set()
    for value in found:
        if value in seen:
            raise ConfigError(f"the grid's {name} must name each value once, got {value_text(value)} twice")
        seen.add(value)
    return tuple(found)


def _name(name: object) -> str:
    """Return a field's name as it was given, which may be no text."""
    return name if isinstance(name, str) else _written(name)


def _written(value: object) -> str:
    """Return all of a value as Python writes it, where it can: not a number of thousands of digits."""
    try:
        return repr(value)
    except Exception:  # an object of the user's own may raise anything
        return value_text(value)


def _json(value: Any) -> Any:
    """Return a value that was refused as JSON can hold it: as it is, or in words."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return _written(value)
    return value


def list_grid(configs: Iterable[StudyConfig | Mapping[str, Any]]) -> Grid:
    """Return a list of configurations as a grid; an item that is none becomes a row that fails."""
    known: dict[str, dict[Any, int]] = {name: {} for name in FIELDS}
    columns: dict[str, list[int]] = {name: [] for name in FIELDS}
    invalid: dict[int, tuple[Any, str]] = {}
    default = StudyConfig()
    size = 0
    for row, item in enumerate(configs):
        size += 1
        config = default
        if isinstance(item, StudyConfig):
            config = item
        elif isinstance(item, Mapping):
            try:
                config = StudyConfig(**{_name(name): value for name, value in item.items()})
            except ConfigError as error:
                invalid[row] = (dict(item), str(error))
        else:
            invalid[row] = (item, f"a configuration must be a StudyConfig or a mapping, got {type(item).__name__}")
        for name in FIELDS:
            value = getattr(config, name)
            columns[name].append(known[name].setdefault(value, len(known[name])))
    if not size:
        raise ConfigError("the list of configurations must have at least one entry, got none")
    listed = {name: np.array(column, dtype=np.int64) for name, column in columns.items() if len(known[name]) > 1}
    return Grid({name: tuple(values) for name, values in known.items()}, size, listed=listed, invalid=invalid)


def parse_grid(text: str) -> dict[str, list[Any]]:
    """Read a command line's grid: fields separated by `;`, values by `,`.

    `1..20` is every whole number from 1 to 20, `0..50:5` every fifth; the symbols of one `exclude` are joined by `+`.

    Raises
    ------
    ConfigError
        A part does not read as NAME=VALUES, or a value not as the field's type.
    """
    axes: dict[str, list[Any]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, equals, listed = (piece.strip() for piece in part.partition("="))
        name = name.replace("-", "_")
        if not equals or not listed:
            raise ConfigError(f"a grid must be like top_n=3,5,10;cost_bps=0,10, got {value_text(part)}")
        if name in axes:
            raise ConfigError(f"the grid must name {name} once, got it twice")
        if name == "exclude":
            axes[name] = [_symbols(value) for value in listed.split(",")]
        else:
            axes[name] = [value for piece in listed.split(",") for value in _values(name, piece.strip())]
    if not axes:
        raise ConfigError(f"a grid must be like top_n=3,5,10;cost_bps=0,10, got {value_text(text)}")
    return axes


def _symbols(text: str) -> tuple[str, ...]:
    return tuple(symbol.strip() for symbol in text.split("+") if symbol.strip())


def _values(name: str, text: str) -> list[Any]:
    """Return one value, or those of a range."""
    if ".." not in text:
        return [parse_value(name, text)]
    bounds, _, step = text.partition(":")
    first, _, last = bounds.partition("..")
    low, high = parse_value(name, first), parse_value(name, last)
    by = parse_value(name, step) if step else 1
    between = not isinstance(low, str | bool) and -LARGEST <= low <= high <= LARGEST
    if not between or not by > 0 or not math.isfinite((high - low) / by):
        raise ConfigError(f"a range of {name} must be like 1..20 or 0..50:5, got {value_text(text)}")
    count = int((high - low) / by + 1e-9) + 1
    if count > _LONGEST_RANGE:
        raise ConfigError(f"a range of {name} must have at most {_LONGEST_RANGE:,} values, got {value_text(text)}")
    # Steps such as 0.1 are no exact floats: twelve digits give the number that was meant.
    return [low + by * i if isinstance(by, int) else float(f"{low + by * i:.12g}") for i in range(count)]
