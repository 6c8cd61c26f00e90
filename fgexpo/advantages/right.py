"""Estimators that count how many of a group's rollouts are right."""

import math
from typing import ClassVar

from torch import Tensor

from ..errors import UserError
from .estimator import AdvantageEstimator


class ByRight(AdvantageEstimator):
    """Reads which rollouts are right from their rewards.

    An estimator sees rewards, not verdicts. A rollout counts as right where its reward is above
    ``right_above``. With :class:`fgexpo.rewards.Accuracy` alone that is the verdict, and so it is
    beside penalties that use up less than its 1, such as ``Overlong`` with a weight below 1. A
    right rollout whose reward is all used up counts as wrong. Beside a reward that wrong rollouts
    earn too, such as one for the format, set ``right_above`` to the most that a wrong one earns.

    Args:
        right_above: the reward above which a rollout is right.

    Raises:
        UserError: if it is not finite.
    """

    exact_zeros: ClassVar[bool] = True

    def __init__(self, right_above: float = 0.0) -> None:
        if not math.isfinite(right_above):
            raise UserError(f"model.advantages.right_above must be finite, got {right_above}")
        self.right_above = right_above

    def right(self, rewards: Tensor) -> Tensor:
        """Which rollouts are right, bool, of the shape given."""
        return rewards > self.right_above

    def share(self, rewards_QG: Tensor) -> Tensor:
        """The share m of each group's rollouts that are right, [Q]."""
        return self.right(rewards_QG).to(rewards_QG).mean(1)
