"""CISPO: the ratio is capped and held, so that every token keeps a gradient (arXiv 2506.13585)."""

import math
from typing import Any

from torch import Tensor

from ..errors import UserError
from .policy_loss import PolicyLoss


class CISPO(PolicyLoss):
    """REINFORCE, weighed by the capped ratio.

    Its equation (4), with an upper bound alone, as its authors train. Its gradient is
    ``-min(r, cap) A grad log pi``: that of :class:`Unclipped` up to the cap, and a constant
    multiple of REINFORCE's above it, where ``Clipped`` gives none.

    Args:
        cap: what the ratio is capped at, above 1. The paper does not state its own; ScaleRL (arXiv
            2510.13786) finds 4 to 8 alike.
        **shared: the settings of every loss, see :class:`PolicyLoss`.
    """

    def __init__(self, cap: float = 5.0, **shared: Any) -> None:
        super().__init__(**shared)
        if not (cap > 1 and math.isfinite(cap)):
            raise UserError(f"model.loss.cap must be above 1 and finite, got {cap}")
        self.cap = cap

    def policy_loss(self, ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor) -> Tensor:
        """See :func:`capped_loss`."""
        return capped_loss(ratio_NT, logp_NT, advantages_N, self.cap)

    def metrics(self, ratio_NT: Tensor, advantages_N: Tensor) -> dict[str, Tensor]:
        """The share of tokens whose ratio is capped."""
        return {"cispo/capped": (ratio_NT > self.cap).to(ratio_NT)}


def capped_loss(ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor, cap: float) -> Tensor:
    """``-min(r, cap) A log pi`` per token, the ratio without gradient, [N, T]."""
    return -ratio_NT.detach().clamp(max=cap) * advantages_N[:, None] * logp_NT
