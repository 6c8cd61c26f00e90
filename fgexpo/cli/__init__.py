"""The command line. Importing it is cheap; what a command needs is imported when it runs."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; see :func:`fgexpo.cli.command_line.main`."""
    from .command_line import main

    return main(arguments)
