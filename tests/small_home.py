"""A state folder in which a small market is registered."""

from __future__ import annotations

import json
from pathlib import Path

from small_market import write_small_market


def make_home(folder: Path) -> Path:
    """Return a state folder whose operator has registered a small market under the name `small`."""
    tables = folder / "operator"
    tables.mkdir(parents=True)
    sentiment, prices = write_small_market(tables)
    register(folder / "home", "small", sentiment, prices)
    return folder / "home"


def register(home: Path, name: str, sentiment: Path, prices: Path) -> None:
    """Register two tables as the operator of a state folder does."""
    records = home / "api" / "datasets"
    records.mkdir(parents=True, exist_ok=True)
    (records / f"{name}.json").write_text(json.dumps({"sentiment": str(sentiment), "prices": str(prices)}))
