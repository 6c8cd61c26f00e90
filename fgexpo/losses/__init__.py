"""Advantages become a loss."""

from .aggregation import aggregate, loss_denominator
from .kl import kl_estimate
from .objective import LossOutput, LossSettings, grpo_loss

__all__ = [
    "LossOutput",
    "LossSettings",
    "aggregate",
    "grpo_loss",
    "kl_estimate",
    "loss_denominator",
]
