"""How many rollouts each question of a wave gets."""

from .base import Allocation, Tally, Weigh, checked_share, rollout_weights
from .equal import Equal
from .posterior import ByPosterior, likely_signals
from .until_success import UntilSuccess

__all__ = [
    "Allocation",
    "ByPosterior",
    "Equal",
    "Tally",
    "UntilSuccess",
    "Weigh",
    "checked_share",
    "likely_signals",
    "rollout_weights",
]
