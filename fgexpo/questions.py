"""A verifiable question; free of torch, so that grading workers and readers start fast."""

import re
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Question:
    """One verifiable question.

    Attributes:
        id: unique and stable in its dataset; seeds the question's rollouts.
        prompt: the bare question, before any template.
        answer: the gold answer, without a box; may be empty for a question with ``details``.
        tags: properties to break results down by, for example ``{"level": "2"}``.
        relative_error: how far a numeric answer may be off, as a share of the gold one.
        absolute_error: the same, in the answer's own unit; either is enough.
        file: where it was read, for messages; empty if it was made.
        row: its row there; None if it was made or is one of several.
        details: what a scorer of its own needs beside the answer, as text; empty if it has none.
    """

    id: str
    prompt: str
    answer: str
    tags: dict[str, str] = field(default_factory=dict)
    relative_error: float = 0.0
    absolute_error: float = 0.0
    file: str = field(default="", compare=False, repr=False)
    row: int | None = field(default=None, compare=False, repr=False)
    details: str = field(default="", compare=False, repr=False)

    @property
    def place(self) -> str:
        """Its file and row, as far as it has them, and its id, for messages."""
        row = "" if self.row is None else f"row {self.row}, "
        return f"{self.file}{': ' if self.file else ''}{row}question {self.id!r}"


FinishReason = Literal["stop", "length"]


class Verdict(NamedTuple):
    """What a verifier found.

    Attributes:
        correct: the answer equals the gold answer.
        answer: the final answer that was found; None if there was none.
        timed_out: grading hung or broke its worker; then ``correct`` is False.
    """

    correct: bool
    answer: str | None
    timed_out: bool = False


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8; JSON's escapes may name halves of characters."""
    return text.isascii() or _HALVES.search(text) is None
