"""Pages as tests see them: blocks in order, the commands in them, and a process that runs a page as its reader would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_EXIT = re.compile(r"\s+# exit (\d)$")
ANYTHING = "…"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of the page on which its text begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A line for a shell, and the exit code that it is to end with."""

    text: str
    code: int


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return [
            Block(found[1], found[2], self.text.count("\n", 0, found.start()) + 2)
            for found in _FENCE.finditer(self.text)
        ]

    @cached_property
    def prose(self) -> str:
        """The page without its blocks."""
        return _FENCE.sub("", self.text)

    @property
    def inline(self) -> list[str]:
        """What stands between single backquotes in the prose."""
        return re.findall(r"`([^`\n]+)`", self.prose)

    def anchors(self) -> set[str]:
        """The names of the headings, as GitHub makes them."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block, a line each, or lines that end in a backslash; without their comments."""
    for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
        found = _EXIT.search(line)
        text = re.split(r"\s\s+# | # exit ", line)[0].strip()
        if text:
            yield Command(text, int(found[1]) if found else 0)


def file_of(block: Block) -> str | None:
    """Return the name of the file that a block is, which its first line says; None where it is none."""
    found = re.match(r"# ([\w-]+\.(?:py|yaml))$", block.text.splitlines()[0])
    return found[1] if found else None


def missing_lines(expected: str, printed: str) -> list[str]:
    """Return the lines of a text that were not printed in this order; `…` is any characters, and as a line any lines."""
    lines, position, missing = printed.splitlines(), 0, []
    for wanted in filter(str.strip, expected.splitlines()):
        if wanted == ANYTHING:
            continue
        pattern = ".*".join(map(re.escape, wanted.rstrip().split(ANYTHING)))
        found = next((n for n, line in enumerate(lines[position:]) if re.fullmatch(pattern, line.rstrip())), None)
        if found is None:
            missing.append(wanted)
        else:
            position += found + 1
    return missing


def differences(expected: Any, got: Any, place: str = "") -> list[str]:
    """Return where an answer lacks what a page shows of it: objects may have more fields, lists that end in `…` more items."""
    if expected == ANYTHING:
        return []
    if isinstance(expected, dict) and isinstance(got, dict):
        return [
            line
            for name, value in expected.items()
            for line in (
                differences(value, got[name], f"{place}.{name}") if name in got else [f"{place}.{name} is not there"]
            )
        ]
    if isinstance(expected, list) and isinstance(got, list):
        more = bool(expected) and expected[-1] == ANYTHING
        wanted = expected[:-1] if more else expected
        if len(got) < len(wanted) or (len(got) > len(wanted) and not more):
            return [f"{place} has {len(got)} items, the page shows {len(wanted)}"]
        return [
            line
            for n, (value, item) in enumerate(zip(wanted, got, strict=False))
            for line in differences(value, item, f"{place}[{n}]")
        ]
    return [] if expected == got else [f"{place} is {got!r}, the page says {expected!r}"]


_READER = """
import contextlib, io, json, os, shlex, sys, traceback
names = {"__name__": "__main__"}
sys.path.insert(0, "")
for line in sys.stdin:
    kind, text = json.loads(line)
    printed, code, before = io.StringIO(), 0, dict(os.environ)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            if kind == "python":
                exec(compile(text, "page", "exec"), names)
            else:
                from workbench.cli import run
                words = shlex.split(text)
                while "=" in words[0]:
                    name, _, value = words.pop(0).partition("=")
                    os.environ[name] = value
                code = run(words[1:])
        except BaseException:
            traceback.print_exc()
            code = -1
    os.environ.clear()
    os.environ.update(before)
    print(json.dumps([code, printed.getvalue()]), file=sys.__stdout__, flush=True)
"""
_OTHER_SHELL = set("|<>;&$*`")


class Reader:
    """Who follows a page: an interpreter for its Python, another one for its `workbench` commands, a shell for other lines.

    Parameters
    ----------
    folder
        The current one.
    environment
        Variables of the reader's own.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        names = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WORKBENCH_"))}
        self._folder, self._environment = folder, names | {"PATH": path} | environment
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def python(self, code: str) -> tuple[int, str]:
        """Run a block; return 0 and what it printed, or -1 and the traceback."""
        return self._ask("python", code)

    def command(self, line: str) -> tuple[int, str]:
        """Run a line; return its exit code and what it printed."""
        plain = re.match(r"(?!.*PYTHONPATH)(\w+=\S+ )*workbench ", line)
        if plain and not _OTHER_SHELL & set(re.sub(r'"[^"]*"', "", line)):
            return self._ask("workbench", line)
        done = subprocess.run(
            ["sh", "-c", line], cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout + done.stderr

    def _ask(self, kind: str, text: str) -> tuple[int, str]:
        if kind not in self._processes:
            self._processes[kind] = subprocess.Popen(
                [sys.executable, "-c", _READER],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        process = self._processes[kind]
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([kind, text]) + "\n")
        process.stdin.flush()
        code, printed = json.loads(process.stdout.readline())
        return code, printed

    def end(self) -> None:
        """End the interpreters."""
        for process in self._processes.values():
            process.communicate(timeout=30)
