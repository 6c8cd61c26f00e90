"""Sequences on which engine and trainer disagree are left out, by the KL between the two."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import UserError
from .correction import Correction
from .kl import kl_estimate

Divergence = Literal["k1", "k3"]


class MaskedByKL(Correction):
    """Leaves out a sequence whose estimate of KL(engine || trainer), per token, is above a limit.

    A mean over tokens does not grow with the length, as a product of ratios does. All other
    sequences have weight 1.

    Args:
        limit: largest mean over a sequence's tokens that is kept, in nats, above 0.
        estimator: ``k3`` is never negative; in ``k1``, the mean of log(engine / trainer), tokens
            on which they differ in opposite directions cancel.
    """

    def __init__(self, limit: float = 0.01, estimator: Divergence = "k3") -> None:
        if not (limit > 0 and math.isfinite(limit)):
            raise UserError(f"model.loss.correction.limit must be above 0 and finite, got {limit}")
        if estimator not in get_args(Divergence):
            raise UserError(
                f"model.loss.correction.estimator must be one of {get_args(Divergence)}, "
                f"got {estimator!r}"
            )
        self.limit = limit
        self.estimator: Divergence = estimator

    def weights(self, trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
        """1 for all tokens of a sequence that is kept, 0 for those of the others."""
        divergence_N = sequence_divergence(trainer_logp_NT, engine_logp_NT, mask_NT, self.estimator)
        kept_N1 = (divergence_N <= self.limit)[:, None]
        return kept_N1.to(trainer_logp_NT).expand_as(trainer_logp_NT)


def sequence_divergence(
    trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor, estimator: Divergence
) -> Tensor:
    """Each sequence's mean estimate of KL(engine || trainer) over its tokens, in nats, [N].

    Args:
        trainer_logp_NT: log-probs of the policy before the first update, by the trainer, [N, T].
        engine_logp_NT: log-probs of the same policy, by the engine that sampled, [N, T].
        mask_NT: True on completion tokens, [N, T].
        estimator: ``k1`` or ``k3``.
    """
    estimate_NT = kl_estimate(engine_logp_NT, trainer_logp_NT, estimator)
    lengths_N = mask_NT.sum(1).clamp_min(1)
    return torch.where(mask_NT, estimate_NT, 0.0).sum(1) / lengths_N
