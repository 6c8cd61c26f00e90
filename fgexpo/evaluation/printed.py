"""What an evaluation prints, in a terminal and in a file."""

from rich.console import Console
from rich.table import Table

# Columns of a table in a file, where nothing tells how wide it may be.
WIDTH = 140


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal."""
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(table)


def say(line: str) -> None:
    """Print a line as it is: brackets in it are no markup, and it is not broken."""
    Console().print(line, markup=False, highlight=False, soft_wrap=True)
