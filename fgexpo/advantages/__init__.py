"""Graded rollouts become advantages."""

from .estimator import AdvantageEstimator, Known
from .group import (
    AdvantageScale,
    BatchNormalised,
    Centred,
    GroupNormalised,
    choose_estimator,
    equal_rewards,
    group_advantages,
)

__all__ = [
    "AdvantageEstimator",
    "AdvantageScale",
    "BatchNormalised",
    "Centred",
    "GroupNormalised",
    "Known",
    "choose_estimator",
    "equal_rewards",
    "group_advantages",
]
