"""The tables of a command whose work an API does: named there, and sent if they lie only here.

Enters: the data options of a command. Leaves: the fields of a request; and the way back from the server's names to those of here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.address import URL
from workbench.client import Client
from workbench.errors import ConfigError, UnavailableError, WorkbenchError

if TYPE_CHECKING:
    from workbench.market.tables import InputFile

SHIPPED = "sentiment_data.csv"
SUFFIX = r"(?:\.csv\.gz|\.csv|\.parquet)?"
"""What the name of a registered table may end in where the server shows it."""

_DEFAULT = "default"


def refuse(options: Mapping[str, tuple[Any, str]]) -> None:
    """Refuse the options that only work here: flag -> (value, why); ConfigError for the first one that was given."""
    for flag, (value, why) in options.items():
        if value is not None and value is not False:
            raise ConfigError(f'{flag} must be left out with --url or {URL}: {why}; --url "" does the work here')


@contextmanager
def understood(url: str) -> Iterator[None]:
    """Let what the server sent be an error of its own where it has not the form that is expected; pyarrow's errors are ValueErrors."""
    try:
        yield
    except WorkbenchError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        raise UnavailableError(
            f"{url}: its answer cannot be understood; use the same version of workbench here as there"
        ) from None


@dataclass(frozen=True)
class Sent:
    """The data of a request: its `fields`; the tables of here by the names that they have there, and their roles."""

    fields: dict[str, Any]
    files: dict[str, InputFile] = field(default_factory=dict)
    roles: dict[str, InputFile] = field(default_factory=dict)

    def restored(self, text: str) -> str:
        """Return a text of the server's with the names of here."""
        for name, file in self.files.items():
            text = re.sub(re.escape(name) + SUFFIX, lambda _, own=file.name: own, text)  # type: ignore[misc]
        return text

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Let errors name tables as they are called here."""
        try:
            yield
        except WorkbenchError as error:
            raise type(error)(self.restored(str(error))) from None


def send(api: Client, options: Mapping[str, Any], dataset: str | None, prices_only: bool = False) -> Sent:
    """Return the data of a request; what lies here and not there is sent.

    Parameters
    ----------
    options
        The data options, found here as if the work were done here.
    dataset
        A table registered there, in place of them.
    prices_only
        Leave the sentiment table alone.
    """
    from workbench.market.files import read_input
    from workbench.market.prices import KEYWORDS
    from workbench.report.parameters import DATA

    _check_data(options, dataset)
    sent = Sent({name: options[name] for name in ("benchmark", "start", "end") if options.get(name) is not None})
    with understood(api.url):
        registered = {entry["name"]: entry for entry in api.datasets()}
    if dataset is not None:
        sent.fields["dataset"] = dataset
    else:
        sent.fields.setdefault("benchmark", DATA["benchmark"].default)
        if not prices_only:
            _send_sentiment(api, registered, options, sent)
    prices = options.get("prices")
    named_there = dataset is not None and prices in registered
    if prices is None:
        return sent
    if named_there or prices.partition(":")[0] in KEYWORDS:
        sent.fields["prices"] = prices
    else:
        sent.fields["prices"] = _send_table(api, registered, "prices", read_input(prices, also=KEYWORDS), "", sent)
    return sent


def _check_data(options: Mapping[str, Any], dataset: str | None) -> None:
    """Refuse what an API cannot be told."""
    for name in ("sentiment", "columns") if dataset is not None else ():
        if options.get(name) is not None:
            raise ConfigError(
                f"--{name} must be left out with --dataset, which names a table with its columns; got both"
            )
    for name in ("sentiment", "prices"):
        value = options.get(name) or ""
        if value.lower().startswith(("http://", "https://")):
            raise ConfigError(f"{name} must be a file with --url, got an address: an API fetches none; download it")
    if (options.get("prices") or "").partition(":")[0] == "yfinance":
        raise ConfigError(
            "prices must be a file, simulated or snapshot:ID with --url, got yfinance: an API fetches none; "
            'name a file, or add --url "" to work here'
        )
    mixed = "the operator of an API decides that for each table (allow_mixed_data), which --dataset then names"
    refuse({"--allow-mixed-data": (options.get("allow_mixed_data"), mixed)})


def _send_sentiment(
    api: Client, registered: Mapping[str, dict[str, Any]], options: Mapping[str, Any], sent: Sent
) -> None:
    """Name the sentiment table in the fields: the server's `default` where it is the same."""
    from workbench.market.files import read_input
    from workbench.market.sentiment import parse_columns

    columns = options.get("columns") or ""
    named = ",".join(f"{name}={own}" for name, own in parse_columns(columns).items()) if columns else ""
    name = options.get("sentiment") or SHIPPED
    file, content = read_input(name)
    default = registered.get(_DEFAULT, {})
    shipped = {"sentiment_sha256": file.sha256, "prices": "simulated", "columns": None}
    if not named and shipped.items() <= default.items():
        sent.fields["dataset"] = _DEFAULT
        sent.files[SHIPPED] = sent.roles["sentiment"] = file
    else:
        sent.fields["dataset"] = _send_table(api, registered, "sentiment", (file, content), named, sent)


def _send_table(
    api: Client,
    registered: Mapping[str, dict[str, Any]],
    kind: str,
    table: tuple[InputFile, bytes],
    columns: str,
    sent: Sent,
) -> str:
    """Return the name that a table of here has there, where it is made known first if need be."""
    file, content = table
    digest = hashlib.sha256(f"{file.sha256} {columns}".encode()).hexdigest() if columns else file.sha256
    own = f"{kind}-{digest[:24]}"
    sent.files[own] = sent.roles[kind] = file
    entry = registered.get(own)
    if entry is None:
        with sent.naming():
            try:
                entry = api.upload(own, file.path, kind, columns=columns or None, content=content)
            except ConfigError:  # the same table may have been sent by another process in the meantime
                entry = next((found for found in api.datasets() if found["name"] == own), None)
                if entry is None:
                    raise
    if entry.get(f"{kind}_sha256") != file.sha256:
        raise UnavailableError(
            f"{api.url}: the table registered as {own} is not the one that was sent; its operator has to remove it"
        )
    return own
