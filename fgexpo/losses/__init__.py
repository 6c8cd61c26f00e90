"""Advantages and log-probs become a loss."""

from .aggregation import Aggregation, aggregate, loss_denominator
from .cispo import CISPO
from .clipped import Clipped
from .correction import Correction, Truncated, importance_weights
from .estimated import K1, K2, K3, Estimated
from .gspo import GSPO
from .in_reward import InReward
from .kl import KLPenalty, kl_estimate
from .masked import Masked
from .masked_by_kl import MaskedByKL
from .objective import LossOutput, grpo_loss, loss_metrics, objective
from .policy_loss import PolicyLoss
from .ratio import importance_ratio
from .sapo import SAPO
from .unclipped import Unclipped

# Its name before there was a slot.
LossSettings = Clipped

__all__ = [
    "CISPO",
    "GSPO",
    "K1",
    "K2",
    "K3",
    "SAPO",
    "Aggregation",
    "Clipped",
    "Correction",
    "Estimated",
    "InReward",
    "KLPenalty",
    "LossOutput",
    "LossSettings",
    "Masked",
    "MaskedByKL",
    "PolicyLoss",
    "Truncated",
    "Unclipped",
    "aggregate",
    "grpo_loss",
    "importance_ratio",
    "importance_weights",
    "kl_estimate",
    "loss_denominator",
    "loss_metrics",
    "objective",
]
