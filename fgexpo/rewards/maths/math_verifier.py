"""The verifier of mathematical answers."""

from collections.abc import Sequence
from typing import Literal, get_args

from ...errors import UserError
from ...heartbeat import beat
from ...questions import Question, Verdict
from ..verifier import Verifier
from .compare import Pair, fast_equal
from .extract import answer_line, joined_boxes, last_boxed
from .lists import is_list
from .pool import GraderPool
from .process import START_SECONDS

Reads = Literal["box", "line", "box_or_line"]


class MathVerifier(Verifier):
    r"""Compares the final answer with the gold one: as strings, as numbers, then by math-verify.

    Args:
        timeout: seconds that grading one answer may take; after that it counts as wrong.
        reads: what counts as the final answer: the last balanced ``\boxed{}``, the last line
            ``Answer: ...``, or the line if there is no box.
        workers: most grading processes; null for one per available processor core.
        start_timeout: seconds that one of them may take to start.
    """

    def __init__(
        self,
        timeout: float = 2.0,
        reads: Reads = "box",
        workers: int | None = None,
        start_timeout: float = START_SECONDS,
    ) -> None:
        if timeout <= 0:
            raise UserError(f"model.verifier.timeout must be above 0 seconds, got {timeout}")
        if reads not in get_args(Reads):
            raise UserError(f"model.verifier.reads must be one of {get_args(Reads)}, got {reads!r}")
        if workers is not None and workers < 1:
            raise UserError(f"model.verifier.workers must be at least 1, got {workers}")
        if not start_timeout > 0:
            raise UserError(f"model.verifier.start_timeout must be above 0 s, got {start_timeout}")
        self.timeout = timeout
        self.reads: Reads = reads
        self._pool = GraderPool(timeout, workers, start_timeout)

    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """See :class:`Verifier`; equal pairs are graded once."""
        answers, pairs = [], []
        for question, text in zip(questions, texts, strict=True):
            beat()
            answer = self.final_answer(question, text)
            errors = (question.relative_error, question.absolute_error)
            answers.append(answer)
            # Some files put their gold answers in a box.
            gold = question.answer
            gold = joined_boxes(gold) or last_boxed(gold) or gold
            pairs.append(None if answer is None else Pair(gold, answer, *errors))
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
        if self.reads == "line":
            return answer_line(text)
        answer = last_boxed(text) or None  # an empty box is no answer
        if answer is not None and is_list(question.answer):
            answer = joined_boxes(text) or answer
        if answer is None and self.reads == "box_or_line":
            answer = answer_line(text)
        return answer
