"""Tokens or sequences on which engine and trainer disagree are left out, by their ratio."""

import math

import torch
from torch import Tensor

from ..errors import UserError
from .correction import Correction, Level, check_level, engine_ratio


class Masked(Correction):
    """Leaves out what has ``pi_trainer / pi_engine`` outside two bounds.

    By token with weights inside it is IcePop's mask (Ling Team 2025, arXiv 2510.18855). A
    truncated weight still lets a ratio of a thousandth or a thousand through as 0.001 or the cap;
    such tokens are faults of an implementation more often than samples of the policy.

    Args:
        level: a ratio per ``token``, or the product over the ``sequence`` for all its tokens. A
            product over thousands of tokens is seldom near 1.
        low: smallest ratio kept, in (0, 1].
        high: largest ratio kept, at least 1.
        reweigh: what is kept is weighed by its ratio, as importance sampling does; false: by 1.
    """

    def __init__(
        self, level: Level = "token", low: float = 0.5, high: float = 5.0, reweigh: bool = True
    ) -> None:
        check_level(level)
        if not 0 < low <= 1:
            raise UserError(f"model.loss.correction.low must be in (0, 1], got {low}")
        if not (high >= 1 and math.isfinite(high)):
            raise UserError(f"model.loss.correction.high must be at least 1 and finite, got {high}")
        self.level: Level = level
        self.low = low
        self.high = high
        self.reweigh = reweigh

    def weights(self, trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """The ratio or 1 within the bounds, and 0 outside."""
        ratio_NT = engine_ratio(trainer_logp_NT, engine_logp_NT, mask_NT, self.level)
        kept_NT = (ratio_NT >= self.low) & (ratio_NT <= self.high)
        return torch.where(kept_NT, ratio_NT, 0.0) if self.reweigh else kept_NT.to(ratio_NT)
