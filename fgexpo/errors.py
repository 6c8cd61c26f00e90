"""Errors that are told in one sentence, without a traceback."""


class UserError(ValueError):
    """Bad input; its one sentence names the setting, its value and what was expected.

    The command line prints it and exits with status 2.
    """


class EnvironmentFailure(RuntimeError):
    """The machine failed, not the input; its one sentence names what to free, mend or start.

    The command line prints it and exits with status 1.
    """
