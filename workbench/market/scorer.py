"""What a scorer is: the protocol, and the specification that travels to where one is made.

Enters: nothing; these are types. `scorers` makes a scorer from its specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

SCORERS = ("vader", "transformers")

LONGEST = 4000
"""Characters of a text that are scored. The time that VADER takes grows with the square of a text's length: 4,000 characters take at
most about a tenth of a second, 100,000 would take minutes. Posts are shorter."""


class Scorer(Protocol):
    """Gives texts their scores.

    name : what it is, with versions.
    """

    name: str

    def score(self, texts: Sequence[str]) -> list[tuple[float, bool]]:
        """Return (score in [-1, 1], whether only the beginning was scored) for each text."""


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer's name and the folder of its model; None where it has none."""

    name: str = "vader"
    model: str | None = None

    @property
    def limit(self) -> str:
        """How much of a long text is scored."""
        return f"the first {LONGEST:,} characters" + (", as far as the model goes" if self.model else "")
