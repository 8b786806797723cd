"""Run by test_faults.py in a process of its own: start a Ray, crash its workers, then sleep in a map until this process is ended.

Argument: a folder, in which `family` will hold the processes that belong to Ray, and `log` those of the workers that sleep.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import chunk_work as work
import psutil

from workbench.engines import choose, prepare
from workbench.errors import UnavailableError
from workbench.workers import RUNS


def main(folder: Path) -> None:
    with prepare("ray"), choose("auto") as engine:
        assert engine.account()["why"] == "Ray is initialised in this process"
        got = dict(engine.map(work.die_once, range(6), shared=(str(folder / "mark"),)))
        assert got == {chunk: chunk * 3 for chunk in range(6)}
        refused = ""
        try:
            list(engine.map(work.die_always, range(4), shared=(str(folder / "deaths"),)))
        except UnavailableError as error:
            refused = str(error)
        assert refused.startswith("chunk 2 was lost on Ray, although it was run again: ")
        assert (folder / "deaths").stat().st_size == RUNS
        family = [(child.pid, child.name()) for child in psutil.Process().children(recursive=True)]
        (folder / "family").write_text(json.dumps(family), encoding="utf-8")
        list(engine.map(work.sleep_long, range(2), shared=(str(folder / "log"),)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
