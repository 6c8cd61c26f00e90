"""Errors that are told in one sentence, without a traceback."""

from collections.abc import Sequence

MOST = 6  # mistakes told at once


class UserError(ValueError):
    """Bad input; its one sentence names the setting, its value and what was expected.

    The command line prints it and exits with status 2.
    """


class MissingExtra(UserError):
    """A setting asks for a package that is not installed; its one sentence says how to."""


class EnvironmentFailure(RuntimeError):
    """The machine failed, not the input; its one sentence names what to free, mend or start.

    The command line prints it and exits with status 1.
    """


class RunStopped(EnvironmentFailure):
    """Training itself went wrong; its one sentence says what was found, and the likely causes.

    The command line prints it and exits with status 1.
    """


def several(faults: Sequence[str]) -> str:
    """Mistakes as one message, a line for each; of many, the first."""
    more = len(faults) - MOST
    last = [f"and {more} more"] if more > 0 else []
    return "\n       ".join([*faults[:MOST], *last])
