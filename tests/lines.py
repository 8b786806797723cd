"""Lines for a shell that pages show and tests cannot run: whether the programs in them have such commands, options and files.

The workbench's own command line, Ray's and pip's are asked themselves. Docker and conda are not here: what they understand is listed below,
from their reference pages.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import dropwhile, pairwise
from typing import Any

import typer
import yaml
from pages import ROOT

import workbench
from workbench.cli import WITH_DATA, build

VERSION = workbench.__version__
IMAGE, BUILT = f"workbench:{VERSION}", f"workbench-{VERSION}"

# Command -> its options; those that take a value end in "=".
DOCKER = {
    "build": "--tag= -t= --no-cache --pull --build-arg= --file= -f=",
    "run": "--rm --read-only --cap-drop= --security-opt= --tmpfs= --shm-size= --volume= -v= --publish= -p= --env= -e= "
    "--name= --network= --entrypoint= --health-cmd= --detach -d --interactive -i --tty -t -it --user= --memory= --pids-limit=",
    "cp": "--archive --follow-link",
    "exec": "--interactive -i --tty -t -it --env= -e= --user=",
    "logs": "--follow -f --tail= --since=",
    "inspect": "--format= -f=",
    "stop": "--time=",
    "network create": "--internal",
    "volume ls": "--filter= --quiet",
    "volume rm": "--force",
}
COMPOSE = {
    "build": "--no-cache --pull",
    "config": "--quiet -q --services",
    "cp": "--archive --follow-link --index=",
    "down": "--volumes -v --remove-orphans --timeout=",
    "exec": "--env= -e= --index= --no-TTY -T --user= --workdir=",
    "logs": "--follow -f --tail= --since= --timestamps",
    "ps": "--all -a --format= --quiet",
    "restart": "--timeout= --no-deps",
    "run": "--rm --build --detach -d --env= -e= --no-deps --no-TTY -T --publish= -p= --service-ports --volume= -v= --user= --workdir=",
    "start": "",
    "stop": "--timeout=",
    "up": "--build --detach -d --wait --wait-timeout= --scale= --force-recreate --no-deps --remove-orphans --pull=",
}
CONDA = {
    "env create": "--file= -f= --name= -n=",
    "env update": "--file= -f= --name= -n= --prune",
    "env remove": "--name= -n=",
    "activate": "",
}


def options_of_others() -> set[str]:
    """Return the options that the tables above have."""
    texts = [*DOCKER.values(), *COMPOSE.values(), *CONDA.values()]
    return {option.rstrip("=") for text in texts for option in text.split()}


def check_line(line: str) -> None:
    """Hold a line against the programs that it calls: their commands, options, and the files that it names.

    Raises
    ------
    AssertionError
        Something in it does not exist.
    """
    words = _without_variables(shlex.split(re.split(r" [|<>] ?", line)[0]))
    if not words or words[0] in ("export", "cd", "git", "papermill"):
        return
    program = "python" if words[0].endswith(("python", "python3")) else words[0].rpartition("/")[2]
    checks = {
        "workbench": _check_workbench,
        "docker": _check_docker,
        "conda": _check_conda,
        "pip": _check_pip,
        "python": _check_python,
        "sh": _check_script,
        "make": _check_make,
        "tar": _check_tar,
    }
    if program in ("ray", "serve"):
        _check_ray(line)
        return
    if program == "healthy" or program == "curl":
        return
    assert program in checks, f"{line}: what is {program}?"
    checks[program](words[1:])


def _without_variables(words: list[str]) -> list[str]:
    """Return a line's words without the assignments before its program."""
    return list(dropwhile(lambda word: re.match(r"[A-Z_]+=", word), words))


# ---- the workbench ----


@cache
def commands_of_workbench() -> dict[str, Any]:
    """Return the commands of `workbench`, those of its groups by both words."""
    top = typer.main.get_command(build(WITH_DATA))
    return {
        f"{name} {own}".strip(): one
        for name, command in top.commands.items()  # type: ignore[attr-defined]
        for own, one in getattr(command, "commands", {"": command}).items()
    }


def options_of_workbench() -> dict[str, set[str]]:
    """Return the options of each command."""
    return {
        name: {text for item in command.params for text in (*item.opts, *item.secondary_opts)} | {"--help"}
        for name, command in commands_of_workbench().items()
    }


def _check_workbench(words: list[str]) -> None:
    known = commands_of_workbench()
    count = 2 if " ".join(words[:2]) in known else 1
    name, rest = " ".join(words[:count]), words[count:]
    if words in (["--help"], ["--version"]):
        return
    assert name in known, f"workbench has no command {name}"
    if "--help" in rest:
        return
    try:
        known[name].make_context(name, rest)
    except Exception as error:  # a mistake in the line, as typer tells it
        raise AssertionError(f"workbench {' '.join(words)}: {error}") from None


# ---- Docker ----


def split(known: dict[str, str], words: list[str]) -> tuple[str, list[tuple[str, str]], list[str]]:
    """Return the command, its options with their values, and what follows them."""
    name = next((text for count in (2, 1) if (text := " ".join(words[:count])) in known), "")
    assert name, f"no such command: {' '.join(words)}"
    options, rest = known[name].split(), words[len(name.split()) :]
    found = []
    while rest and rest[0].startswith("-"):
        option, _, value = rest.pop(0).partition("=")
        if f"{option}=" in options:
            assert value or rest, f"{name} {option} wants a value"
            found.append((option, value or rest.pop(0)))
        else:
            assert option in options and not value, f"{name} has no option {option}"
            found.append((option, value))
    return name, found, rest


