"""A matrix of studies: one YAML file that names many reports.

Enters: the file, and what was given on the command line. Leaves: studies with a name and checked parameters each. The file is

    notebook: portfolio_report          # optional
    defaults: {cost_bps: 10}            # optional: what all studies share
    parameters:                         # either a grid: all combinations of the values that are lists
      top_n: [3, 5, 10]
      drift: false
    studies:                            # or studies by name, each with what it changes
      baseline:
      no costs: {cost_bps: 0}

Every value is taken as it is written and read as on the command line: `start: 2022-01-31` is a day, and in `exclude: [ON, NA]` stand two
tickers, which YAML by itself would take for a truth and a text. Under `defaults` and `studies` a list is one value, a list of symbols.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from workbench.config import StudyConfig, nearest
from workbench.errors import ConfigError, WorkbenchError
from workbench.market.files import show
from workbench.report.parameters import check_parameters, find_notebook, notebook_parameters

MOST_STUDIES = 1000
_MOST_BYTES = 1 << 20
_MOST_COMPLAINTS = 3
_LONGEST_NAME = 120
_KEYS = ("notebook", "defaults", "parameters", "studies")
# Parameters of which one value is a list.
_SYMBOLS = {name for name, known in StudyConfig.model_fields.items() if isinstance(known.default, tuple)}

Value = str | list[str] | None


@dataclass(frozen=True)
class Study:
    """One study of a matrix: its name, and all parameters of its notebook; `given` are those that are not left to the notebook."""

    name: str
    given: Mapping[str, Any]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Matrix:
    """What a file asks for: the notebook to run, and the studies in the file's order, at least one, of different names.

    `named` is False for a grid, whose studies are called by the values that vary.
    """

    file: Path
    notebook: Path
    studies: tuple[Study, ...]
    named: bool = True

    @property
    def varying(self) -> list[str]:
        """The parameters that are not the same in all studies, in the notebook's order."""
        first = self.studies[0].parameters
        return [name for name in first if any(study.parameters[name] != first[name] for study in self.studies)]


def read_matrix(
    file: str | Path, options: Mapping[str, Any] | None = None, notebook: str | Path | None = None
) -> Matrix:
    """Read a matrix and check every study in it.

    Parameters
    ----------
    file
        YAML, as this module's description has it.
    options
        Parameters by name that join the file's `defaults`, and replace those of the same name.
    notebook
        Which notebook to run where the file names none; `portfolio_report` by default.

    Raises
    ------
    ConfigError
        The file cannot be read or is not such a file (the line is named), a parameter of a study is unknown or out of range,
        an option acts on no study, or there are more than `MOST_STUDIES`.
    """
    path = Path(file).expanduser()
    content = _top(path)
    own = content.get("notebook")
    found = find_notebook(_text(path, own) if own is not None else notebook or "portfolio_report")
    options = check_parameters(found, options or {})
    shared = _values(path, "defaults", content["defaults"]) if "defaults" in content else {}
    _checked(path.name, found, [("defaults", shared)])
    named = "studies" in content
    if named:
        axes, written = {}, list(_named(path, content["studies"]))
    else:
        axes = _axes(path, content["parameters"])
        # The last parameter changes fastest. A combination gets its name when its values are read.
        written = [("", dict(zip(axes, values, strict=True))) for values in itertools.product(*axes.values())]
    _check_options(path.name, options, [values for _, values in written])
    _check_engine(path.name, [options, shared, *(values for _, values in written)])
    sections = [(f"study {name}" if name else "parameters", shared | options | values) for name, values in written]
    checked = _checked(path.name, found, sections)
    defaults = {name: parameter.default for name, parameter in notebook_parameters(found).items()}
    if "engine" in defaults:
        # What is spread is the reports: one that waited for a cluster's processors while it holds one of them would wait for ever.
        defaults["engine"], checked = "local", [given | {"engine": "local"} for given in checked]
    studies = [Study(name, given, defaults | given) for (name, _), given in zip(written, checked, strict=True)]
    if not named:
        studies = _labelled(path, studies, [name for name, values in axes.items() if len(values) > 1])
    return Matrix(path, found, tuple(studies), named)


def _top(path: Path) -> dict[str, yaml.Node]:
    """Return the file's sections; there are the right ones."""
    root = _parse(path)
    if root is None:
        raise ConfigError(f"{path.name}: must have parameters or studies, got an empty file")
    content = _pairs(path, "the file", root)
    for key in content:
        if key not in _KEYS:
            hint = nearest(key, _KEYS) or f"; there are {', '.join(_KEYS)}"
            raise _wrong(path, _key(root, key), f"unknown key {show(key)!r}{hint}")
    if ("parameters" in content) == ("studies" in content):
        got = "both" if "studies" in content else "neither"
        raise ConfigError(f"{path.name}: must have either parameters or studies, got {got}")
    return content


