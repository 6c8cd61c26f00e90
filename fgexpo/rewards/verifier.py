"""Verifiers say whether a completion's answer is right; rewards are built on what they say."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..heartbeat import beat
from .compare import fast_equal
from .extract import last_boxed
from .process import GraderProcess


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier found.

    Attributes:
        correct: the answer equals the gold answer.
        answer: what was taken for the final answer; None if there was none.
        timed_out: grading hung or broke its worker; then ``correct`` is False.
    """

    correct: bool
    answer: str | None
    timed_out: bool = False


class Verifier(ABC):
    """Grades completions against gold answers."""

    @abstractmethod
    def verify(self, golds: Sequence[str], texts: Sequence[str]) -> list[Verdict]:
        """Grade each text against the gold answer at the same place."""


class MathVerifier(Verifier):
    r"""Compares the last balanced ``\boxed{}`` with the gold answer by math-verify.

    Args:
        timeout: seconds a single answer may cost; then it counts as wrong.
    """

    def __init__(self, timeout: float = 1.0) -> None:
        if timeout <= 0:
            raise UserError(f"model.verifier.timeout must be above 0 seconds, got {timeout}")
        self.timeout = timeout
        self._grader = GraderProcess()

    def verify(self, golds: Sequence[str], texts: Sequence[str]) -> list[Verdict]:
        """See :class:`Verifier`; equal pairs are graded once."""
        known: dict[tuple[str, str], Verdict] = {}
        verdicts = []
        for gold, text in zip(golds, texts, strict=True):
            beat()
            answer = last_boxed(text)
            if answer is None:
                verdicts.append(Verdict(False, None))
                continue
            key = (gold, answer)
            if key not in known:
                known[key] = self._grade(gold, answer)
            verdicts.append(known[key])
        return verdicts

    def _grade(self, gold: str, answer: str) -> Verdict:
        equal = fast_equal(gold, answer)
        if equal is None:
            equal = self._grader.equal(gold, answer, self.timeout)
        return Verdict(bool(equal), answer, timed_out=equal is None)
