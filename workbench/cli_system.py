"""`workbench health`, `status` and `cache clear`: how an API is.

Enters: its address. Leaves: a few lines for people, or the API's own JSON object; exit code 3 where nobody answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from workbench.address import DEFAULT_URL, URL
from workbench.client import Client
from workbench.errors import UnavailableError

_Url = Annotated[str | None, typer.Option("--url", metavar="URL", help=f"[default: ${URL}, else {DEFAULT_URL}]")]
_Json = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]


def health(url: _Url = None, as_json: _Json = False) -> None:
    """Say whether an API is well; no key is needed."""

    def text(api: Client, answer: Mapping[str, Any]) -> str:
        ray = "Ray is up" if answer["ray_initialized"] else "without Ray"
        return f"{api.url}: {answer['status']}, {ray}, {_counted(answer['cache_size'], 'answer')} in the cache"

    answer = _show(url, as_json, Client.health, text)
    if answer["status"] != "healthy":
        raise UnavailableError(f"the API is {answer['status']}; see its log")


def status(url: _Url = None, as_json: _Json = False) -> None:
    """Show what an API runs on, its cache, and what it is busy with."""
    _show(url, as_json, Client.status, _status_text)


def clear(url: _Url = None, as_json: _Json = False) -> None:
    """Make an API forget the answers that it keeps."""

    def text(api: Client, answer: Mapping[str, Any]) -> str:
        return f"{api.url}: {_counted(answer['removed'], 'answer')} forgotten"

    _show(url, as_json, lambda api: {"status": "success", "removed": api.clear_cache()}, text)


def cache_application() -> typer.Typer:
    """Return the commands of `workbench cache`."""
    app = typer.Typer(help="The answers that an API keeps.", rich_markup_mode=None)
    app.callback()(lambda: None)  # else one command would be the whole application
    app.command("clear")(clear)
    return app


def _show(
    url: str | None,
    as_json: bool,
    ask: Callable[[Client], dict[str, Any]],
    text: Callable[[Client, Mapping[str, Any]], str],
) -> dict[str, Any]:
    """Ask an API and print the answer."""
    with Client.from_environment(url) as api:
        answer = ask(api)
        try:
            line = json.dumps(answer) if as_json else text(api, answer)
        except (KeyError, TypeError, ValueError):
            raise UnavailableError(f"{api.url}: its answer cannot be understood; use the same version here") from None
    typer.echo(line)
    return answer


def _status_text(api: Client, answer: Mapping[str, Any]) -> str:
    nodes, cache = answer["nodes"], answer["cache"]
    computations, jobs = answer["computations"], answer["jobs"]
    alive = sum(bool(node["alive"]) for node in nodes)
    resources = ", ".join(_resource(name, amount) for name, amount in sorted(answer["resources"].items()))
    rows = {
        "nodes": f"{alive} of {len(nodes)} alive; {resources}",
        "cache": f"{_counted(cache['entries'], 'answer')}, {_megabytes(cache['bytes'])} of {_megabytes(cache['limit_bytes'])}",
        "computations": f"{computations['taken']} run or wait; {computations['threads']} can run, {computations['queue']} wait",
        "jobs": f"{jobs['running']} running, {jobs['queued']} waiting",
    }
    lines = [f"{name:14s}{row}" for name, row in rows.items()]
    return "\n".join([f"{api.url}: workbench {answer['version']} on {answer['engine']}", *lines])


def _resource(name: str, amount: float) -> str:
    return f"{name} {_megabytes(amount) if 'memory' in name else f'{amount:g}'}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"
