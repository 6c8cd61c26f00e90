"""Errors that the user can fix."""


class UserError(ValueError):
    """Bad input; its one sentence names the setting, its value and what was expected.

    The command line prints it without a traceback.
    """
