"""docker-compose.yml as Docker Compose reads it: anchors merged, ${NAME:-default} filled in from nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30}


def compose() -> dict[str, Any]:
    text = FILE.read_text(encoding="utf-8")
    filled = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)
    found: dict[str, Any] = yaml.safe_load(filled)
    return found


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def size(text: str | int) -> int:
    """Return bytes of a size as Docker writes it, such as 512m."""
    match = re.fullmatch(r"(\d+)([bkmg]?)b?", str(text).lower())
    assert match, text
    return int(match.group(1)) * UNITS[match.group(2)]


def object_store(service: dict[str, Any]) -> int | None:
    """Return the size of a service's object store; None where it is no node of a Ray."""
    for word in service["command"]:
        if word.startswith("--object-store-memory="):
            return int(word.partition("=")[2])
    joins = service.get("environment", {}).get("RAY_JOIN_OBJECT_STORE_BYTES")
    return int(joins) if joins else None


def health_command(service: dict[str, Any]) -> list[str]:
    """Return a health check as the words of a command."""
    kind, *words = service["healthcheck"]["test"]
    assert kind in ("CMD", "CMD-SHELL")
    return words if kind == "CMD" else ["/bin/sh", "-c", *words]
