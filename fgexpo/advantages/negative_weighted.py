"""Right and wrong rollouts weighed apart, without a baseline (arXiv 2506.01347)."""

import math

import torch
from torch import Tensor

from ..errors import UserError
from .right import ByRight


class NegativeWeighted(ByRight):
    """A right rollout is worth ``weight * R``, a wrong one ``negative * (R - 1)``.

    With rewards of 0 and 1: right +weight, wrong -negative. The paper's weighted REINFORCE has
    weight .1 and negative 1; NSR (wrong ones alone) is ``weight: 0``, PSR (right ones alone)
    ``weight: 1, negative: 0``. The expected update is ``weight + negative`` times the gradient of
    p for all of them: they differ from each other in variance, and once the policy has moved.
    Under shaped rewards (see :class:`ByRight`) a penalty lowers either.

    Nothing is centred, so groups whose rewards are all equal have a signal too: all-wrong groups
    unless ``negative`` is 0, all-right ones unless ``weight`` is 0. With both above 0 every group
    has one, and ``model.refill`` never asks again.

    Args:
        weight: of right rollouts, at least 0.
        negative: of wrong rollouts, at least 0.
        right_above: the reward above which a rollout is right.

    Raises:
        UserError: for weights that are negative, not finite, or both 0.
    """

    def __init__(
        self, weight: float = 0.1, negative: float = 1.0, right_above: float = 0.0
    ) -> None:
        super().__init__(right_above)
        for name, value in (("weight", weight), ("negative", negative)):
            if not 0 <= value < math.inf:
                raise UserError(
                    f"model.advantages.{name} must be finite and at least 0, got {value}"
                )
        if weight == negative == 0:
            raise UserError(
                "model.advantages.weight and model.advantages.negative are both 0, so nothing "
                "would be learned"
            )
        self.weight = weight
        self.negative = negative

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """Each rollout by itself."""
        positive_QG, negative_QG = self.weight * rewards_QG, self.negative * (rewards_QG - 1)
        return torch.where(self.right(rewards_QG), positive_QG, negative_QG)
