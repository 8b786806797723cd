"""What answers at the address of a cluster, asked before Ray is: in milliseconds, and with the reason.

Enters: what RAY_ADDRESS says. Leaves: nothing, or an error that names the address and the way out. Ray itself would try for minutes where
nobody listens, and for 20 s, with a line on stderr for each, where a token is wanted; then it says "failed to connect".
"""

from __future__ import annotations

import os
import socket

from workbench.errors import ConfigError, UnavailableError

VARIABLE = "RAY_ADDRESS"

_SECONDS = 5.0
_ASK = "/ray.rpc.NodeInfoGcsService/GetClusterId"


def check_address(address: str) -> None:
    """Hold an address against its form, and ask what listens there.

    Parameters
    ----------
    address
        `host:port` of a cluster's GCS; "local" and "auto" are for Ray to resolve, and nothing is asked.

    Raises
    ------
    ConfigError
        It has another form.
    UnavailableError
        Nobody listens there, it is no Ray, or the cluster wants a token that this process does not give.
    """
    if address in ("local", "auto"):
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not host or not port.isdigit():
        raise ConfigError(
            f"{VARIABLE} must be HOST:PORT of a cluster (6379 by default), auto or local, got {address!r}; "
            "addresses of the dashboard or of Ray Client will not do"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except OSError as error:
        raise UnavailableError(
            f"no Ray answers at {address} ({VARIABLE}): {error}; start one there, or unset {VARIABLE}"
        ) from None
    _check_answer(address)


def is_alive(address: str) -> bool:
    """Return whether the cluster still answers, whatever it answers."""
    import grpc  # type: ignore[import-untyped]

    return _ask(address) not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def _check_answer(address: str) -> None:
    import grpc

    answer = _ask(address)
    if answer is grpc.StatusCode.UNAUTHENTICATED:
        if not _sends_token():
            raise UnavailableError(
                f"the Ray at {address} wants a token; set RAY_AUTH_MODE=token, and give the cluster's token in "
                "RAY_AUTH_TOKEN or in the file that RAY_AUTH_TOKEN_PATH names (~/.ray/auth_token)"
            )
        raise UnavailableError(
            f"the Ray at {address} refuses the token given here, or none was found; RAY_AUTH_TOKEN, or the file that "
            "RAY_AUTH_TOKEN_PATH names (~/.ray/auth_token), must hold the cluster's (there: ray get-auth-token)"
        )
    if answer is not None:
        raise UnavailableError(
            f"what listens at {address} ({VARIABLE}) is no Ray cluster ({answer}); name the port of its GCS, "
            "6379 by default"
        )


def _ask(address: str) -> object:
    """Return the status that a cluster's GCS answers with, None for success: the call needs a valid token and nothing else."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_ASK)(b"", timeout=_SECONDS, metadata=_token())
        except grpc.RpcError as error:
            return error.code()
    return None


def _sends_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _token() -> tuple[tuple[str, str], ...]:
    """Return the header that Ray would send."""
    import ray  # noqa: F401  # first, as a whole: another thread may be at it, and two that import parts of it get half a module
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # there is no public way to it
    from ray.exceptions import AuthenticationError

    try:
        header = AuthenticationTokenLoader.instance().get_token_for_http_header() if _sends_token() else {}
    except AuthenticationError:  # there is none
        return ()
    return tuple(header.items())
