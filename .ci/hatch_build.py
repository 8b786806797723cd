"""Build hook of the wheel: packs the top-level notebooks and the shipped sentiment table into the package.

An editable install reads both from the checkout, so nothing is packed there.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PackedFiles(BuildHookInterface):
    """Adds `notebooks/*.ipynb` as `workbench/_notebooks/` and `sentiment_data.csv` as `workbench/_data/`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files to include, which hatchling then copies."""
        if version == "editable":
            return
        root = Path(self.root)
        packed = {path: f"workbench/_notebooks/{path.name}" for path in sorted(root.glob("notebooks/*.ipynb"))}
        table = root / "sentiment_data.csv"
        if table.exists():
            packed[table] = "workbench/_data/sentiment_data.csv"
        build_data["force_include"].update({str(path): target for path, target in packed.items()})
