"""GRPO's advantages, damped where a question is easy (arXiv 2602.06717)."""

import math

from torch import Tensor

from ..errors import UserError
from .group import group_advantages
from .right import ByRight


class Focal(ByRight):
    """Equation (1)'s advantage times ``(1 - m)^gamma``, m the share of right rollouts.

    The std is that of the rewards, shaped or not; m counts right rollouts (see :class:`ByRight`).
    A group that is all right has no signal, even if a shaped reward tells its rollouts apart.

    Args:
        gamma: the power, at least 0, which is :class:`GroupNormalised`.
        right_above: the reward above which a rollout is right.

    Raises:
        UserError: for a gamma that is negative or not finite.
    """

    def __init__(self, gamma: float = 1.0, right_above: float = 0.0) -> None:
        if not 0 <= gamma < math.inf:
            raise UserError(f"model.advantages.gamma must be finite and at least 0, got {gamma}")
        super().__init__(right_above)
        self.gamma = gamma

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """Normalised within the group, then damped."""
        damping_Q = (1 - self.share(rewards_QG)) ** self.gamma
        return group_advantages(rewards_QG) * damping_Q[:, None]
