"""Advantages and log-probs become a loss."""

from .aggregation import Aggregation, aggregate, loss_denominator
from .clipped import Clipped
from .correction import Correction, Truncated, importance_weights
from .kl import K1, K2, K3, KLPenalty, kl_estimate
from .objective import LossOutput, grpo_loss, loss_metrics, objective
from .policy_loss import PolicyLoss
from .ratio import importance_ratio

# Its name before there was a slot.
LossSettings = Clipped

__all__ = [
    "K1",
    "K2",
    "K3",
    "Aggregation",
    "Clipped",
    "Correction",
    "KLPenalty",
    "LossOutput",
    "LossSettings",
    "PolicyLoss",
    "Truncated",
    "aggregate",
    "grpo_loss",
    "importance_ratio",
    "importance_weights",
    "kl_estimate",
    "loss_denominator",
    "loss_metrics",
    "objective",
]
