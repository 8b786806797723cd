"""Options of the command line, made from parameters.

Enters: a command's function and the schema of parameters. Leaves: a function whose signature typer reads. All values are text until
`convert` reads them, so that a wrong one is refused in the same words as everywhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from workbench.report.parameters import Parameter

Command = Callable[..., None]


def with_options(function: Command, parameters: Mapping[str, Parameter]) -> Command:
    """Return a command with an option per parameter, beside those of `function`.

    Parameters
    ----------
    function
        Its first argument is a mapping of the options that were given, converted; the others are typer's own.
    parameters
        By name.
    """

    def command(**values: Any) -> None:
        given = {name: value for name in parameters if (value := values.pop(name)) is not None}
        function(_converted(parameters, given), **values)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    keywords = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
    signature = inspect.Signature([*keywords, *map(_option, parameters.values())])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {}
    command.__doc__ = function.__doc__
    return command


def _converted(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    from workbench.report.parameters import convert

    return {name: convert(parameters[name], value) for name, value in given.items()}


def _option(parameter: Parameter) -> inspect.Parameter:
    """Return a parameter as typer reads it from a signature: a text, or a pair of flags."""
    flag = f"--{parameter.name.replace('_', '-')}"
    annotation: Any
    if parameter.kind is bool:
        names = f"{flag}/--no-{flag[2:]}" if parameter.default else flag
        shown = " [default: on]" if parameter.default else ""
        annotation = Annotated[bool | None, typer.Option(names, help=parameter.help + shown, show_default=False)]
    else:
        metavar = {int: "INTEGER", float: "NUMBER"}.get(parameter.kind, "TEXT")
        shown = "" if parameter.default in (None, "") else f" [default: {parameter.default}]"
        option = typer.Option(flag, help=parameter.help + shown, metavar=metavar, show_default=False)
        annotation = Annotated[str | None, option]
    return inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
