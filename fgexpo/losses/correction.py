"""The engine samples by one implementation, the trainer learns by another: correct for it.

The slot is :class:`Correction`. Its weights multiply the policy loss's tokens, and neither the KL
term nor the entropy bonus. What a loss is divided by does not change: a weight is an importance
weight, cut or set to 0 where it is not trusted, and dividing by the number of the others would
blow those up; and the divisor must be known before the first forward pass.
"""

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import UserError

CorrectionLevel = Literal["off", "token", "sequence"]
Level = Literal["token", "sequence"]


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

    def metrics(self, weight_NT: Tensor) -> dict[str, Tensor]:
        """Per-token values to log, [N, T] each, by tag; averaged as the loss is.

        The share of tokens left out, unless a subclass says otherwise.

        Args:
            weight_NT: the weights in force.
        """
        return {"sampling/masked_frac": (weight_NT == 0).to(weight_NT)}


class Truncated(Correction):
    """Truncated importance sampling: ``min(pi_trainer / pi_engine, cap)``.

    Ionides 2008, doi:10.1198/106186008X320456; put to this purpose by Yao et al. 2025, "Your
    efficient RL framework secretly brings you off-policy RL training".

    Args:
        level: a ratio per ``token``, or the product over the ``sequence`` for all its tokens.
        cap: truncates the weight from above, at least 1.
    """

    def __init__(self, level: Level = "token", cap: float = 2.0) -> None:
        check_level(level)
        if not cap >= 1:
            raise UserError(f"model.loss.correction.cap must be at least 1, got {cap}")
        self.level: Level = level
        self.cap = cap

    def weights(self, trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """See :func:`importance_weights`."""
        return engine_ratio(trainer_logp_NT, engine_logp_NT, mask_NT, self.level).clamp(
            max=self.cap
        )

    def metrics(self, weight_NT: Tensor) -> dict[str, Tensor]:
        """The share of tokens whose weight is truncated."""
        return {"sampling/truncated_frac": (weight_NT >= self.cap).to(weight_NT)}


def check_level(level: str) -> None:
    """Check that a correction's level is a token or a sequence.

    Raises:
        UserError: if it is not.
    """
    if level not in get_args(Level):
        raise UserError(
            f"model.loss.correction.level must be one of {get_args(Level)}, got {level!r}"
        )


def engine_ratio(
    trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor, level: Level
) -> Tensor:
    """``pi_trainer / pi_engine`` of each token, or its product over the sequence, [N, T].

    Args:
        trainer_logp_NT: log-probs of the policy before the first update, by the trainer, [N, T].
        engine_logp_NT: log-probs of the same policy, by the engine that sampled, [N, T].
        mask_NT: True on completion tokens; elsewhere a token's ratio is 1.
        level: ``token`` or ``sequence``.
    """
    log_ratio_NT = torch.where(mask_NT, trainer_logp_NT - engine_logp_NT, 0.0)
    if level == "sequence":
        log_ratio_NT = log_ratio_NT.sum(1, keepdim=True).expand_as(log_ratio_NT)
    return log_ratio_NT.exp()


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
    return engine_ratio(trainer_logp_NT, engine_logp_NT, mask_NT, correction).clamp(max=cap)
