"""Services of docker-compose.yml without Docker: each with its own network, processes, host name, mounts and user.

A box runs a service's exact command with its exact environment as uid 1000 without capabilities. Its root is this machine's, read-only;
the volumes, /tmp, /dev/shm and the secrets are where the compose file has them, and the boxes find each other by name.
Memory, processors and numbers of processes are not limited, but measured. Only root can make one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from compose import ROOT, compose, health_command, services, size

AS_USER = "setpriv --reuid 1000 --regid 1000 --clear-groups --no-new-privs --bounding-set -all --inh-caps -all".split()
NEEDED = sorted({str(ROOT), sys.prefix, sys.base_prefix})
HOME = str(Path.home())
COVERED = ("/tmp/", f"{HOME}/")
"""Folders that a box has empty ones of, but for what of `NEEDED` lies there."""
MOST_RESTARTS = 3
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def why_no_mounts(programs: tuple[str, ...] = ("unshare", "setpriv", "mount")) -> str | None:
    """Return why programs cannot be run here as another user on mounts of their own, or None."""
    missing = [name for name in programs if shutil.which(name) is None]
    if os.getuid() != 0 or missing:
        return f"boxes need root and {', '.join(missing) or 'nothing else'}"
    closed = [
        str(folder)
        for path in NEEDED
        for folder in Path(path).parents
        if not folder.stat().st_mode & 1 and not path.startswith(COVERED)
    ]
    if closed:
        return f"boxes: uid 1000 cannot look into {closed[0]}"
    script = "mount -n --make-rprivate / && mount -n -t tmpfs tmpfs /srv"
    made = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, check=False)
    return "boxes: no mounts can be made here" if made.returncode else None


def why_not() -> str | None:
    """Return why there can be no boxes here, or None."""
    reason = why_no_mounts(("ip", "unshare", "nsenter", "setpriv", "mount"))
    if reason is not None:
        return reason
    name = f"wbtry{os.getpid() % 1000}"
    made = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, check=False)
    if made.returncode:
        return "boxes: no bridge can be made here"
    ip("link", "del", name)
    return None


def covering(commands: list[str]) -> list[str]:
    """Return commands that mount other folders over those of `COVERED`, with what of `NEEDED` lies there put aside and back; in /srv."""
    needed = [path for path in NEEDED if path.startswith(COVERED)]
    lines = ["mkdir hidden"]
    for number, path in enumerate(needed):
        lines.append(f"mkdir hidden/{number}; mount -n --bind {shlex.quote(path)} hidden/{number}")
    lines += commands
    for number, path in enumerate(needed):
        lines.append(f"mkdir -p {shlex.quote(path)}; mount -n --move hidden/{number} {shlex.quote(path)}")
    return lines


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def image_environment() -> dict[str, str]:
    """Return what the Dockerfile's last ENV sets, the paths of the programs being those of here."""
    (text,) = re.findall(r"^ENV (PATH=(?:.*\\\n)*.*)", DOCKERFILE, flags=re.M)
    found = dict(pair.split("=", 1) for pair in shlex.split(text.replace("\\\n", " ")))
    programs = [str(Path(sys.executable).parent), str(ROOT / ".ci/container"), "/usr/sbin"]
    return found | {"PATH": os.pathsep.join([*programs, found["PATH"]])}


