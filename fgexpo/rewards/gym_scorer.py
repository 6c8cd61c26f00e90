"""The verifier of questions from reasoning-gym: their data sets' own scorers."""

import sys
from collections.abc import Sequence
from typing import Any

from ..errors import EnvironmentFailure, UserError
from ..gym.details import recipe_of
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
    code that an answer holds. Such a process makes the question again first; that takes as long as
    it took its source, and does not count towards the deadline.

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
        self.timeout = timeout  # beside the pool's: what a result depends on is public
        self._pool = WorkerPool(SCORES, timeout, workers, start_timeout)
        self._told: set[str] = set()

    def verify(self, questions: Sequence[Question], texts: Sequence[str]) -> list[Verdict]:
        """See :class:`Verifier`; equal answers to a question are scored once.

        Raises:
            EnvironmentFailure: when a question cannot be made again, or another one comes out.
        """
        pairs: list[tuple[str, str] | None] = []
        for question, text in zip(questions, texts, strict=True):
            beat()
            answer = READERS[self.reads](text)
            pairs.append((question.details, answer) if answer else None)
        asked = list(dict.fromkeys(pair for pair in pairs if pair is not None))
        scored = dict(zip(asked, self._scored(asked), strict=True))
        for (details, _), reply in scored.items():
            if reply is not None and reply[2]:
                raise EnvironmentFailure(reply[2])
            if reply is not None and reply[1]:
                recipe = recipe_of(details)
                assert recipe is not None
                self._tell(recipe.name, reply[1])
        return [self._verdict(pair, None if pair is None else scored[pair]) for pair in pairs]

    def ungradable(self, questions: Sequence[Question]) -> list[tuple[Question, str]]:
        """Questions of another source, gold answers that are not read in this form, bad scorers."""
        sources = [self._source(question) for question in questions]
        bad = self._bad_scorers(questions, sources)
        found: list[tuple[Question, str]] = []
        for question, source in zip(questions, sources, strict=True):
            if source is None:
                reason = (
                    "the question is not of a ReasoningGym source, so there is no scorer for it"
                )
            else:
                reason = bad.get(source) or why_unread(self.reads, question.answer)
            if reason is not None:
                found.append((question, reason))
        return found

    def _source(self, question: Question) -> tuple[str, str] | None:
        """Name and settings of a question's data set."""
        recipe = recipe_of(question.details)
        return None if recipe is None else (recipe.name, recipe.settings)

    def _bad_scorers(
        self, questions: Sequence[Question], sources: Sequence[tuple[str, str] | None]
    ) -> dict[tuple[str, str], str]:
        """Data sets that cannot tell right from wrong, by the first and last question of each.

        The last one is far from the first of its chunk: it would differ, made again, if it depended
        on those before it.
        """
        first: dict[tuple[str, str], Question] = {}
        last: dict[tuple[str, str], Question] = {}
        for question, source in zip(questions, sources, strict=True):
            if source is not None:
                first.setdefault(source, question)
                last[source] = question
        looked_at = [*first.items(), *last.items()]
        asked = [(question.details, NONSENSE) for _, question in looked_at]
        asked += [(question.details, question.answer) for _, question in looked_at]
        replies = self._scored(asked, patience=5.0)
        bad: dict[tuple[str, str], str] = {}
        for place, (source, question) in enumerate(looked_at):
            nonsense, gold = replies[place], replies[len(looked_at) + place]
            name = source[0]
            if nonsense is not None and nonsense[2]:
                bad[source] = nonsense[2]
            elif nonsense is not None and nonsense[0] >= self.right_from:
                bad[source] = f"the scorer of {name} takes {NONSENSE!r} as right too"
            elif question.answer and (gold is None or gold[0] < self.right_from):
                bad[source] = f"the scorer of {name} does not take it as right"
        return bad

    def _scored(self, asked: Sequence[tuple[str, str]], patience: float = 1.0) -> list[Any]:
        """Replies of the workers, see :func:`fgexpo.gym.score.answer`; None for one that is late.

        Making the question again comes before the deadline starts.
        """
        before = [(details,) for details, _ in asked]
        return self._pool.run(asked, patience, before)

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
