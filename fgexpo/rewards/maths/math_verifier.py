"""The verifier of mathematical answers."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from ...errors import UserError
from ...heartbeat import beat
from ...questions import Question, Verdict
from ..verifier import Verifier
from .characters import plain
from .compare import Pair, fast_equal
from .copies import is_copied
from .extract import answer_line, joined_boxes, last_boxed
from .guards import MAX_CHARACTERS
from .last_number import last_number
from .lists import is_list
from .pool import GraderPool

Reads = Literal[
    "box", "line", "last_number", "box_or_line", "box_or_last_number", "line_or_last_number"
]
READERS: dict[str, Callable[[str], str | None]] = {
    "box": last_boxed,
    "line": answer_line,
    "last_number": last_number,
}


class MathVerifier(Verifier):
    r"""Compares the final answer with the gold one: as strings, as numbers, then by math-verify.

    Args:
        timeout: seconds that grading one answer may take; after that it counts as wrong.
        reads: what counts as the final answer: the last balanced ``\boxed{}`` (``box``), the last
            line ``Answer: ...`` (``line``), the last number (``last_number``), or the second of two
            where the first is missing, as in ``box_or_line``.
        workers: most grading processes; null for one per available processor core.
    """

    def __init__(
        self, timeout: float = 2.0, reads: Reads = "box", workers: int | None = None
    ) -> None:
        if timeout <= 0:
            raise UserError(f"model.verifier.timeout must be above 0 seconds, got {timeout}")
        if reads not in get_args(Reads):
            raise UserError(f"model.verifier.reads must be one of {get_args(Reads)}, got {reads!r}")
        if workers is not None and workers < 1:
            raise UserError(f"model.verifier.workers must be at least 1, got {workers}")
        self.timeout = timeout
        self.reads: Reads = reads
        self._pool = GraderPool(timeout, workers)

    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """See :class:`Verifier`; equal pairs are graded once."""
        golds = {question.answer: _gold(question.answer) for question in questions}
        answers, pairs = [], []
        for question, text in zip(questions, texts, strict=True):
            beat()
            answer = self.final_answer(question, text)
            answers.append(answer)
            pairs.append(
                None if answer is None else _pair(question, golds[question.answer], answer)
            )
        known = {pair: fast_equal(pair) for pair in dict.fromkeys(pairs) if pair is not None}
        hard = [pair for pair, equal in known.items() if equal is None]
        known |= dict(zip(hard, self._pool.equal(hard), strict=True))
        return [
            Verdict(False, None)
            if pair is None
            else Verdict(bool(known[pair]), answer, timed_out=known[pair] is None)
            for pair, answer in zip(pairs, answers, strict=True)
        ]

    def final_answer(self, question: Question, text: str) -> str | None:
        """The completion's answer, or None."""
        for reader in self.reads.split("_or_"):
            answer = READERS[reader](text) or None  # an empty box is no answer
            if answer is not None:
                many = reader == "box" and is_list(question.answer)
                return (joined_boxes(text) or answer) if many else answer
        return None


def _gold(text: str) -> str:
    """The gold answer itself; some files put theirs in a box."""
    if len(text) > MAX_CHARACTERS:
        return text
    return plain(joined_boxes(text) or last_boxed(text) or text)


def _pair(question: Question, gold: str, answer: str) -> Pair:
    errors = question.relative_error, question.absolute_error
    if len(answer) > MAX_CHARACTERS or len(gold) > MAX_CHARACTERS:
        return Pair(gold, answer, *errors)
    answer = plain(answer)
    return Pair(gold, answer, *errors, copied=is_copied(question.prompt, gold, answer))
