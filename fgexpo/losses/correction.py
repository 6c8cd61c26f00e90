"""Importance weights of the engine against the trainer."""

from typing import Literal

import torch
from torch import Tensor

Correction = Literal["off", "token", "sequence"]


def importance_weights(
    trainer_logp_NT: Tensor,
    engine_logp_NT: Tensor,
    mask_NT: Tensor,
    correction: Correction,
    cap: float,
) -> Tensor | None:
    """Weights ``min(pi_trainer / pi_engine, cap)`` of the surrogate's tokens, [N, T]; None if off.

    Args:
        trainer_logp_NT: log-probs of the policy before the first update, by the trainer, [N, T].
        engine_logp_NT: log-probs of the same policy, by the engine that sampled, [N, T].
        mask_NT: True on completion tokens.
        correction: a ratio a ``token``, or the product over the ``sequence`` for all its tokens.
        cap: truncates the weight from above, at least 1.
    """
    if correction == "off":
        return None
    log_ratio_NT = torch.where(mask_NT, trainer_logp_NT - engine_logp_NT, 0.0)
    if correction == "sequence":
        log_ratio_NT = log_ratio_NT.sum(1, keepdim=True).expand_as(log_ratio_NT)
    return log_ratio_NT.exp().clamp(max=cap)
