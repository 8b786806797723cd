"""Ray, started or joined, and left as it was found.

Enters: nothing, RAY_ADDRESS, or the Ray that a Lab has for its kernels. Leaves: a Ray that tasks can be sent to, for as long as somebody
here uses it; what was started here is shut down after that, what was running before goes on. Ray is imported when it is needed, in the
thread that opens it: `start_in_background` returns at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from workbench.cluster import shared
from workbench.cluster.address import VARIABLE, check_address
from workbench.cluster.surroundings import worker_environment
from workbench.errors import UnavailableError
from workbench.execution import usable_cpus
from workbench.market.home import temporary

# `uv run` would ship the whole working directory to every worker.
_SETTINGS = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
_LONGEST_REASON = 300
_WAYS = {
    "Version mismatch": "; install the same versions on both sides",
    "AF_UNIX path length": "; set RAY_TMPDIR to a folder with a shorter path",
}
# A socket's path has room for 107 bytes, and Ray's lie up to 70 below its folder for temporary files.
_TEMPORARY, _LONGEST_TEMPORARY = "RAY_TMPDIR", 37
_OWN, _OF_LAB = "local", "lab"
_SHARED_CHECK_SECONDS = 5.0


def in_use() -> str | None:
    """Return why Ray is there to be used: it is initialised in this process, RAY_ADDRESS names it, or this Lab has one; else None."""
    with _lock:
        started = _session is not None and _session.is_usable()
    if started or _is_initialized():
        return "Ray is initialised in this process"
    address = os.environ.get(VARIABLE)
    if address:
        return f"{VARIABLE} names {address}"
    of_lab = shared.read()
    return f"this Lab has one at {of_lab.address}" if of_lab is not None and of_lab.state == shared.UP else None


def not_up() -> str | None:
    """Return why the Ray that this Lab has cannot be used yet, or any more; None where it can, or where none is to be expected."""
    of_lab = None if os.environ.get(VARIABLE) or _is_initialized() else shared.read()
    if of_lab is None or of_lab.state == shared.UP:
        return None
    return "it is starting" if of_lab.state == shared.STARTING else of_lab.reason


def check() -> None:
    """Raise what `running` would raise of RAY_ADDRESS, before Ray is imported: a mistake is answered at once."""
    if not _is_initialized():
        address = _address()
        shared.check() if address == _OF_LAB else check_address(address)


def asks_no_token() -> bool:
    """Tell whether `running` would start a Ray that lets everybody in who reaches its ports, which listen on all interfaces.

    Left alone Ray asks for a token; any value of RAY_AUTH_MODE but "token" switches that off.
    """
    starts = not _is_initialized() and _address() == _OWN
    return starts and os.environ.get("RAY_AUTH_MODE", "token").lower() != "token"


def is_own() -> bool:
    """Tell whether the Ray that this process uses was started by it, for itself."""
    with _lock:
        return _session is not None and _session.is_own


def _address() -> str:
    """Return what RAY_ADDRESS says, else which Ray is to be had without it: this Lab's, or one of our own."""
    return os.environ.get(VARIABLE) or (_OWN if shared.read() is None else _OF_LAB)


@contextlib.contextmanager
def running(num_cpus: int | None = None) -> Iterator[None]:
    """Have Ray within the block: the one initialised here, else the one that RAY_ADDRESS names, else this Lab's, else a local one.

    The nodes of one that was not started here must have the workbench, the Python and the Ray of this process.

    Parameters
    ----------
    num_cpus
        Of a Ray that is started here; by default the processors that this process may use.

    Raises
    ------
    ConfigError
        RAY_ADDRESS has the wrong form.
    UnavailableError
        The Ray that RAY_ADDRESS names cannot be reached, wants a token or has other versions, or none can be started.
    """
    with connected(num_cpus):
        if not is_own():
            from workbench.cluster.nodes import check_versions

            check_versions()
        yield


@contextlib.contextmanager
def connected(num_cpus: int | None = None) -> Iterator[None]:
    """Have Ray within the block as `running` does, whatever versions its nodes have."""
    with start_in_background(num_cpus):
        if _session is not None:
            _session.wait()
        yield


def start_in_background(num_cpus: int | None = None) -> contextlib.ExitStack:
    """Start or join Ray as `running` does, in a thread; what goes wrong is raised where Ray is used first.

    Returns
    -------
    ExitStack
        Its `close` gives up this use of Ray, as does leaving a `with` block; the last one to do so shuts down what was started.
    """
    global _session
    stack = contextlib.ExitStack()
    with _lock:
        if _session is not None and not _session.is_usable():
            _session.end()
            _session = None
        if _session is None and not _is_initialized():
            _session = _Session(_address(), num_cpus)
        if _session is not None:
            _session.users += 1
            stack.callback(_leave, _session)
    return stack


