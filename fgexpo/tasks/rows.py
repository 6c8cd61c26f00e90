"""Makes questions from a table's rows, by a layout that names the columns."""

import math
from dataclasses import dataclass

from ..errors import UserError
from ..questions import Question
from ..rewards import last_boxed
from .cells import NotText, answer_text, prompt_text
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
        UserError: naming table, row and column of a missing, empty or repeated value, or of one
            that is no text.
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


def cell_text(table: Table, number: int, row: Row, path: str, asks: bool = False) -> str:
    """The text of a row's cell; "" if there is none.

    Args:
        table: the row's.
        number: the row's.
        row: itself.
        path: see :meth:`Table.value`.
        asks: whether it is a question, which may be a chat.

    Raises:
        UserError: naming the table, the row and the path to what is no text.
    """
    value = table.value(row, path)
    try:
        return prompt_text(value, path) if asks else answer_text(value, path)
    except NotText as error:
        raise UserError(f"{table.name}: row {number} {error}") from error


def _question(table: Table, layout: Layout, number: int, row: Row) -> Question:
    def text(path: str) -> str:
        found = cell_text(table, number, row, path, asks=path == layout.prompt)
        if not found.strip():
            raise UserError(f"{table.name}: row {number} has an empty {path!r}")
        return found

    answer = text(layout.answer)
    if layout.boxed:
        answer = last_boxed(answer) or ""
        if not answer:
            raise UserError(f"{table.name}: row {number} has no \\boxed{{}} in {layout.answer!r}")
    tags = {path: cell_text(table, number, row, path) for path in layout.tags}
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
    text = "" if layout.error is None else cell_text(table, number, row, layout.error).strip()
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
