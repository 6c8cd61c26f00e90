"""Rollout engines."""

from .base import RolloutEngine, RolloutRequest, Sampling
from .native import Native

__all__ = ["Native", "RolloutEngine", "RolloutRequest", "Sampling"]
