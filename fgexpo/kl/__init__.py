"""What sets the KL coefficient: shapes of rho, and what each rollout or token is judged by."""

from .confidence import confidence, running_confidence
from .rho import (
    Constant,
    Linear,
    Rho,
    Sigmoid,
    Tanh,
    adapted_factor,
    check_rho,
    question_factors,
    tanh_scale,
)

__all__ = [
    "Constant",
    "Linear",
    "Rho",
    "Sigmoid",
    "Tanh",
    "adapted_factor",
    "check_rho",
    "confidence",
    "question_factors",
    "running_confidence",
    "tanh_scale",
]
