"""Gathers graded samples over batches, processes and interruptions, and scores them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..metrics import NO_VOTE, GradedSamples, question_scores
from ..questions import Question
from ..rewards.maths.normalise import key
from ..seeding import hash_seed
from ..types import QuestionBatch, RolloutBatch
from .settings import EvaluationSettings


class Evaluator:
    """The bookkeeping of validation and test.

    Args:
        settings: n, the values of k, and the tags.

    Attributes:
        known: samples from an interrupted earlier evaluation, by dataset and question id,
            [5, n] each; those questions are not asked again.
        samples: the last evaluation's samples, by dataset and row.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        self.settings = settings
        self.known: dict[str, dict[str, Tensor]] = {}
        self.samples: dict[str, dict[int, Tensor]] = {}
        self._gathered: dict[str, GradedSamples] = {}

    def still_to_ask(self, batch: QuestionBatch) -> QuestionBatch:
        """Count the questions whose samples are known, and return the others."""
        known = self.known.get(batch.dataset, {})
        rows = [row for row, question in enumerate(batch.questions) if question.id in known]
        if rows:
            found = torch.stack([known[batch.questions[row].id] for row in rows])
            index_Q = batch.index_Q[rows]
            self._of(batch.dataset, index_Q.device).update(index_Q, found.to(index_Q.device))
        return batch.select([row for row in range(len(batch)) if row not in rows])

    def add(self, batch: RolloutBatch) -> None:
        """Count the questions just asked."""
        index_Q = batch.source.index_Q
        self._of(batch.source.dataset, index_Q.device).update(index_Q, samples_of(batch))

    def close(self, dataset: str, questions: Sequence[Question]) -> dict[str, float]:
        """Gather the dataset's samples from all processes; return mean scores by name.

        Scores for one value of a tag have names like ``level_2/pass@1``.
        """
        gathered = self._gathered.pop(dataset)
        self.samples[dataset] = gathered.compute()
        return mean_scores(self.settings, questions, self.samples[dataset])

    def _of(self, dataset: str, device: torch.device) -> GradedSamples:
        if dataset not in self._gathered:
            self._gathered[dataset] = GradedSamples(self.settings.rollouts).to(device)
        return self._gathered[dataset]


def samples_of(batch: RolloutBatch) -> Tensor:
    """The fields of a batch's rollouts that scores need, int64 [Q, 5, n]."""
    answers = [verdict.answer for verdict in batch.verdicts]
    columns = [
        batch.correct_N.to(torch.int64).tolist(),
        [vote(answer) for answer in answers],
        batch.completions.lengths_N.tolist(),
        [int(reason == "length") for reason in batch.completions.finish],
        [int(verdict.timed_out) for verdict in batch.verdicts],
    ]
    samples = torch.tensor(columns, device=batch.correct_N.device)
    return samples.view(len(columns), len(batch.source), -1).transpose(0, 1)


def vote(answer: str | None) -> int:
    """A number for an answer, the same for every notation of that answer."""
    return NO_VOTE if answer is None else hash_seed(key(answer))


def mean_scores(
    settings: EvaluationSettings, questions: Sequence[Question], samples: dict[int, Tensor]
) -> dict[str, float]:
    """Means over all questions; for pass@k and maj@k also over each value of the chosen tags."""
    by_row = {
        row: question_scores(found, settings.ks, settings.maj_ks) for row, found in samples.items()
    }
    means = _means(list(by_row.values()))
    for tag in settings.break_down_by:
        groups: dict[str, list[dict[str, float]]] = {}
        for row, scores in by_row.items():
            if tag in questions[row].tags:
                chosen = {name: score for name, score in scores.items() if "@" in name}
                groups.setdefault(questions[row].tags[tag], []).append(chosen)
        for value, group in sorted(groups.items()):
            means |= {f"{tag}_{value}/{name}": mean for name, mean in _means(group).items()}
    return means


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