class _Session:
    """A Ray that this process opened.

    Its thread lives as long as it: the kernel kills the processes of a local Ray when the thread that started them ends.
    """

    def __init__(self, address: str, num_cpus: int | None) -> None:
        self.is_own = address == _OWN
        self.users = 0
        self._address, self._num_cpus = address, num_cpus
        self._opened, self._left = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="workbench-ray", daemon=True)
        self._thread.start()

    def is_usable(self) -> bool:
        """Return whether Ray is there or on its way: no start that failed, none given up, none that the user shut down."""
        on_its_way = self._thread.is_alive() and not self._left.is_set()
        return on_its_way and (not self._opened.is_set() or _is_initialized())

    def wait(self) -> None:
        """Wait until Ray can be used."""
        self._opened.wait()
        if self._error is not None:
            raise self._error
        _handle_sigterm(self.is_own)

    def leave(self) -> None:
        """Shut down what was started; a start that is still under way is not waited for."""
        self._left.set()
        if self._opened.is_set():
            self._thread.join()

    def end(self) -> None:
        """Shut down what was started, and wait for it."""
        self._left.set()
        self._thread.join()

    def _keep(self) -> None:
        try:
            _open(_joined(self._left) if self._address == _OF_LAB else self._address, self._num_cpus)
        except Exception as error:  # whatever it is, it is for the one who waits
            self._error = error
            return
        finally:
            self._opened.set()
        self._stay()
        _close()

    def _stay(self) -> None:
        """Wait until nobody uses it; a Lab's Ray is also left when it is gone, since Ray would end this process a minute later."""
        if self._address != _OF_LAB:
            self._left.wait()
            return
        while not self._left.wait(_SHARED_CHECK_SECONDS):
            of_lab = shared.read()
            if of_lab is None or of_lab.state != shared.UP:
                return


def _joined(given_up: threading.Event) -> str:
    """Return the address of this Lab's Ray when it is up, with its token where Ray finds it."""
    of_lab = shared.wait_until_up(given_up)
    os.environ.update(of_lab.authentication)
    import ray  # noqa: F401  # first, as a whole: another thread may be at it, and two that import parts of it get half a module
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # there is no public way to them

    # Ray may have been imported before, and reads mode and token once.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    return of_lab.address


def _terminate(*_: object) -> NoReturn:
    """Leave through the `finally` clauses, and through Ray's own: the default would leave two of its processes behind for a minute."""
    sys.exit(128 + signal.SIGTERM)


def _handle_sigterm(is_own: bool) -> None:
    """Put Python's handler back on top of that of Ray, which prints a stack before it calls it."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate if is_own and handler is signal.SIG_DFL else handler)


def _restore_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminate and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


_session: _Session | None = None
_lock = threading.RLock()


def _leave(session: _Session) -> None:
    with _lock:
        session.users -= 1
        if session.users == 0:
            session.leave()
            _restore_sigterm()


def _is_initialized() -> bool:
    """Return whether Ray is initialised in this process, without importing it."""
    test = getattr(sys.modules.get("ray"), "is_initialized", None)
    return test is not None and bool(test())


def _open(address: str, num_cpus: int | None) -> None:
    check_address(address)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    settings["runtime_env"] = worker_environment()  # for Ray's own actors too, such as those of Serve
    if address == _OWN:
        _provide_token()
        _provide_short_folder()
        settings |= {"num_cpus": num_cpus or usable_cpus(), "include_dashboard": False}
    try:
        ray.init(address=address, **settings)
    except Exception as error:  # a bare one where its node did not start within half a minute
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        way = next((way for mark, way in _WAYS.items() if mark in reason), "")
        raise UnavailableError(f"Ray at {address} cannot be used: {reason}{way}") from None
    # With `log_to_driver=False` Ray still prints a paragraph on stdout for each worker that dies; it has no public switch for that.
    ray._private.worker._worker_logs_enabled = False


def _close() -> None:
    import ray

    ray.shutdown(wait_for_processes=True)
    ray._private.worker._worker_logs_enabled = True


def _provide_token() -> None:
    """Make up a token where Ray, which protects a local cluster by one, cannot write it to the home folder."""
    home = os.path.expanduser("~")
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if not given and not os.path.exists(os.path.join(home, ".ray", "auth_token")) and not os.access(home, os.W_OK):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _provide_short_folder() -> None:
    """Let Ray have its sockets in /tmp where the path of the folder for temporary files is too long for them."""
    folder = str(temporary())  # one that can be written; Ray would take what TMPDIR names, whatever that is
    if len(os.fsencode(folder)) > _LONGEST_TEMPORARY and os.access("/tmp", os.W_OK):
        folder = "/tmp"
    os.environ.setdefault(_TEMPORARY, folder)