class Box:
    """A service that runs, or a command in the place of its own."""

    def __init__(self, name: str, service: dict[str, Any], address: str, space: Path, bridge: str) -> None:
        self.name, self.service, self.address = name, service, address
        self.log = space / f"{name}.log"
        self._space, self._bridge = space, bridge
        self._netns = f"{bridge}-{name}"
        self._environment = image_environment() | service.get("environment", {})
        self._process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self._connect()

    def _connect(self) -> None:
        number = self.address.rsplit(".", 1)[1]
        near, far = f"{self._bridge}n{number}", f"{self._bridge}f{number}"
        ip("netns", "add", self._netns)
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self._netns)
        ip("link", "set", near, "master", self._bridge, "up")
        gateway = self.address.rsplit(".", 1)[0] + ".1"
        for command in (
            ("addr", "add", f"{self.address}/24", "dev", far),
            ("link", "set", far, "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", gateway),
        ):
            ip("-netns", self._netns, *command)

    def start(self, command: list[str] | None = None) -> None:
        """Start the service's command, or another."""
        script = self._mounts() + f"\nexec {shlex.join([*AS_USER, 'enter', *(command or self.service['command'])])}"
        isolated = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self._netns, *isolated, "sh", "-ec", script],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _mounts(self) -> str:
        space = shlex.quote(str(self._space))
        options = self.service["tmpfs"][0].split(":", 1)[1]
        lines = [
            "mount -n --make-rprivate /",
            f"hostname {self.name}",
            "mount -n -t tmpfs -o mode=755 tmpfs /srv",
            "cd /srv",
        ]
        for volume in self.service["volumes"]:
            source, target = volume.split(":")
            lines.append(f"mkdir -p {target}; mount -n --bind {space}/volumes/{source} {target}")
        lines += [f"mount -n --bind {space}/{name} /etc/{name}" for name in ("hosts", "passwd")]
        lines += ["mount -n -t tmpfs -o mode=755 tmpfs /run; mkdir /run/secrets"]
        lines += [f"cp {space}/secrets/{name} /run/secrets" for name in self.service["secrets"]]
        lines += covering(
            [
                f"mount -n -t tmpfs -o {options},noexec,nosuid,nodev tmpfs /tmp",
                f"mkdir -p {HOME}; mount -n -t tmpfs -o mode=755 tmpfs {HOME}",
            ]
        )
        shm = size(self.service.get("shm_size", "64m"))
        lines += [
            f"mount -n -t tmpfs -o mode=1777,size={shm},noexec,nosuid,nodev tmpfs /dev/shm",
            "rmdir hidden/* 2>/dev/null || :",
        ]
        return "\n".join([*lines, "mount -n -o remount,bind,ro /"])

    def run(self, command: list[str], seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside, beside what runs there, as `docker compose exec` does."""
        inside = ["nsenter", "--target", str(self._first()), "--mount", "--pid", "--net", "--uts", "--ipc", "--wd=/srv"]
        return subprocess.run(
            [*inside, *AS_USER, *command],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def _first(self) -> int:
        """Return the process that is number 1 inside."""
        assert self._process is not None and self._process.poll() is None, self.said()
        first: list[psutil.Process] = []
        while not first:  # just started
            assert self._process.poll() is None, self.said()
            first = psutil.Process(self._process.pid).children()
        return first[0].pid

    def wait_until_healthy(self, patience: float = 3.0) -> float:
        """Wait for the service's own health check; return the seconds it took, of `patience` times what the compose file allows."""
        allowed = float(self.service["healthcheck"]["start_period"].removesuffix("s"))
        started, said = time.monotonic(), ""
        while time.monotonic() < started + patience * allowed:
            self._restart()
            with contextlib.suppress(subprocess.TimeoutExpired):
                done = self.run(health_command(self.service))
                said = done.stdout + done.stderr
                if done.returncode == 0:
                    return time.monotonic() - started
            time.sleep(1)
        raise AssertionError(f"{self.name} is not healthy: {said}\n{self.said()}")

    def _restart(self) -> None:
        """Start it again where it has ended, as the compose file wants it: on a busy machine a node of Ray may give up its start."""
        assert self._process is not None
        if self._process.poll() is not None:
            assert self.service["restart"] == "unless-stopped" and self.restarts < MOST_RESTARTS, self.said()
            self.restarts += 1
            time.sleep(2)
            self.start()

    def wait(self, seconds: float) -> int:
        """Wait for the end of the command."""
        assert self._process is not None
        return self._process.wait(seconds)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def measure(self) -> tuple[int, int]:
        """Return the number of threads, and the bytes of memory that no two processes are counted for twice."""
        threads, memory = 0, 0
        for pid in ip("netns", "pids", self._netns).split():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(pid))
                threads += process.num_threads()
                memory += process.memory_full_info().pss
        return threads, memory

    def kill(self) -> None:
        """End everything in it at once."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(self._process.pid).children():
                    child.kill()
            self._process.kill()
            self._process.wait()

    def stop(self, seconds: float) -> float:
        """Send SIGTERM to the first process, as `docker stop` does, and return the seconds until it was gone."""
        started = time.monotonic()
        os.kill(self._first(), 15)
        self.wait(seconds)
        return time.monotonic() - started

    def remove(self) -> None:
        self.kill()
        ip("netns", "del", self._netns)


class Boxes:
    """All services of the compose file, on a network of their own."""

    def __init__(self, folder: Path, workers: int) -> None:
        names = [name for name in services() if name != "ray-worker"]
        names += [f"ray-worker-{number + 1}" for number in range(workers)]
        number = os.getpid() % 250
        self.bridge = f"wb{number}"
        self._network = f"10.78.{number}"
        self.space = folder
        self.addresses = {name: f"{self._network}.{index + 10}" for index, name in enumerate(names)}
        self.boxes: dict[str, Box] = {}
        self._prepare()

    def _prepare(self) -> None:
        for path in (self.space, *self.space.parents[:2]):
            path.chmod(path.stat().st_mode | 0o055)
        for name in compose()["volumes"]:
            (self.space / "volumes" / name).mkdir(parents=True)
            os.chown(self.space / "volumes" / name, 1000, 1000)
        subprocess.run(["sh", str(ROOT / ".ci/container/secrets")], cwd=self.space, check=True, capture_output=True)
        hosts = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.addresses.items())]
        (self.space / "hosts").write_text("\n".join(hosts) + "\n")
        (self.space / "passwd").write_text("root:x:0:0::/root:/bin/sh\nworkbench:x:1000:1000::/srv/data/user:/bin/sh\n")
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self._network}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def start(self, name: str, command: list[str] | None = None, service: str | None = None) -> Box:
        """Start a service in a box; `name` may be one of its own for another command, as with `docker compose run`."""
        of = service or re.sub(r"-\d+$", "", name)
        address = self.addresses.setdefault(name, f"{self._network}.{len(self.addresses) + 10}")
        box = self.boxes.get(name) or Box(name, services()[of], address, self.space, self.bridge)
        self.boxes[name] = box
        box.start(command)
        return box

    def secret(self, name: str) -> str:
        return (self.space / "secrets" / name).read_text()

    def volume(self, name: str) -> Path:
        return self.space / "volumes" / name

    def close(self) -> None:
        for box in self.boxes.values():
            box.remove()
        ip("link", "del", self.bridge)
