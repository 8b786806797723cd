"""The parameters of notebooks: their schema, their cell, and the check that comes before a kernel starts.

Enters: a notebook and what the user gave for it, as text or as values. Leaves: values of the right types and within range, or a
ConfigError in one line; papermill itself only warns of an unknown name and checks no type. The same schema makes the options of the
command line, so a notebook, an option and `StudyConfig` cannot drift apart.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.config import StudyConfig, choices, nearest, parse_value, plain, value_text
from workbench.errors import ConfigError, DataError
from workbench.registry import find_signal

if TYPE_CHECKING:
    from workbench.market.ensure import Fetch
    from workbench.market.tables import Market

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel carries the notebooks in the package, a checkout at its top level.
_PACKED = _PACKAGE / "_notebooks"
NOTEBOOKS = _PACKED if _PACKED.is_dir() else _PACKAGE.parent / "notebooks"


_KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


class Parameter(NamedTuple):
    """One parameter: `kind` is str, int, float or bool; `optional` ones may also be None."""

    name: str
    kind: type
    default: Any
    help: str = ""
    optional: bool = False


DATA = {
    parameter.name: parameter
    for parameter in (
        Parameter(
            "sentiment", str, "sentiment_data.csv", "table of engagement per day and symbol: file or https://..."
        ),
        Parameter("prices", str, None, "price table, or simulated (the default for a simulated table)", True),
        Parameter("benchmark", str, "QQQ", "bought once and held; its prices define the trading days"),
        Parameter("start", str, None, "first sentiment day used, as 2022-01-31", True),
        Parameter("end", str, None, "last sentiment day used, as 2022-12-31", True),
        Parameter("columns", str, None, "your own column names, as likes=favourites,symbol=ticker", True),
        Parameter("allow_mixed_data", bool, False, "accept simulated data on one side only"),
    )
}


def study_parameters() -> dict[str, Parameter]:
    """Return the parameters of a study, made from the fields of `StudyConfig`; a list of symbols is a text "A,B"."""
    found = {}
    for name, field in StudyConfig.model_fields.items():
        kind = _KINDS.get(str(getattr(field.annotation, "__name__", "")), str)
        allowed = f" ({', '.join(choices(name))})" if kind is str and name != "exclude" and choices(name) else ""
        found[name] = Parameter(name, kind, _listed(field.default), f"{field.description}{allowed}")
    return found


def _listed(value: Any) -> Any:
    """Return a value as a parameters cell has it: symbols as one text."""
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        return ",".join(sorted(set(value)))
    return value


def find_notebook(name: str | Path) -> Path:
    """Return the notebook of that name among those of the workbench, or the user's own file.

    Raises
    ------
    ConfigError
        There is none; the nearest name is suggested.
    """
    text = str(name)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # no name of a file, or the home of nobody
        own = Path(text).expanduser()
        if own.suffix == ".ipynb" and own.is_file():
            return own.resolve()
    known = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    if text.removesuffix(".ipynb") in known:
        return known[text.removesuffix(".ipynb")]
    raise ConfigError(
        f"notebook must be a file or one of {', '.join(known)}, got {value_text(text)}{nearest(text, known)}"
    )


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook's JSON; DataError if the file is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content["cells"], list) and all(
            isinstance(cell["source"], str | list) for cell in content["cells"]
        ):
            return dict(content)
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read: {error.strerror or type(error).__name__}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise DataError(f"{path.name}: must be a Jupyter notebook (format 4), got something else")


def source_of(cell: Mapping[str, Any]) -> str:
    """Return a cell's source as one text."""
    return "".join(cell["source"])


def tags_of(cell: Mapping[str, Any]) -> list[str]:
    """Return a cell's tags."""
    return list(cell.get("metadata", {}).get("tags", []))


