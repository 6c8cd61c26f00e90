"""The verifier of answers that are words."""

import string
from collections.abc import Sequence

from ..questions import Question, Verdict
from .reads import READERS, Reads, check_reads, why_unread
from .verifier import Verifier


class ExactMatch(Verifier):
    """An answer is right if it is the gold answer, letter by letter.

    White space counts as one space between words, and not at all around them. For numbers take
    :class:`MathVerifier` with ``reads: last_number``.

    Args:
        reads: what counts as the answer: the first line that is not empty (``first_line``), the
            last line ``Answer: ...`` (``line``), the last ``<answer>...</answer>``
            (``answer_tag``), the last box (``box``), the last number (``last_number``) or all of
            the completion (``text``).
        ignore_case: large and small letters are the same.
        ignore_punctuation: punctuation around an answer does not count, as the full stop of
            ``Paris.``
    """

    def __init__(
        self,
        reads: Reads = "first_line",
        ignore_case: bool = False,
        ignore_punctuation: bool = False,
    ) -> None:
        check_reads(reads)
        self.reads: Reads = reads
        self.ignore_case = ignore_case
        self.ignore_punctuation = ignore_punctuation

    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """See :class:`Verifier`."""
        answers = [READERS[self.reads](text) or None for text in texts]
        return [
            Verdict(answer is not None and self._key(answer) == self._key(question.answer), answer)
            for question, answer in zip(questions, answers, strict=True)
        ]

    def ungradable(self, questions: Sequence[Question]) -> list[tuple[Question, str]]:
        """Gold answers of which nothing is left, or that are not read in this form."""
        return [(q, why) for q in questions if (why := self._why_ungradable(q.answer)) is not None]

    def _why_ungradable(self, gold: str) -> str | None:
        if not self._key(gold):
            return "nothing of it is left to compare"
        return why_unread(self.reads, gold)

    def _key(self, text: str) -> str:
        text = " ".join(text.split())
        if self.ignore_punctuation:
            text = text.strip(string.punctuation + " ")
        return text.casefold() if self.ignore_case else text
