"""The failure of a notebook's cell, as a report names it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CellFailure:
    """Where an execution stopped, and why.

    cell : number of the code cell, counted from 1, papermill's injected one included: the number that Jupyter shows.
    heading : the nearest heading above it; empty if there is none.
    error_name : class of the error, such as `ValueError`, `CellTimeoutError` or `DeadKernelError`.
    message : what it says; several lines at most.
    """

    cell: int
    heading: str
    error_name: str
    message: str

    def __str__(self) -> str:
        """Return the failure in one line."""
        place = f'cell {self.cell} ("{self.heading}")' if self.heading else f"cell {self.cell}"
        first = self.message.strip().split("\n")[0]
        return f"{place} stopped with {self.error_name}{': ' + first if first else ''}"
