"""`workbench doctor`: what could stand in the way of the workbench, here and on every node of a cluster.

Enters: which engine is meant. Leaves: a line per finding on stdout, with what to do where it is bad.
"""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.errors import CheckError


def doctor(
    engine: Annotated[
        str, typer.Option("--engine", metavar="auto|local|ray", help="ray starts one if there is none")
    ] = "auto",
) -> None:
    """Check this machine, the environment and every node of the cluster.

    Without RAY_ADDRESS only this machine, unless --engine ray.
    """
    from workbench.cluster.doctor import examine

    failed = 0
    for finding in examine(engine):
        typer.echo(str(finding))
        failed += not finding.ok
    if failed:
        raise CheckError(f"{failed} {'check' if failed == 1 else 'checks'} failed, named above")
