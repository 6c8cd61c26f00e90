"""Graded rollouts become advantages."""

from .competence import CompetenceExponent
from .estimator import AdvantageEstimator, Known, every_count
from .focal import Focal
from .group import (
    AdvantageScale,
    BatchNormalised,
    Centred,
    GroupNormalised,
    choose_estimator,
    equal_rewards,
    group_advantages,
)
from .leave_one_out import LeaveOneOut
from .max_likelihood import MaxLikelihood
from .negative_weighted import NegativeWeighted
from .pass_at_k import PassAtK, best_of_k_advantages
from .reinforce_pp import ReinforcePlusPlus
from .right import ByRight

__all__ = [
    "AdvantageEstimator",
    "AdvantageScale",
    "BatchNormalised",
    "ByRight",
    "Centred",
    "CompetenceExponent",
    "Focal",
    "GroupNormalised",
    "Known",
    "LeaveOneOut",
    "MaxLikelihood",
    "NegativeWeighted",
    "PassAtK",
    "ReinforcePlusPlus",
    "best_of_k_advantages",
    "choose_estimator",
    "equal_rewards",
    "every_count",
    "group_advantages",
]