@cache
def compose_file() -> dict[str, Any]:
    """Return docker-compose.yml."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@cache
def dockerfile() -> str:
    """Return the Dockerfile's text."""
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def _check_docker(words: list[str]) -> None:
    if words[0] == "compose":
        _check_compose(words[1:])
        return
    name, options, rest = split(DOCKER, words)
    if name == "build":
        assert rest == ["."] and ("-t", IMAGE) in options, words
    if name != "run":
        return
    assert rest and rest[0] == IMAGE, f"not this version's image: {words}"
    mounted = [_check_volume(value) for option, value in options if option in ("-v", "--volume")]
    for option, value in options:
        if option in ("-p", "--publish"):
            _check_port(value)
        if option in ("-e", "--env") and "/run/secrets/" in value:
            assert value.partition("=")[2] in mounted, f"{value} is not mounted"
        if option == "--health-cmd":
            assert shlex.split(value)[0] == "healthy", value
    started = [value for option, value in options if option == "--entrypoint"]
    if [*started, *rest[1:]]:
        check_line(shlex.join([*started, *rest[1:]]))


def _check_volume(value: str) -> str:
    """Hold what is mounted against the image and the volumes of the compose file; return the place inside."""
    source, inside, *mode = value.split(":")
    places = json.loads(re.findall(r"^VOLUME (.*)", dockerfile(), re.M)[0])
    secrets = [f"/run/secrets/{name}" for name in compose_file()["secrets"]]
    assert inside in (*places, *secrets, "/srv/here") and mode in ([], ["ro"]), value
    if inside in secrets:
        assert source == f"$PWD/secrets/{inside.rpartition('/')[2]}", value
    if source.startswith(f"{compose_file()['name']}_"):
        assert source.partition("_")[2] in compose_file()["volumes"], value
    return inside


def _check_port(value: str) -> None:
    """Hold a published port against the image: one that it names, and on loopback only."""
    host, outside, inside = value.split(":")
    assert host == "127.0.0.1" and outside.isdigit(), value
    assert inside in re.findall(r"^EXPOSE (.*)", dockerfile(), re.M)[0].split(), value


def _check_compose(words: list[str]) -> None:
    """Hold what follows `docker compose` against the services of the file, and what it runs in one against the command line."""
    services = set(compose_file()["services"])
    name, options, rest = split(COMPOSE, words)
    scaled = {value.partition("=")[0] for option, value in options if option == "--scale"}
    assert scaled <= {"ray-worker"}, f"only workers can be many: {words}"
    for option, value in options:
        if option in ("-v", "--volume") and name == "run":
            _check_volume(value)
    if name == "cp":
        (inside,) = (word for word in rest if ":" in word)
        service, _, path = inside.partition(":")
        assert len(rest) == 2 and service in services and path.startswith(("/srv/data", "/srv/reports")), words
    elif name in ("run", "exec"):
        assert rest and rest[0] in services, words
        assert not rest[1:] or check_line(shlex.join(rest[1:])) is None
    else:
        assert set(rest) <= services, words


# ---- other programs ----

_RAY_COMMANDS = """
import json
from ray.scripts.scripts import cli
from ray.serve.scripts import cli as serve

def commands(group, name):
    for own, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name}{own} ")
        else:
            yield name + own, [text for item in command.params for text in (*item.opts, *item.secondary_opts)]

print(json.dumps(dict([*commands(cli, "ray "), *commands(serve, "serve ")])))
"""


@cache
def _ray_commands() -> dict[str, set[str]]:
    """Return the options of each of Ray's commands; in a process of its own, since Ray is not to be imported here."""
    done = subprocess.run(
        [sys.executable, "-c", _RAY_COMMANDS], capture_output=True, text=True, timeout=120, check=True
    )
    return {name: set(options) for name, options in json.loads(done.stdout.splitlines()[-1]).items()}


def _check_ray(line: str) -> None:
    own, _, job = line.partition(" -- ")
    words = _without_variables(shlex.split(own))
    plain = " ".join(words)
    found = [known for name, known in _ray_commands().items() if f"{plain} ".startswith(f"{name} ")]
    assert len(found) == 1, line
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options <= found[0], f"{line}: {options - found[0]}"
    if job:
        check_line(job)


def _check_conda(words: list[str]) -> None:
    name, options, rest = split(CONDA, words)
    made = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["name"]
    for option, value in options:
        if option in ("-f", "--file"):
            assert value == "environment.yml", words
        if option in ("-n", "--name"):
            assert value == made, words
    assert rest == ([made] if name == "activate" else []), words


@cache
def _pip_help(command: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", command, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def _check_pip(words: list[str]) -> None:
    """Hold a line against pip's own help. What it installs lies here: another project has the name in the package index."""
    command, *rest = words
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for before, word in pairwise([command, *rest]):
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){word}(?![\w-])", _pip_help(command)), f"pip {command} has no {word}"
        elif before == "-r":
            assert (ROOT / word).is_file(), word
        else:
            found = re.fullmatch(
                rf"(?:\.|(?:dist/)?{re.escape(BUILT)}(?:\.tar\.gz|-py3-none-any\.whl))(\[\w+\])?", word
            )
            assert found, f"pip {command} {word}: not this version, and not from here"
            assert not found[1] or found[1][1:-1] in extras, word


def _check_python(words: list[str]) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]), words
        if words[1] == "pip":
            _check_pip(words[2:])
    else:
        assert (ROOT / words[0]).is_file(), words


def _check_script(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file(), words


def _targets() -> Iterator[str]:
    yield from re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def _check_make(words: list[str]) -> None:
    assert {word for word in words if "=" not in word} <= set(_targets()), words


def _check_tar(words: list[str]) -> None:
    done = subprocess.run(["tar", "--help"], capture_output=True, text=True, check=True)
    assert all(f" {word[:2]}," in done.stdout for word in words if word.startswith("-")), words