def _parse(path: Path) -> yaml.Node | None:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{path.name}: must be at most {_MOST_BYTES:,} bytes, got {path.stat().st_size:,}")
        return yaml.compose(path.read_bytes(), yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"--matrix {path}: cannot be read: {error.strerror or type(error).__name__}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        words = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{path.name}:{line} is not YAML: {words}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"{path.name}: is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{path.name}: is nested too deeply") from None


def _wrong(path: Path, node: yaml.Node, message: str) -> ConfigError:
    return ConfigError(f"{path.name}: line {node.start_mark.line + 1}: {message}")


def _key(mapping: yaml.Node, key: str) -> yaml.Node:
    """Return the node in which a key is written."""
    return next(node for node, _ in mapping.value if node.value == key)


def _pairs(path: Path, what: str, node: yaml.Node) -> dict[str, yaml.Node]:
    """Return a mapping's nodes by key; YAML itself would let the last of two equal keys win."""
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(path, node, f"{what} must be names with values, such as top_n: 5, got {_kind(node)}")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _text(path, key)
        if name in found:
            raise _wrong(path, key, f"{show(name)!r} must be there once, got it twice")
        found[name] = value
    return found


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(show(node.value)) if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _text(path: Path, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        raise _wrong(path, node, f"must be a text, got {_kind(node)}")
    return str(node.value)


def _value(path: Path, name: str, node: yaml.Node) -> Value:
    """Return a value as it is written: a text, a list of symbols, or None for nothing, `null` or `~`."""
    if isinstance(node, yaml.SequenceNode):
        if name not in _SYMBOLS:
            raise _wrong(
                path, node, f"{show(name)} must be one value, got a list; values to combine stand under parameters"
            )
        return [_text(path, item) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(path, node, f"{show(name)} must be a value or a list, got {_kind(node)}")
    return None if node.style is None and node.value in ("", "~", "null") else str(node.value)


def _values(path: Path, what: str, node: yaml.Node) -> dict[str, Value]:
    """Return the parameters that a section sets; an empty section sets none."""
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return {}
    return {name: _value(path, name, value) for name, value in _pairs(path, what, node).items()}


def _named(path: Path, node: yaml.Node) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield the studies that have names."""
    studies = _pairs(path, "studies", node)
    if not studies:
        raise _wrong(path, node, "studies must name at least one study, got none")
    if len(studies) > MOST_STUDIES:
        raise _too_many(path, len(studies))
    for name, content in studies.items():
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            rule = f"the name of a study must be printable and at most {_LONGEST_NAME} characters"
            raise _wrong(path, _key(node, name), f"{rule}, got {show(name)!r}")
        yield name, _values(path, f"study {name}", content)


def _axes(path: Path, node: yaml.Node) -> dict[str, list[Value]]:
    """Return the values that a grid combines, by parameter."""
    axes: dict[str, list[Value]] = {}
    for name, value in _pairs(path, "parameters", node).items():
        listed = isinstance(value, yaml.SequenceNode)
        axes[name] = [_value(path, name, item) for item in value.value] if listed else [_value(path, name, value)]
        if not axes[name]:
            raise _wrong(path, value, f"{show(name)} must list at least one value, got none")
    if not axes:
        raise _wrong(path, node, "parameters must set at least one parameter, got none")
    if (size := math.prod(map(len, axes.values()))) > MOST_STUDIES:
        raise _too_many(path, size)
    return axes


def _too_many(path: Path, size: int) -> ConfigError:
    return ConfigError(
        f"{path.name}: must ask for at most {MOST_STUDIES:,} reports, got {size:,}; workbench sweep compares millions "
        "of configurations without a report for each"
    )


def _check_options(file: str, options: Mapping[str, Any], studies: Sequence[Mapping[str, Value]]) -> None:
    """Raise ConfigError for an option that no study would feel."""
    for name in options:
        if all(name in values for values in studies):
            raise ConfigError(
                f"{name} is set by every study of {file}, got it on the command line too; give it in one place"
            )


def _check_engine(file: str, sections: Sequence[Mapping[str, Any]]) -> None:
    if any("engine" in values for values in sections):
        raise ConfigError(f"{file}: engine must not be a parameter of a study, which changes no number; give --engine")


def _checked(file: str, notebook: Path, sections: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return each section's parameters, read as the notebook's types; ConfigError that names what is wrong, the first few of it."""
    checked, complaints = [], dict[str, None]()
    for label, values in sections:
        try:
            checked.append(_finite(check_parameters(notebook, values)))
        except WorkbenchError as error:
            complaints[f"{label}: {error}"] = None
    if complaints:
        more = len(complaints) - _MOST_COMPLAINTS
        rest = f"; and {more} more" if more > 0 else ""
        raise ConfigError(f"{file}: {'; '.join(list(complaints)[:_MOST_COMPLAINTS])}{rest}")
    return checked


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be a finite number, got {value!r}")
    return values


def _labelled(path: Path, studies: Sequence[Study], lists: Sequence[str]) -> list[Study]:
    """Name the combinations of a grid by their values of the parameters that were lists."""
    labelled: dict[str, Study] = {}
    for study in studies:
        name = ", ".join(f"{name}={word(study.given[name])}" for name in lists) or path.stem
        if name in labelled:
            raise ConfigError(f"{path.name}: parameters must list each value once, got {name} twice")
        labelled[name] = replace(study, name=name)
    return list(labelled.values())


def word(value: Any) -> str:
    """Write a parameter's value for people, as it stands in a matrix."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "none" if value is None or value == "" else str(value)
