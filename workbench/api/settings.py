"""What the operator decides about the server: where it listens, where its files lie, who may ask, how much it takes.

Enters: the environment (WORKBENCH_API_...) and a command line's options. Leaves: frozen `Settings`, checked, or a ConfigError in one line.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError
from workbench.listening import is_loopback
from workbench.market.files import show
from workbench.market.home import home

KEY, KEY_FILE = "WORKBENCH_API_KEY", "WORKBENCH_API_KEY_FILE"
_PREFIX = "WORKBENCH_API_"
_SHORTEST_KEY = 16


@dataclass(frozen=True)
class Settings:
    """The server's settings. Sizes are in bytes, times in seconds; those annotated int or float can be set by the environment.

    home : the state folder; `api/` in it holds data sets and the result cache, `jobs/` the jobs.
    key_hashes : sha256 of each API key; empty: no key is asked for, which is allowed on loopback only.
    engine : what `GET /` calls it.
    job_engine : the `--engine` of sweeps and reports.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    key_hashes: tuple[bytes, ...] = ()
    engine: str = "uvicorn"
    job_engine: str = "local"

    cache_bytes: int = 512 << 20
    body_bytes: int = 256 << 10  # of a JSON body
    upload_bytes: int = 64 << 20
    unpacked_bytes: int = 512 << 20  # of an uploaded table, as Parquet's metadata or gzip unpacks it
    table_rows: int = 2_000_000
    table_symbols: int = 20_000
    datasets: int = 200  # uploaded ones
    symbols: int = 500  # named in one request
    sweep_configs: int = 200_000

    rate_per_second: float = 200.0  # per key, or per client where there is none; 0: no limit
    rate_burst: int = 400
    replicas: int = 2  # server processes, with Ray Serve; threads, queue and markets are each one's
    threads: int = 2  # studies computed at a time
    queue: int = 64  # requests that wait for a thread
    markets: int = 8  # kept in memory
    uploads: int = 2  # at a time
    jobs_running: int = 1  # on this machine, whatever the number of server processes
    jobs_queued: int = 20
    jobs_kept: int = 200  # finished ones
    jobs_days: float = 14.0

    study_seconds: float = 60.0
    body_seconds: float = 20.0
    upload_seconds: float = 300.0
    header_seconds: float = 10.0
    check_seconds: float = 120.0  # of an uploaded table
    job_seconds: float = 6 * 3600.0
    grace_seconds: float = 5.0  # between the request to a job's process to end, and its being killed
    stop_seconds: float = 10.0
    retry_after_seconds: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in ("int", "float") and not (value > 0 or (value == 0 and field.name == "rate_per_second")):
                raise ConfigError(f"{_PREFIX}{field.name.upper()} must be above 0, got {value}")
        if not self.port <= 65_535:
            raise ConfigError(f"port must be between 1 and 65535, got {self.port}")
        if not self.key_hashes and not is_loopback(self.host):
            raise ConfigError(
                f"host must be a loopback address where no API key is set, got {show(self.host)}: anybody who reaches it could use it; "
                f"set {KEY} or {KEY_FILE}, or leave --host out"
            )

    @property
    def folder(self) -> Path:
        """Where data sets and the cache lie."""
        return self.home / "api"

    @property
    def jobs_folder(self) -> Path:
        """Where jobs lie."""
        return self.home / "jobs"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **options: Any) -> Settings:
        """Return the settings that the environment gives, with some options in the place of its values.

        Parameters
        ----------
        environment
            `os.environ` if not given. WORKBENCH_API_BODY_BYTES is `body_bytes`, and so on.
        options
            By field; None leaves the field as it is.

        Raises
        ------
        ConfigError
            A value does not read as its field's type or is out of range, a key is too short, or there is none and `host` is not loopback.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = environment.get(_PREFIX + field.name.upper())
            if text and field.type in ("int", "float", "str"):
                values[field.name] = _parsed(field.name, str(field.type), text)
        values["key_hashes"] = tuple(hashlib.sha256(key.encode()).digest() for key in _keys(environment))
        values |= {name: value for name, value in options.items() if value is not None}
        return cls(**({"home": home()} | values))


def _parsed(name: str, kind: str, text: str) -> Any:
    try:
        return {"int": int, "float": float, "str": str}[kind](text)
    except ValueError:
        words = "a whole number" if kind == "int" else "a number"
        raise ConfigError(f"{_PREFIX}{name.upper()} must be {words}, got {show(text)!r}") from None


def _keys(environment: Mapping[str, str]) -> list[str]:
    """Return the API keys: the variable's one, and one per line of the file; no message ever shows one."""
    keys = [environment[KEY].strip()] if environment.get(KEY, "").strip() else []
    file = environment.get(KEY_FILE)
    if file:
        try:
            lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(
                f"{KEY_FILE} must name a file of keys that can be read, got {show(file)} ({why})"
            ) from None
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not found:
            raise ConfigError(f"{KEY_FILE} must name a file with a key on a line, got none in {show(file)}")
        keys += found
    for key in keys:
        if len(key) < _SHORTEST_KEY or not key.isascii() or not key.isprintable():
            raise ConfigError(
                f"an API key must be of at least {_SHORTEST_KEY} plain characters, got one of {len(key)}; "
                'make one: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
    return keys
