"""The cache of answers: bytes on disk, shared by the processes of a machine, kept over restarts.

Enters: a key and bytes. Leaves: the same bytes, to the last one. A cache that fails is no reason for a request to: it counts as a miss.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import diskcache  # type: ignore[import-untyped]
import filelock

from workbench import __version__
from workbench.api.answers import FORM
from workbench.errors import UnavailableError
from workbench.market.files import show

_TIMEOUT_SECONDS = 1.0
_FAILURES = (sqlite3.Error, diskcache.Timeout, OSError, EOFError)
_LOG = logging.getLogger("workbench.api")


def cache_key(endpoint: str, *parts: Any) -> str:
    """Return the hash of all that an answer depends on: the endpoint, the version, and what else is given."""
    text = json.dumps([endpoint, __version__, FORM, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _open(folder: Path, size: int) -> Any:
    # Without statistics and with this policy a hit writes nothing, so that readers never wait for one another.
    return diskcache.Cache(
        folder, timeout=_TIMEOUT_SECONDS, size_limit=size, eviction_policy="least-recently-stored", statistics=0
    )


class ResultCache:
    """Answers by key.

    Parameters
    ----------
    folder
        Made if it is not there; readable by its owner only.
    size
        Bytes that it may take; the oldest answers go first.

    Raises
    ------
    UnavailableError
        The disk is full, or another process holds the cache.
    """

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.size = size
        with filelock.FileLock(folder.with_name(f"{folder.name}.lock")):  # two replicas start at the same moment
            self._cache = self._opened(folder, size)

    @staticmethod
    def _opened(folder: Path, size: int) -> Any:
        try:
            return _open(folder, size)
        except (sqlite3.OperationalError, diskcache.Timeout, OSError) as error:  # locked, full: it may be in use
            raise UnavailableError(f"the cache in {show(folder, 200)} cannot be opened: {error}") from None
        except sqlite3.DatabaseError as error:  # damaged: all that it held can be computed again
            _LOG.warning("the cache is made anew: %s", error)
            shutil.rmtree(folder)
            return _open(folder, size)

    def get(self, key: str) -> bytes | None:
        """Return the answer of a key, None where there is none."""
        try:
            found = self._cache.get(key)
        except _FAILURES as error:
            _LOG.warning("the cache cannot be read: %s", error)
            return None
        return found if isinstance(found, bytes) else None

    def put(self, key: str, answer: bytes) -> None:
        """Keep an answer."""
        try:
            self._cache.set(key, answer)
        except _FAILURES as error:
            _LOG.warning("the cache cannot be written: %s", error)

    def clear(self) -> int:
        """Forget all answers; return how many there were."""
        return int(self._cache.clear(retry=True))

    def __len__(self) -> int:
        try:
            return len(self._cache)
        except _FAILURES:
            return 0

    def volume(self) -> int:
        """Return the bytes that it takes."""
        try:
            return int(self._cache.volume())
        except _FAILURES:
            return 0

    def close(self) -> None:
        """Close the files."""
        self._cache.close()
