"""A loss like CISPO (arXiv 2506.13585): the ratio is cut and held, so no gradient is zero."""

from torch import Tensor

from fgexpo.losses import PolicyLoss


class HeldRatio(PolicyLoss):
    """REINFORCE, weighed by the truncated ratio.

    Args:
        cap: what the ratio is truncated at.
        **shared: the settings of every loss.
    """

    def __init__(self, cap: float = 1.28, **shared) -> None:
        super().__init__(**shared)
        self.cap = cap

    def policy_loss(self, ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor) -> Tensor:
        """Minus the held ratio times advantage times log-prob."""
        return -ratio_NT.detach().clamp(max=self.cap) * advantages_N[:, None] * logp_NT

    def metrics(self, ratio_NT: Tensor, advantages_N: Tensor) -> dict[str, Tensor]:
        """The share of tokens whose ratio is cut."""
        return {"held_ratio/capped": (ratio_NT > self.cap).to(ratio_NT)}
