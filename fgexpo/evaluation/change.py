"""How the scores of the same questions changed between two validations, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..metrics import question_scores
from ..questions import Question
from ..seeding import hash_seed
from .bootstrap import interval, resampled_means
from .settings import EvaluationSettings


@dataclass
class ByQuestion:
    """One validation's scores of an evaluation set, question by question.

    Attributes:
        ids: of Q questions.
        tags: of S scores, as they are logged below the set's name.
        scores_QS: float32; NaN where a question is not of the group that a score is about.
    """

    ids: list[str]
    tags: list[str]
    scores_QS: Tensor

    def state_dict(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)


def by_question(
    settings: EvaluationSettings, questions: Sequence[Question], samples: Mapping[int, Tensor]
) -> ByQuestion:
    """The scores of pass@k and maj@k, over all questions and by the values of the chosen tags.

    Args:
        settings: the values of k, and the tags.
        questions: the evaluation set.
        samples: by row, [5, n] each; see :data:`fgexpo.metrics.FIELDS`.
    """
    rows = sorted(samples)
    scores: dict[str, list[float]] = {}
    for place, row in enumerate(rows):
        found = question_scores(samples[row], settings.ks, settings.maj_ks)
        tags = questions[row].tags
        groups = ["", *(f"{tag}_{tags[tag]}/" for tag in settings.break_down_by if tag in tags)]
        for group in groups:
            for name, score in found.items():
                if "@" in name:
                    missing = [float("nan")] * len(rows)
                    scores.setdefault(f"{group}{name}", missing)[place] = score
    columns = torch.tensor(list(scores.values()), dtype=torch.float32)
    return ByQuestion([questions[row].id for row in rows], list(scores), columns.T.contiguous())


def change_intervals(
    name: str, base: ByQuestion, final: ByQuestion
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each score's mean difference, by a paired bootstrap over questions.

    A question that is drawn brings both its scores. Empty if the questions are not the same; a
    score of fewer than two questions has no interval.

    Args:
        name: of the evaluation set; the draws depend on it.
        base: the first validation.
        final: the second one.
    """
    if base.ids != final.ids:
        return {}
    tags = [tag for tag in final.tags if tag in base.tags]
    both = [each.scores_QS[:, [each.tags.index(tag) for tag in tags]] for each in (base, final)]
    difference_QS = (both[1].double() - both[0].double()).numpy()
    found: dict[str, tuple[float, float]] = {}
    asked_QS = ~np.isnan(difference_QS)
    # Scores of the same questions are drawn together.
    for asked_Q in np.unique(asked_QS.T, axis=0):
        if asked_Q.sum() < 2:
            continue
        columns = np.flatnonzero((asked_QS == asked_Q[:, None]).all(0))
        values = difference_QS[np.ix_(asked_Q, columns)]
        ends = interval(resampled_means(values, hash_seed("bootstrap", name)))
        found |= {
            tags[column]: (float(low), float(high))
            for column, low, high in zip(columns, *ends, strict=True)
        }
    return found