def notebook_parameters(path: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook: the assignments in its cell tagged `parameters`.

    Those that are a data option or a field of `StudyConfig` have the type of that; others the type of their annotation or default.

    Raises
    ------
    ConfigError
        There is no such cell, or it is not made of plain assignments.
    DataError
        The file is not a notebook.
    """
    cells = [cell for cell in read_notebook(path)["cells"] if "parameters" in tags_of(cell)]
    if not cells:
        raise ConfigError(f"{path.name}: must have a cell tagged parameters, got none; tag the one with the defaults")
    schema, found = DATA | study_parameters(), {}
    for name, annotation, default in assignments(path.name, source_of(cells[0])):
        known = schema.get(name)
        found[name] = known._replace(default=default) if known else _own_parameter(path.name, name, annotation, default)
    return found


def assignments(file: str, source: str) -> list[tuple[str, str, Any]]:
    """Return (name, annotation, value) of each assignment of a constant in a cell's source."""
    try:
        nodes = ast.parse(source).body
        found = []
        for node in nodes:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                found.append((node.target.id, ast.unparse(node.annotation), ast.literal_eval(node.value)))
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                found.append((node.targets[0].id, "", ast.literal_eval(node.value)))
    except (SyntaxError, ValueError):
        raise ConfigError(
            f"{file}: the parameters cell must be assignments of constants, such as top_n: int = 5"
        ) from None
    return found


def _own_parameter(file: str, name: str, annotation: str, default: Any) -> Parameter:
    words = [word.strip() for word in annotation.split("|")] if annotation else [type(default).__name__]
    kind = next((_KINDS[word] for word in words if word in _KINDS), None)
    if kind is None:
        raise ConfigError(
            f"{file}: parameter {name} must be annotated as str, int, float or bool, got {annotation or default!r}"
        )
    return Parameter(name, kind, default, optional="None" in words or default is None)


def check_parameters(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check what the user gave for a notebook, its defaults filled in for the rest.

    Parameters
    ----------
    notebook
        The file.
    given
        Values by name; a text is read as the parameter's type.

    Returns
    -------
    dict
        Those given, converted, as a parameters cell has them: ready to be injected.

    Raises
    ------
    ConfigError
        An unknown name (the nearest one is suggested), a value of the wrong type or out of range.
    """
    known = notebook_parameters(notebook)
    for name in given:
        if name not in known:
            hint = (isinstance(name, str) and nearest(name, known)) or f"; it has {', '.join(known)}"
            raise ConfigError(f"{notebook.stem} has no parameter {value_text(name)}{hint}")
    values = {name: convert(known[name], value) for name, value in given.items()}
    everything = {name: parameter.default for name, parameter in known.items()} | values
    study_config(everything)
    for name, value in everything.items():
        _check_written(name, value)
    return values


def _check_written(name: str, value: Any) -> None:
    """Refuse what a report could not store: NaN, infinity, a number of thousands of digits, half a character."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):
        kind = "valid Unicode" if isinstance(value, str) else "a finite number that JSON can hold"
        raise ConfigError(f"{name} must be {kind}, got {value_text(value)}") from None


def convert(parameter: Parameter, value: Any) -> Any:
    """Return `value` as the parameter's type; ConfigError if it does not read as one."""
    name, kind = parameter.name, parameter.kind
    value = _listed(value) if kind is str else plain(value)
    if parameter.optional and (value is None or (isinstance(value, str) and value.strip().lower() in ("", "none"))):
        return None
    if isinstance(value, str) and kind is not str:
        return parse_value(name, value) if name in StudyConfig.model_fields else _parse(name, kind, value)
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{name} must be a number up to 1.8e308, got {value_text(value)}") from None
    if name not in StudyConfig.model_fields and type(value) is not kind:
        raise ConfigError(f"{name} must be {_words(kind)}, got {value_text(value)}")
    if name in ("sentiment", "benchmark") and not value.strip():
        raise ConfigError(f"{name} must not be empty; leave it out for {parameter.default}")
    return value


def _parse(name: str, kind: type, text: str) -> Any:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    try:
        return known[text.strip().lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ConfigError(f"{name} must be {_words(kind)}, got {value_text(text)}") from None


def _words(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")


def study_config(values: Mapping[str, Any]) -> StudyConfig | None:
    """Return the configuration among the values of a notebook, None if it has no field of one.

    Raises
    ------
    ConfigError
        A value is out of range, or the signal is unknown.
    """
    fields = {name: value for name, value in values.items() if name in StudyConfig.model_fields}
    if not fields:
        return None
    config = StudyConfig(**fields)
    find_signal(config.signal)
    return config


def market_of(values: Mapping[str, Any], fetch: Fetch | None = None) -> Market:
    """Load the market that the data parameters name; see `load_market`. `fetch` asks Yahoo for prices; in threads by default."""
    from workbench.market.load import load_market

    data = {name: values.get(name, parameter.default) for name, parameter in DATA.items()}
    data["allow_mixed"] = data.pop("allow_mixed_data")
    if fetch is not None and data["prices"] == "yfinance":
        from workbench.market.remote import YFinanceSource

        data["prices"] = YFinanceSource(fetch)
    return load_market(**data)
