"""Remote tasks: plain functions of the layers above, sent to Ray in batches.

Enters: requests. Leaves: what the plain function gives, as it arrives. All workers of a machine share one request
budget, for its state is a file; the environment variables that set it, and the folder, are handed on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from workbench.cluster.engine import RayEngine
from workbench.errors import UnavailableError
from workbench.market.coverage import Request
from workbench.market.ensure import Fetched
from workbench.market.home import VARIABLE, home
from workbench.market.remote import download
from workbench.market.yahoo_answers import Fetched as Answer

BATCH = 8
"""Symbols of one task: a few seconds of work at two requests a second."""

TIMEOUT_SECONDS = 900.0


def download_batch(requests: Sequence[Request], folder: str) -> list[Answer]:
    """Ask Yahoo for the symbols of one batch; the order is that of arrival. `folder` is the home of the driver's workbench."""
    os.environ[VARIABLE] = folder
    return list(download(requests))


def fetch_on_ray(requests: Sequence[Request], store: Callable[[Fetched], None]) -> None:
    """Ask Yahoo for some symbols in batches spread over Ray's workers; each answer is stored as its batch arrives.

    Raises
    ------
    UnavailableError
        Ray cannot be used, or a batch was lost with its worker again and again.
    """
    with RayEngine.open(timeout_seconds=TIMEOUT_SECONDS) as engine:
        fetch_with(engine, requests, store)


def fetch_with(engine: RayEngine, requests: Sequence[Request], store: Callable[[Fetched], None]) -> None:
    """Do what `fetch_on_ray` does, on an engine that is open and counts the batches in its account."""
    batches = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]
    try:
        for _, answers in engine.map(download_batch, batches, shared=(str(home()),)):
            for answer in answers:
                store(answer)
    except UnavailableError as error:
        raise UnavailableError(f"a batch of prices did not arrive; what had arrived is stored: {error}") from None
