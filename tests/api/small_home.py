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
    records = folder / "home" / "api" / "datasets"
    records.mkdir(parents=True)
    (records / "small.json").write_text(json.dumps({"sentiment": str(sentiment), "prices": str(prices)}))
    return folder / "home"
