"""A table for a logger, and its form as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

LONGEST = 2000


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers.

    Attributes:
        head: the columns' names.
        rows: a cell for each column.
        shared: what is the same for all rows, by name; may be empty.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str | int | float | bool]]
    shared: Mapping[str, str | int] = field(default_factory=dict)

    def flat(self) -> list[list[Any]]:
        """The head and the rows, with what they share as columns of their own, first."""
        same = list(self.shared.values())
        return [[*self.shared, *self.head], *([*same, *row] for row in self.rows)]


def markdown(table: Table) -> str:
    """The table in Markdown below what its rows share, with markup escaped and long texts cut."""
    lines = ["| " + " | ".join(table.head) + " |", "|---" * len(table.head) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in table.rows]
    above = [f"{name}: {_cell(value)}\n" for name, value in table.shared.items()]
    return "\n".join([*above, *lines])


def _cell(value: str | int | float | bool) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    # A backtick or a pipe would end the cell; a policy may write either, or HTML.
    text = escape(str(value)[:LONGEST])
    for character in "|`\\*_[]":
        text = text.replace(character, f"&#{ord(character)};")
    return text.replace("\n", "<br>")
