"""The errors a user can meet. Every message is one line: field, rule, value got, way out.

Each class carries the exit code that the command line returns for it: 1 a check failed, 2 the user's input is wrong,
3 something outside the workbench (network, cluster, disk) failed.
"""


class WorkbenchError(Exception):
    """Base of all errors that the workbench raises on purpose."""

    exit_code = 3


class ConfigError(WorkbenchError, ValueError):
    """A parameter of a study is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(WorkbenchError, ValueError):
    """An input table breaks a rule of its format."""

    exit_code = 2


class CheckError(WorkbenchError):
    """A check that the user asked for (a report's cells, a stored hash) did not hold."""

    exit_code = 1


class UnavailableError(WorkbenchError):
    """Something outside the workbench failed: a network address, a cluster, a folder that cannot be written."""

    exit_code = 3
