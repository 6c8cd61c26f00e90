"""GSPO: one importance ratio for each sequence, clipped as a whole (arXiv 2507.18071)."""

import math
from typing import Any

from torch import Tensor

from ..errors import UserError
from .clipped import clipped_tokens, surrogate_loss
from .policy_loss import PolicyLoss


class GSPO(PolicyLoss):
    """The clipped surrogate of a sequence's ratio, ``s = (pi(y) / pi_old(y))^(1 / |y|)``.

    Its equations (5) and (7): a mean of sequence means, without a dual clip. A mean over tokens
    stays near 1, hence the clip range of its section 5.1, a thousandth of PPO's. ``Clipped`` with
    ``ratio: sequence`` is the same with every setting open. The bounds have other names than
    those of ``Clipped``, whose values in a configuration below would otherwise become these.

    Args:
        low: how far below 1 the ratio may push, in (0, 1).
        high: how far above 1 the ratio may push, above 0.
        **shared: the settings of every loss but ``ratio`` and ``aggregation``, see
            :class:`PolicyLoss`.
    """

    def __init__(self, low: float = 3e-4, high: float = 4e-4, **shared: Any) -> None:
        super().__init__(ratio="sequence", aggregation="sequence_mean", **shared)
        if not 0 < low < 1:
            raise UserError(f"model.loss.low must be in (0, 1), got {low}")
        if not (high > 0 and math.isfinite(high)):
            raise UserError(f"model.loss.high must be above 0 and finite, got {high}")
        self.low = low
        self.high = high

    def policy_loss(self, ratio_NT: Tensor, logp_NT: Tensor, advantages_N: Tensor) -> Tensor:
        """Its equation (5), negated."""
        return surrogate_loss(ratio_NT, advantages_N, self.low, self.high)

    def clipped(self, ratio_NT: Tensor, advantages_N: Tensor) -> tuple[Tensor, Tensor]:
        """Whole sequences beyond a bound, on the side towards which the advantage pushes."""
        return clipped_tokens(ratio_NT, advantages_N, self.low, self.high)
