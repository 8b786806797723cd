"""The notebooks that a Lab opens: those of a checkout themselves, copies where they are an installed package's or cannot be written.

Enters: the folder that was asked for. Leaves: one with the notebooks in it. A file that the user has changed is never overwritten.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from workbench.errors import ConfigError
from workbench.market.durable import sha256, why_not_writable, write_file
from workbench.market.files import show

# Which bytes were copied, so that a copy that nobody has touched can be told from the user's own work.
_RECORD = ".workbench.json"


class Working(NamedTuple):
    """A folder to work in: the notebooks that were copied into it now, and those that differ and were left alone."""

    folder: Path
    copied: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def working_folder(asked: Path | None, notebooks: Path, packed: bool) -> Working:
    """Return the folder that Lab opens.

    Parameters
    ----------
    asked
        The user's choice; None for the checkout's own notebooks, or `./notebooks` where there is none that can be written.
    notebooks
        Where the workbench's notebooks are.
    packed
        They are part of an installed package.

    Raises
    ------
    ConfigError
        The folder is none, or it cannot be written.
    UnavailableError
        The disk is full.
    """
    usable = not packed and why_not_writable(notebooks) is None
    if usable and (asked is None or asked.expanduser().resolve() == notebooks.resolve()):
        return Working(notebooks)
    folder = (asked or Path("notebooks")).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"FOLDER must be a folder, got the file {show(folder, 200)}")
    why: str | None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = why_not_writable(folder)
    except OSError as error:
        why = error.strerror
    if why is not None:
        raise ConfigError(
            f"FOLDER must be one that can be written, got {show(folder, 200)} ({why}); name another, for copies of the notebooks"
        )
    return _copy(notebooks, folder)


def _copy(notebooks: Path, folder: Path) -> Working:
    record = _read(folder / _RECORD)
    copied, kept = [], []
    for source in sorted(notebooks.glob("*.ipynb")):
        data, target = source.read_bytes(), folder / source.name
        present = sha256(target.read_bytes()) if target.is_file() else None
        if present is not None and present != record.get(source.name):  # the user's, or changed since it was copied
            kept += [source.name] if present != sha256(data) else []
            continue
        if present != sha256(data):
            write_file(target, data, advice="name another FOLDER for the notebooks")
            copied.append(source.name)
        record[source.name] = sha256(data)
    if copied:
        write_file(folder / _RECORD, json.dumps(record, indent=1).encode(), advice="name another FOLDER")
    return Working(folder, tuple(copied), tuple(kept))


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):  # a first time, or not ours
        return {}
