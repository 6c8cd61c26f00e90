"""Pass-rates become weights: what to ask next."""

from .alternatives import HardFilter, Learnability, Thompson, TowardsHard
from .base import Curriculum
from .gaussian import Gaussian, Uniform, effective_sample_size, gaussian_weights
from .pass_rates import FRONTIER, PassRateTable
from .shared import Shared

__all__ = [
    "FRONTIER",
    "Curriculum",
    "Gaussian",
    "HardFilter",
    "Learnability",
    "PassRateTable",
    "Shared",
    "Thompson",
    "TowardsHard",
    "Uniform",
    "effective_sample_size",
    "gaussian_weights",
]
