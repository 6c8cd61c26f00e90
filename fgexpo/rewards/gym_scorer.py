"""The verifier of questions from reasoning-gym: their data sets' own scorers."""

import sys
from collections.abc import Sequence

from ..errors import UserError
from ..gym.details import name_of
from ..heartbeat import beat
from ..isolated.pool import WorkerPool
from ..isolated.process import START_SECONDS
from ..questions import Question, Verdict
from .reads import READERS, Reads, check_reads, why_unread
from .verifier import Verifier

SCORES = "fgexpo.gym.score"
# No data set has this as an answer.
NONSENSE = "?xyzzy?"


class ReasoningGymScorer(Verifier):
    """Grades answers to questions of :class:`.ReasoningGym` by their data sets' own scorers.

    The scorers run in processes of their own, with a deadline and a memory limit, and evaluate no
    code that an answer holds.

    Args:
        reads: what counts as the answer: the first line that is not empty (``first_line``), the
            last line ``Answer: ...`` (``line``), the last ``<answer>...</answer>``
            (``answer_tag``), the last box (``box``), the last number (``last_number``) or all of
            the completion (``text``).
        right_from: score from which an answer is right, in (0, 1]. Scorers give some of it to wrong
            answers of the right form.
        timeout: seconds that scoring one answer may take; after that it counts as wrong.
        workers: most scoring processes; null for one per available processor core.
        start_timeout: seconds that one of them may take to start.
    """

    def __init__(
        self,
        reads: Reads = "first_line",
        right_from: float = 1.0,
        timeout: float = 5.0,
        workers: int | None = None,
        start_timeout: float = START_SECONDS,
    ) -> None:
        check_reads(reads)
        if not 0 < right_from <= 1:
            raise UserError(f"model.verifier.right_from must be in (0, 1], got {right_from}")
        if not timeout > 0:
            raise UserError(f"model.verifier.timeout must be above 0 seconds, got {timeout}")
        if workers is not None and workers < 1:
            raise UserError(f"model.verifier.workers must be at least 1, got {workers}")
        if not start_timeout > 0:
            raise UserError(f"model.verifier.start_timeout must be above 0 s, got {start_timeout}")
        self.reads: Reads = reads
        self.right_from = right_from
        self._pool = WorkerPool(SCORES, timeout, workers, start_timeout)
        self._told: set[str] = set()

    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """See :class:`Verifier`; equal answers to a question are scored once."""
        pairs: list[tuple[str, str] | None] = []
        for question, text in zip(questions, texts, strict=True):
            beat()
            answer = READERS[self.reads](text)
            pairs.append((question.details, answer) if answer else None)
        asked = list(dict.fromkeys(pair for pair in pairs if pair is not None))
        scored = dict(zip(asked, self._pool.run(asked), strict=True))
        for (details, _), reply in scored.items():
            if reply is not None and reply[1]:
                self._tell(name_of(details) or "", reply[1])
        return [self._verdict(pair, None if pair is None else scored[pair]) for pair in pairs]

    def ungradable(self, questions: Sequence[Question]) -> list[tuple[Question, str]]:
        """Questions of another source, gold answers that are not read in this form, bad scorers."""
        names = [name_of(question.details) for question in questions]
        bad = self._bad_scorers(questions, names)
        found: list[tuple[Question, str]] = []
        for question, name in zip(questions, names, strict=True):
            if name is None:
                reason = (
                    "the question is not of a ReasoningGym source, so there is no scorer for it"
                )
            else:
                reason = bad.get(name) or why_unread(self.reads, question.answer)
            if reason is not None:
                found.append((question, reason))
        return found

    def _bad_scorers(
        self, questions: Sequence[Question], names: Sequence[str | None]
    ) -> dict[str, str]:
        """Data sets whose scorer cannot tell right from wrong, by the first question of each."""
        first: dict[str, Question] = {}
        for question, name in zip(questions, names, strict=True):
            if name is not None:
                first.setdefault(name, question)
        asked = [(question.details, NONSENSE) for question in first.values()]
        asked += [(question.details, question.answer) for question in first.values()]
        replies = self._pool.run(asked, patience=5.0)
        bad: dict[str, str] = {}
        for place, (name, question) in enumerate(first.items()):
            nonsense, gold = replies[place], replies[len(first) + place]
            if nonsense is not None and nonsense[0] >= self.right_from:
                bad[name] = f"the scorer of {name} takes {NONSENSE!r} as right too"
            elif question.answer and (gold is None or gold[0] < self.right_from):
                bad[name] = f"the scorer of {name} does not take it as right"
        return bad

    def _verdict(self, pair: tuple[str, str] | None, reply: list | None) -> Verdict:
        if pair is None:
            return Verdict(False, None)
        if reply is None:
            return Verdict(False, pair[1], timed_out=True)
        return Verdict(reply[0] >= self.right_from, pair[1])

    def _tell(self, name: str, error: str) -> None:
        if name not in self._told:
            self._told.add(name)
            print(
                f"warning: the scorer of reasoning-gym's {name} fails at some answers, which count "
                f"as wrong ({error})",
                file=sys.stderr,
                flush=True,
            )
