"""A table for a logger, and its form as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

LONGEST = 2000


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers.

    Attributes:
        head: the columns' names.
        rows: a cell for each column.
        title: one line above it, or nothing.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str | int | float | bool]]
    title: str = ""


def markdown(table: Table) -> str:
    """The table in Markdown, with all markup in its cells escaped and long texts cut."""
    lines = ["| " + " | ".join(table.head) + " |", "|---" * len(table.head) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]
    return "\n".join([*([_cell(table.title), ""] if table.title else []), *lines])


def _cell(value: str | int | float | bool) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    # A backtick or a pipe would end the cell; a policy may write either, or HTML.
    text = escape(str(value)[:LONGEST])
    for character in "|`\\*_[]":
        text = text.replace(character, f"&#{ord(character)};")
    return text.replace("\n", "<br>")
