"""Daily signals by name: the built-in ones and the user's own; and the modules that bring the user's own along.

A signal is a function of the filtered sentiment table (one row per day and symbol, METHOD's column names) that
returns one number per row; the period's value is the mean of these. It may read rows up to the row's own day, and no
later one: that looks ahead, and `run_study` refuses it where values change when later rows are removed. The version
enters the hash of every configuration that uses the signal, so that results of two versions are never confused.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from workbench.errors import ConfigError, WorkbenchError

# Takes the filtered table; a built-in one also takes a mapping of its columns to arrays.
SignalFunction = Callable[[Any], Any]

_LONGEST_NAME = 64  # it becomes a part of file names


class Signal(NamedTuple):
    """A named daily signal; `columns` are the table columns it reads (empty: unknown, the user's own)."""

    name: str
    function: SignalFunction
    version: str
    columns: tuple[str, ...] = ()


def _ratio(numerator: str, denominator: str) -> SignalFunction:
    return lambda table: np.asarray(table[numerator]) / np.asarray(table[denominator])


_SIGNALS: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        Signal(
            "engagement_ratio",
            _ratio("twitterComments", "twitterLikes"),
            "1",
            ("twitterComments", "twitterLikes"),
        ),
        Signal(
            "twitter_sentiment",
            lambda table: table["twitterSentiment"],
            "1",
            ("twitterSentiment",),
        ),
        Signal(
            "comments_per_post",
            _ratio("twitterComments", "twitterPosts"),
            "1",
            ("twitterComments", "twitterPosts"),
        ),
        Signal(
            "likes_per_impression",
            _ratio("twitterLikes", "twitterImpressions"),
            "1",
            ("twitterLikes", "twitterImpressions"),
        ),
    )
}


def register_signal(name: str, function: SignalFunction, version: str) -> None:
    """Make `function` available as the signal `name`.

    Parameters
    ----------
    name
        An identifier. A built-in name cannot be replaced.
    function
        Takes the filtered table (rows that pass the thresholds) and returns one number per row, in row order.
    version
        Any text; change it whenever the function's meaning changes.

    Raises
    ------
    ConfigError
        The name is not an identifier or belongs to a built-in signal, or the version is empty.
    """
    if not name.isidentifier() or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"signal name must be an identifier of at most {_LONGEST_NAME} characters such as my_signal, got {name!r}"
        )
    known = _SIGNALS.get(name)
    if known is not None and known.columns:
        raise ConfigError(f"signal {name!r} is built in and cannot be replaced; choose another name")
    if not str(version):
        raise ConfigError(f"signal {name!r} needs a version, got an empty one")
    _SIGNALS[name] = Signal(name, function, str(version))


def find_signal(name: str) -> Signal:
    """Return the signal called `name`; ConfigError with the nearest name if there is none."""
    load_plugins()
    try:
        return _SIGNALS[name]
    except KeyError:
        near = difflib.get_close_matches(str(name), _SIGNALS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        got = repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")
        raise ConfigError(f"signal must be one of {', '.join(sorted(_SIGNALS))}, got {got}{hint}") from None


def signal_names() -> tuple[str, ...]:
    """Return the names of all signals, the built-in ones first."""
    load_plugins()
    return tuple(_SIGNALS)


def load_plugins() -> None:
    """Import the modules that WORKBENCH_PLUGINS names: how what is one's own reaches the CLI and headless notebooks.

    Each registers what it brings: a signal by `register_signal`, a source of prices in `workbench.market.prices.KEYWORDS`. Python keeps
    modules, so that it is imported once however often this is called.

    Raises
    ------
    ConfigError
        A module is not found or raises.
    """
    for module in filter(None, os.environ.get("WORKBENCH_PLUGINS", "").split(",")):
        try:
            importlib.import_module(module.strip())
        except WorkbenchError:
            raise
        except Exception as error:  # the user's module may raise anything, and all of it is the user's input
            raise ConfigError(
                f"WORKBENCH_PLUGINS names the module {module.strip()!r}, which cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from None
