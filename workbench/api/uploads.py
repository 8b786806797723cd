"""Tables that clients send: streamed to disk, read once by a process that may fail, then registered under a name.

Enters: the chunks of a body. Leaves: a file in `api/tables` and a record in `api/datasets`; nothing where anything is wrong with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from workbench.api.check_table import KINDS, check_upload
from workbench.api.datasets import NAME, RESERVED, Dataset, Registry
from workbench.api.problems import Refusal, busy
from workbench.api.settings import Settings
from workbench.errors import ConfigError
from workbench.market.durable import unwritable
from workbench.market.files import show
from workbench.market.sentiment import parse_columns

_PASSING = ".incoming-"
_FORGOTTEN_SECONDS = 3600.0


class Uploads:
    """Takes tables in, a few at a time."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings, self._registry = settings, registry
        self._running = 0
        for left in registry.tables.glob(f"{_PASSING}*"):
            with contextlib.suppress(OSError):
                if left.stat().st_mtime < time.time() - _FORGOTTEN_SECONDS:
                    left.unlink()

    def check(self, name: str, kind: str, columns: str | None) -> None:
        """Refuse what can be refused before the body is read.

        Raises
        ------
        ConfigError
            The name, the kind or the columns cannot be.
        Refusal
            409: the name is taken. 507: there are as many tables as there may be.
        """
        if not re.fullmatch(NAME, name) or name in RESERVED:
            raise ConfigError(
                f"name must be of 1 to 64 small letters, digits, - and _, and none of {', '.join(RESERVED)}, got {show(name)!r}"
            )
        if kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {show(kind)!r}")
        if columns:
            parse_columns(columns)
        if name in self._registry.names():
            raise Refusal(409, f"name must be a new one, got {name}, which is registered; choose another")
        if sum(1 for _ in self._registry.tables.iterdir()) >= self._settings.datasets:
            raise Refusal(
                507, f"the server keeps at most {self._settings.datasets} uploaded tables; its operator can remove some"
            )

    async def take(
        self, body: AsyncIterator[bytes], name: str, kind: str, benchmark: str | None, columns: str | None
    ) -> Dataset:
        """Store, check and register a table.

        Raises
        ------
        DataError
            The table breaks a rule; nothing is kept.
        Refusal
            409: another client took the name in the meantime. 503: too many uploads at a time.
        """
        if self._running >= self._settings.uploads:
            raise busy("the server takes as many uploads as it can", self._settings.retry_after_seconds)
        self._running += 1
        passing = self._registry.tables / f"{_PASSING}{secrets.token_hex(8)}"
        try:
            digest, suffix = await _stream(body, passing)
            about = await asyncio.to_thread(check_upload, passing, name, kind, columns, self._settings)
            about |= {"sha256": digest, "uploaded_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}
            record = {"benchmark": benchmark, "columns": parse_columns(columns) if columns else None, "about": about}
            self._register(passing, name, kind, suffix, record)
        except OSError as error:
            raise unwritable(passing, error) from None
        finally:
            self._running -= 1
            passing.unlink(missing_ok=True)
        return self._registry.get(name)

    def _register(self, passing: Path, name: str, kind: str, suffix: str, record: dict[str, Any]) -> None:
        """Move the table to its place and write its record: two names on a disk, each whole or not there."""
        table = self._registry.tables / f"{name}-{secrets.token_hex(4)}{suffix}"
        record[kind] = f"../{self._registry.tables.name}/{table.name}"
        draft = passing.with_name(passing.name + ".json")
        draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
        os.replace(passing, table)
        try:
            os.link(draft, self._registry.folder / f"{name}.json")  # unlike a rename, it never replaces
        except FileExistsError:
            table.unlink()
            raise Refusal(
                409, f"name must be a new one, got {name}, which was registered just now; choose another"
            ) from None
        finally:
            draft.unlink(missing_ok=True)


async def _stream(body: AsyncIterator[bytes], path: Path) -> tuple[str, str]:
    """Write a body to a file; return its hash, and the suffix that its first bytes ask for."""
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        async for chunk in body:
            digest.update(chunk)
            file.write(chunk)
    with open(path, "rb") as file:
        first = file.read(4)
    return digest.hexdigest(), ".parquet" if first == b"PAR1" else ".csv.gz" if first[:2] == b"\x1f\x8b" else ".csv"
