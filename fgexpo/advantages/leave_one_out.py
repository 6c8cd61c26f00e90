"""Each rollout against the mean of the others (RLOO, arXiv 2402.14740)."""

from typing import ClassVar

from torch import Tensor

from .estimator import AdvantageEstimator
from .group import group_advantages


class LeaveOneOut(AdvantageEstimator):
    """``A_g = R_g - mean of the other rollouts' R``, which is ``G / (G - 1) (R_g - mean_g R)``.

    The baseline does not depend on the rollout it is subtracted from, so the expected update is
    the gradient of the mean reward without any factor, for rewards of any kind. A group of one
    has nothing to be compared with: 0.
    """

    exact_zeros: ClassVar[bool] = True

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """Centred rewards, times G / (G - 1)."""
        size = rewards_QG.shape[1]
        return group_advantages(rewards_QG, scale="none") * (size / max(size - 1, 1))
