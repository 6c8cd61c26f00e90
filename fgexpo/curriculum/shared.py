"""Pass-rates shared by similar questions: a question never asked is taken to be like its group."""

from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..questions import Question
from .base import Curriculum
from .gaussian import Gaussian
from .pass_rates import PassRateTable


def shrunk_rates(rates_M: Tensor, visits_M: Tensor, group_M: Tensor, strength: float) -> Tensor:
    """Each question's pass-rate, shrunk towards its group's mean; float64 [M].

    ``(n p + s g) / (n + s)`` with n the question's visits, s the strength and g the group's mean,
    weighted by visits: the posterior mean under a Beta prior worth s visits. Questions of a group
    without any visit keep their pass-rate.

    The weights are visits too where the rates are corrected for their start
    (:func:`.debiased_rates`). Such rates have no bias, so no weights of theirs have one; the best
    weights are the numbers of equally weighted outcomes that the averages are worth,
    ``(1 - d^n) (1 + d) / ((1 - d) (1 + d^n))``, which are n at first and grow
    more slowly later.

    Args:
        rates_M: of each question alone.
        visits_M: times each was observed.
        group_M: number of each question's group, int64.
        strength: visits that the group's mean is worth.
    """
    rates, visits = rates_M.double(), visits_M.double()
    groups = int(group_M.max()) + 1
    total = torch.zeros(groups, dtype=torch.float64).index_add(0, group_M, visits)
    summed = torch.zeros(groups, dtype=torch.float64).index_add(0, group_M, visits * rates)
    known = total[group_M] > 0
    mean = torch.where(known, (summed / total.clamp_min(1))[group_M], rates)
    return (visits * rates + strength * mean) / (visits + strength)


class Shared(Curriculum):
    """Wraps another curriculum, and shares pass-rates within groups of questions.

    Args:
        key: tag of the questions by which they are grouped, such as ``level``.
        strength: see :func:`shrunk_rates`.
        inner: the curriculum that turns them into weights.

    Raises:
        UserError: for a strength that is not above 0; later, for a question without the tag.
    """

    def __init__(self, key: str, strength: float = 4.0, inner: Curriculum = Gaussian()) -> None:
        if strength <= 0:
            raise UserError(f"data.curriculum.strength must be above 0, got {strength}")
        self.key = key
        self.strength = strength
        self.inner = inner
        self._group_M = torch.zeros(0, dtype=torch.int64)

    def prepare(self, questions: list[Question]) -> None:
        """See :class:`Curriculum`."""
        self.inner.prepare(questions)
        for question in questions:
            if self.key not in question.tags:
                raise UserError(
                    f"data.curriculum.key: question {question.id!r} has no tag {self.key!r}, only "
                    f"{sorted(question.tags)}"
                )
        names = sorted({question.tags[self.key] for question in questions})
        numbers = {name: number for number, name in enumerate(names)}
        self._group_M = torch.tensor([numbers[question.tags[self.key]] for question in questions])

    def weights(self, table: PassRateTable) -> Tensor:
        """The inner curriculum's, of shared pass-rates."""
        return self.inner.weights(table.believing(self.rates(table)))

    def rates(self, table: PassRateTable) -> Tensor:
        """See :func:`shrunk_rates`."""
        return shrunk_rates(table.pass_rates, table.visits, self._group_M, self.strength)

    def observe(self, index: Tensor, pass_rate: Tensor) -> None:
        """The inner curriculum sees it too."""
        self.inner.observe(index, pass_rate)

    def state_dict(self) -> dict[str, Any]:
        """The inner curriculum's."""
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inner curriculum's."""
        self.inner.load_state_dict(state)
