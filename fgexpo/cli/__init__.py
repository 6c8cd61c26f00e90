"""The command line. Importing it is cheap; what a command needs is imported when it runs."""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run a command; see :func:`fgexpo.cli.command_line.main`."""
    from .front import told

    given = sys.argv[1:] if arguments is None else arguments
    status = told(given)
    if status is not None:
        return status
    from .command_line import main

    return main(arguments)
