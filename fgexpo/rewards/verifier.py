"""Verifiers decide whether a completion's answer is right; rewards build on their verdicts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..questions import Question, Verdict


class Verifier(ABC):
    """Grades completions as answers to questions."""

    @abstractmethod
    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """Grade each text as an answer to the question at the same index."""

    def ungradable(self, questions: Sequence[Question]) -> list[tuple[Question, str]]:
        """The questions whose gold answers nothing can be graded against, each with the reason.

        Asked once, when the questions are read, so it must be quick. By default there are none.
        """
        return []
