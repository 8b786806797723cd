"""Remote tasks: plain functions of the layers above, sent to Ray in batches.

Enters: requests. Leaves: what the plain function gives, as it arrives. All workers of a machine share one request
budget, for its state is a file; the environment variables that set it, and the folder, are handed on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import ray

from workbench.cluster.engine import running, worker_environment
from workbench.errors import UnavailableError
from workbench.market.coverage import Request
from workbench.market.ensure import Fetched
from workbench.market.home import home
from workbench.market.remote import download
from workbench.market.yahoo_answers import Fetched as Answer

BATCH = 8
"""Symbols of one task: a few seconds of work at two requests a second."""

TIMEOUT_SECONDS = 900.0


def download_batch(requests: Sequence[Request]) -> list[Answer]:
    """Ask Yahoo for the symbols of one batch; the order is that of arrival."""
    return list(download(requests))


_remote_download_batch = ray.remote(max_retries=1)(download_batch)


def fetch_on_ray(requests: Sequence[Request], store: Callable[[Fetched], None]) -> None:
    """Ask Yahoo for some symbols in batches spread over Ray's workers; each answer is stored as its batch arrives.

    Raises
    ------
    UnavailableError
        Ray cannot be used, or a batch was lost with its worker.
    """
    names = {name: value for name, value in os.environ.items() if name.startswith("WORKBENCH_")}
    environment = worker_environment(names | {"WORKBENCH_HOME": str(home())})
    with running():
        task = _remote_download_batch.options(runtime_env=environment)
        pending = [task.remote(requests[start : start + BATCH]) for start in range(0, len(requests), BATCH)]
        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=1, timeout=TIMEOUT_SECONDS)
                if not done:
                    raise UnavailableError(
                        f"no batch of prices came back from Ray within {TIMEOUT_SECONDS:g} s; try --engine local"
                    )
                for answer in ray.get(done[0], timeout=TIMEOUT_SECONDS):
                    store(answer)
        except ray.exceptions.RayError as error:
            first = str(error).strip().split("\n")[0]
            raise UnavailableError(f"a batch of prices was lost on Ray: {first}; what had arrived is stored") from None
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
