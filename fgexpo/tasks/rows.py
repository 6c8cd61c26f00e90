"""Makes questions from a table's rows, by a layout that names the columns."""

import math
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..questions import Question
from ..rewards import last_boxed
from .formats import Row
from .tables import Table


@dataclass(frozen=True)
class Layout:
    """The columns of each field; paths as in :meth:`Table.value`.

    Attributes:
        prompt: the bare question, as text or as chat messages.
        answer: the gold answer.
        id: a unique id; None to use the row's number.
        tags: columns to break results down by.
        boxed: whether ``answer`` is a worked solution, whose last box is the answer.
        error: a numeric answer's allowed absolute error; None if there is no such column.
        relative_error: allowed relative error, for every question.
    """

    prompt: str
    answer: str
    id: str | None = None
    tags: tuple[str, ...] = ()
    boxed: bool = False
    error: str | None = None
    relative_error: float = 0.0

    @property
    def paths(self) -> list[str]:
        """Every path that is read."""
        given = (self.prompt, self.answer, self.id, self.error, *self.tags)
        return [path for path in given if path is not None]


def read_questions(table: Table, layout: Layout) -> list[Question]:
    """A question for each row.

    Raises:
        UserError: naming table, row and column of a missing, empty or repeated value.
    """
    found: dict[str, Question] = {}
    rows: dict[str, int] = {}
    for number, row in enumerate(table.rows(layout.paths)):
        question = _question(table, layout, number, row)
        if question.id in found:
            raise UserError(
                f"{table.name}: rows {rows[question.id]} and {number} have the same "
                f"{layout.id!r}, {question.id!r}"
            )
        found[question.id] = question
        rows[question.id] = number
    return list(found.values())


def _question(table: Table, layout: Layout, number: int, row: Row) -> Question:
    def text(path: str) -> str:
        value = table.value(row, path)
        found = prompt_text(value) if path == layout.prompt else answer_text(value)
        if not found.strip():
            raise UserError(f"{table.name}: row {number} has an empty {path!r}")
        return found

    answer = text(layout.answer)
    if layout.boxed:
        answer = last_boxed(answer) or ""
        if not answer:
            raise UserError(f"{table.name}: row {number} has no \\boxed{{}} in {layout.answer!r}")
    tags = {path: answer_text(table.value(row, path)) for path in layout.tags}
    return Question(
        id=str(number) if layout.id is None else text(layout.id),
        prompt=text(layout.prompt),
        answer=answer,
        tags={path: value for path, value in tags.items() if value.strip()},
        relative_error=layout.relative_error,
        absolute_error=_error(table, layout, number, row),
        file=table.name,
        row=number,
    )


def _error(table: Table, layout: Layout, number: int, row: Row) -> float:
    text = "" if layout.error is None else answer_text(table.value(row, layout.error)).strip()
    if not text:
        return 0.0
    try:
        error = float(text)
    except ValueError:
        error = -1.0
    if not 0 <= error < math.inf:
        raise UserError(
            f"{table.name}: row {number} has {text!r} as {layout.error!r}, expected a number >= 0"
        )
    return error


def prompt_text(value: Any) -> str:
    """The question of a cell: its text, or the last user message of chat messages; "" if none."""
    if not isinstance(value, list):
        return answer_text(value)
    asked = [m for m in value if isinstance(m, dict) and m.get("role") == "user"]
    return answer_text(asked[-1].get("content")) if asked else ""


def answer_text(value: Any) -> str:
    """A cell as text: 27.0 is "27", a list is its items, and nothing is ""."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        return ", ".join(map(answer_text, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
