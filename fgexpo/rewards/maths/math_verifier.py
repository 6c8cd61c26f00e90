"""The verifier of mathematical answers."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Literal, get_args

from ...errors import UserError
from ...heartbeat import beat
from ...isolated.pool import WorkerPool
from ...isolated.process import START_SECONDS
from ...questions import Question, Verdict
from ..verifier import Verifier
from .characters import plain
from .compare import Pair, fast_equal
from .copies import is_copied
from .extract import answer_line, joined_boxes, last_boxed
from .golds import why_ungradable
from .guards import MAX_CHARACTERS
from .last_number import last_number
from .lists import is_list

Reads = Literal[
    "box", "line", "last_number", "box_or_line", "box_or_last_number", "line_or_last_number"
]
GRADES = "fgexpo.rewards.maths.grade_pair"
# An answer that no gold answer has, to try out whether comparing with that one ends.
ANY = r"\frac{7919}{7907}"
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
        self._pool = WorkerPool(GRADES, timeout, workers, start_timeout)
        # Gold answers that hang, and those that have been tried.
        self._hangs: set[str] = set()
        self._cleared: set[str] = set()

    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """See :class:`Verifier`; equal pairs are graded once."""
        golds = {gold: _gold(gold) for gold in {question.answer for question in questions}}
        answers, pairs = [], []
        for question, text in zip(questions, texts, strict=True):
            beat()
            answer = self.final_answer(question, text)
            answers.append(answer)
            pairs.append(
                None if answer is None else _pair(question, golds[question.answer], answer)
            )
        known = {pair: fast_equal(pair) for pair in dict.fromkeys(pairs) if pair is not None}
        hard = [
            pair for pair, equal in known.items() if equal is None and pair.gold not in self._hangs
        ]
        known |= dict(zip(hard, self._pool.run([astuple(pair) for pair in hard]), strict=True))
        self._blame_golds(questions, pairs, {pair for pair in hard if known[pair] is None})
        return [
            Verdict(False, None)
            if pair is None
            else Verdict(bool(known[pair]), answer, timed_out=known[pair] is None)
            for pair, answer in zip(pairs, answers, strict=True)
        ]

    def ungradable(self, questions: Sequence[Question]) -> list[tuple[Question, str]]:
        """Gold answers that would never be evaluated, or are empty or broken."""
        reasons = {gold: why_ungradable(_gold(gold)) for gold in {q.answer for q in questions}}
        return [(q, reason) for q in questions if (reason := reasons[q.answer]) is not None]

    def _blame_golds(
        self, questions: Sequence[Question], pairs: Sequence[Pair | None], lost: set[Pair]
    ) -> None:
        """Find out whether it was the gold answer that hung; say so, and wait for it only once."""
        golds = list(dict.fromkeys(pair.gold for pair in lost if pair.gold not in self._cleared))
        found = self._pool.run([astuple(Pair(gold, ANY)) for gold in golds], patience=5.0)
        for gold, equal in zip(golds, found, strict=True):
            self._cleared.add(gold)
            if equal is not None:
                continue
            self._hangs.add(gold)
            asked = next(
                q for q, p in zip(questions, pairs, strict=True) if p is not None and p.gold == gold
            )
            warnings.warn(
                f"{asked.place}: its gold answer {gold[:80]!r} cannot be evaluated within "
                f"{5 * self.timeout:g} s, so only answers that are written like it count; "
                f"{len(self._hangs)} such so far",
                stacklevel=3,
            )

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
    if "box" not in text:
        return plain(text)
    return plain(joined_boxes(text) or last_boxed(text) or text)


def _pair(question: Question, gold: str, answer: str) -> Pair:
    errors = question.relative_error, question.absolute_error
    if len(answer) > MAX_CHARACTERS or len(gold) > MAX_CHARACTERS:
        return Pair(gold, answer, *errors)
    answer = plain(answer)
    return Pair(gold, answer, *errors, copied=is_copied(question.prompt, gold, answer))
