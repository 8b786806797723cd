"""Write environment.yml (conda) from requirements.lock, so that both name the same versions: `make lock` runs this.

Usage: python .ci/environment.py [requirements.lock [environment.yml]]
"""

import re
import sys
from pathlib import Path

HEADER = """\
# The workbench for conda, made from requirements.lock by `make lock`: do not edit.
# A test holds the two equal. conda itself is not run in this project's tests: the tested install is `make`'s.
# Afterwards, in the checkout: pip install --no-deps --no-build-isolation -e .
name: workbench
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""
PINNED = re.compile(r"^([A-Za-z0-9._-]+==\S+)( ; .*?)? *\\?$")


def render(lock: str) -> str:
    """Return environment.yml's text for a lock's text."""
    pins = [match.group(1) + (match.group(2) or "") for match in map(PINNED.match, lock.splitlines()) if match]
    return HEADER + "".join(f"      - {pin}\n" for pin in pins)


if __name__ == "__main__":
    source, target = [*sys.argv[1:], *("requirements.lock", "environment.yml")[len(sys.argv) - 1 :]]
    Path(target).write_text(render(Path(source).read_text(encoding="utf-8")), encoding="utf-8")
