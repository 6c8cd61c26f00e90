"""Verifiers decide whether a completion's answer is right; rewards build on their verdicts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..questions import Question, Verdict


class Verifier(ABC):
    """Grades completions as answers to questions."""

    @abstractmethod
    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """Grade each text as an answer to the question at the same index."""
