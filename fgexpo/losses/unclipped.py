"""The policy gradient with importance weights, and no clip."""

from torch import Tensor

from .policy_loss import PolicyLoss


class Unclipped(PolicyLoss):
    """``-r A`` per token: unbiased for the old policy's tokens, however far the policy has moved.

    Its variance grows with the mean squared ratio, which is logged: at 2, a batch is worth half
    of as many rollouts of the policy itself (Kish's effective sample size).
    """

    def policy_loss(self, ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor) -> Tensor:
        """Minus ratio times advantage."""
        return -ratio_NT * advantages_N[:, None]

    def metrics(self, ratio_NT: Tensor, advantages_N: Tensor) -> dict[str, Tensor]:
        """The mean squared ratio; nothing is cut."""
        return {"unclipped/squared_ratio": ratio_NT.square()}
