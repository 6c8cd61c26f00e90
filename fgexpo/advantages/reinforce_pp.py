"""REINFORCE++ with a baseline (arXiv 2501.03262)."""

from typing import ClassVar

import torch
from torch import Tensor

from ..groups import Groups
from .estimator import AdvantageEstimator, Known
from .group import EPS, Centred


def over_own_std(centred: Tensor, eps: float = EPS) -> Tensor:
    """Centred rewards of a batch, of any shape, over their own std.

    Their mean is 0, as each group's is: so this is all of their normalisation.
    """
    return centred / (torch.std(centred, correction=0) + eps)


class ReinforcePlusPlus(AdvantageEstimator):
    """The paper's variant with a baseline: rewards less their group's mean, over the batch's std.

    The std is that of the centred rewards of the whole batch; :class:`BatchNormalised` takes that
    of the rewards themselves, to which the differences between questions add. The paper's other
    form, which is meant for one rollout a question, subtracts the batch's mean instead of the
    group's: then a rollout is judged by how hard its question is, too. Rollouts count alike here,
    however long they are. Rewards may be of any kind.
    """

    exact_zeros: ClassVar[bool] = True

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """See :func:`over_own_std`."""
        return over_own_std(Centred()(rewards_QG))

    def judge(self, rewards_N: Tensor, groups: Groups, known: Known) -> Tensor:
        """The std is over all groups, of whatever size."""
        return over_own_std(Centred().judge(rewards_N, groups, known))
