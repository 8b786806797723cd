"""Print the part of requirements.lock that some packages need, hashes and all: an image wants no test tools.

Usage: python .ci/part_of_lock.py [PACKAGE...]     without a name: what the workbench itself needs

It is read from the lock's own notes (`# via`), so nothing is resolved anew; `pip check` in the image holds it against the packages.
"""

import re
import sys
import tomllib
from pathlib import Path

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    """Return a package's name as the lock writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, tuple[str, set[str]]]:
    """Return name -> (its lines, the names of the packages that ask for it)."""
    found = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", "\n" + lock):
        match = re.match(rf"({NAME.pattern})==", block)
        if match:
            via = "".join(re.findall(r"# via(.*)", block))
            asking = {normal(name) for name in NAME.findall(re.sub(r"\(.*?\)", "", via))}
            found[normal(match.group(1))] = (re.sub(r"\n\s*#.*", "", block).rstrip(), asking)
    return found


def part(lock: str, wanted: list[str]) -> str:
    """Return the lines of the packages named, and of what they need in turn."""
    known = entries(lock)
    missing = sorted(set(wanted) - set(known))
    if missing:
        raise SystemExit(f"PACKAGE must be one of requirements.lock, got {', '.join(missing)}")
    taken = set(wanted)
    while more := {name for name, (_, asking) in known.items() if asking & taken} - taken:
        taken |= more
    return "".join(f"{known[name][0]}\n" for name in sorted(taken))


def dependencies(project: str) -> list[str]:
    """Return the names of a project's own dependencies, without its extras'."""
    listed = tomllib.loads(project)["project"]["dependencies"]
    return [normal(match.group()) for match in map(NAME.match, listed) if match]


if __name__ == "__main__":
    text = Path("requirements.lock").read_text(encoding="utf-8")
    named = list(map(normal, sys.argv[1:])) or dependencies(Path("pyproject.toml").read_text(encoding="utf-8"))
    sys.stdout.write(part(text, named))
