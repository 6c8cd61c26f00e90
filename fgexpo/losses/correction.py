"""The engine samples by one implementation, the trainer learns by another: correct for it.

The slot is :class:`Correction`. Truncated importance sampling (Ionides 2008,
doi:10.1198/106186008X320456) was put to this purpose by Yao et al. 2025, "Your efficient RL
framework secretly brings you off-policy RL training".
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError

CorrectionLevel = Literal["off", "token", "sequence"]


class Correction(ABC):
    """Weighs each token by how the trainer's old policy differs from the engine's."""

    @abstractmethod
    def weights(self, trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """Factors of the policy loss's tokens, without gradient, [N, T]; 0 leaves a token out.

        Args:
            trainer_logp_NT: log-probs of the policy before the first update, by the trainer.
            engine_logp_NT: log-probs of the same policy, by the engine that sampled.
            mask_NT: True on completion tokens.
        """


class Truncated(Correction):
    """Truncated importance sampling: ``min(pi_trainer / pi_engine, cap)``.

    Args:
        level: a ratio per ``token``, or the product over the ``sequence`` for all its tokens.
        cap: truncates the weight from above, at least 1.
    """

    def __init__(self, level: Literal["token", "sequence"] = "token", cap: float = 2.0) -> None:
        if not cap >= 1:
            raise UserError(f"model.loss.correction.cap must be at least 1, got {cap}")
        self.level: CorrectionLevel = level
        self.cap = cap

    def weights(self, trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """See :func:`importance_weights`."""
        weight_NT = importance_weights(
            trainer_logp_NT, engine_logp_NT, mask_NT, self.level, self.cap
        )
        assert weight_NT is not None
        return weight_NT


def importance_weights(
    trainer_logp_NT: Tensor,
    engine_logp_NT: Tensor,
    mask_NT: Tensor,
    correction: CorrectionLevel,
    cap: float,
) -> Tensor | None:
    """Weights ``min(pi_trainer / pi_engine, cap)`` of the surrogate's tokens, [N, T]; None if off.

    Args:
        trainer_logp_NT: log-probs of the policy before the first update, by the trainer, [N, T].
        engine_logp_NT: log-probs of the same policy, by the engine that sampled, [N, T].
        mask_NT: True on completion tokens.
        correction: a ratio per ``token``, or the product over the ``sequence`` for all its tokens.
        cap: truncates the weight from above, at least 1.
    """
    if correction == "off":
        return None
    log_ratio_NT = torch.where(mask_NT, trainer_logp_NT - engine_logp_NT, 0.0)
    if correction == "sequence":
        log_ratio_NT = log_ratio_NT.sum(1, keepdim=True).expand_as(log_ratio_NT)
    return log_ratio_NT.exp().clamp(max=cap)
