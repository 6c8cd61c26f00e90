"""The paper's policy loss: PPO's clipped surrogate, with two bounds and a dual clip.

Equation (2) of FG-ExPO (arXiv 2605.11403), ``min(r A, clip(r, 1 - low, 1 + high) A)``. We differ
from the paper in the DAPO recipe's two clip bounds and dual clip.
"""

from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .policy_loss import PolicyLoss


class Clipped(PolicyLoss):
    """The clipped surrogate.

    Args:
        clip_low: how far below 1 the ratio may push, in (0, 1).
        clip_high: how far above 1 the ratio may push, above 0.
        dual_clip: caps the loss of a negative advantage at ``dual_clip * |A|``; above 1, or None.
        **shared: the settings of every loss, see :class:`PolicyLoss`.
    """

    def __init__(
        self,
        clip_low: float = 0.2,
        clip_high: float = 0.28,
        dual_clip: float | None = 10.0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not 0 < clip_low < 1:
            raise UserError(f"model.loss.clip_low must be in (0, 1), got {clip_low}")
        if not clip_high > 0:
            raise UserError(f"model.loss.clip_high must be above 0, got {clip_high}")
        if dual_clip is not None and not dual_clip > 1:
            raise UserError(f"model.loss.dual_clip must be above 1 or null, got {dual_clip}")
        self.clip_low = clip_low
        self.clip_high = clip_high
        self.dual_clip = dual_clip

    def policy_loss(self, ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor) -> Tensor:
        """Equation (2), negated."""
        return surrogate_loss(ratio_NT, advantages_N, self.clip_low, self.clip_high, self.dual_clip)

    def clipped(self, ratio_NT: Tensor, advantages_N: Tensor) -> tuple[Tensor, Tensor]:
        """Beyond a bound, on the side towards which the advantage pushes."""
        return clipped_tokens(ratio_NT, advantages_N, self.clip_low, self.clip_high)


def surrogate_loss(
    ratio_NT: Tensor,
    advantages_N: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Tensor:
    """Per-token clipped surrogate to minimise (equation 2, negated), [N, T]."""
    advantages_N1 = advantages_N[:, None]
    clipped_NT = ratio_NT.clamp(1 - clip_low, 1 + clip_high)
    loss_NT = torch.maximum(-ratio_NT * advantages_N1, -clipped_NT * advantages_N1)
    if dual_clip is None:
        return loss_NT
    cap_N1 = -dual_clip * advantages_N1
    return torch.where(advantages_N1 < 0, torch.minimum(loss_NT, cap_N1), loss_NT)


def clipped_tokens(
    ratio_NT: Tensor, advantages_N: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Where the clip cuts the gradient, at its lower and at its upper bound: bool [N, T] each.

    A sequence's ratio is cut on all of its tokens or on none.
    """
    ratio_NT, advantages_N1 = ratio_NT.detach(), advantages_N[:, None]
    low_NT = (ratio_NT < 1 - clip_low) & (advantages_N1 < 0)
    high_NT = (ratio_NT > 1 + clip_high) & (advantages_N1 > 0)
    return low_NT, high_NT
