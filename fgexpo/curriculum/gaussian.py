"""Gaussian curriculum sampling (GCS), equation (7), and the uniform one it is compared with."""

import math

import torch
from torch import Tensor

from ..errors import UserError
from .base import Curriculum
from .pass_rates import PassRateTable


def gaussian_weights(pass_rate_M: Tensor, mean: float = 0.5, std: float = 0.35) -> Tensor:
    """Unnormalised sampling weights of equation (7), float64 [M], at most 1."""
    pass_rate_M = torch.as_tensor(pass_rate_M, dtype=torch.float64)
    return torch.exp(-((pass_rate_M - mean) ** 2) / (2 * std**2))


def effective_sample_size(weights_M: Tensor) -> float:
    """Kish's (sum w)^2 / sum w^2: how many equally likely questions the weights amount to."""
    weights_M = weights_M.double()
    return float(weights_M.sum() ** 2 / (weights_M**2).sum())


def check_gaussian(mean: float, std: float) -> None:
    """Check the settings of a Gaussian; an infinite one would weigh all questions alike.

    Raises:
        UserError: naming the setting.
    """
    if not math.isfinite(mean):
        raise UserError(f"data.curriculum.mean must be finite, got {mean}")
    if not 0 < std < math.inf:
        raise UserError(f"data.curriculum.std must be above 0 and finite, got {std}")


class Gaussian(Curriculum):
    """The paper's curriculum: weights peak at pass-rate ``mean`` and fall off with ``std``.

    Args:
        mean: pass-rate of the questions that are drawn most.
        std: of the Gaussian; a smaller one draws fewer others.
    """

    def __init__(self, mean: float = 0.5, std: float = 0.35) -> None:
        check_gaussian(mean, std)
        self.mean = mean
        self.std = std

    def weights(self, table: PassRateTable) -> Tensor:
        """Equation (7)."""
        return gaussian_weights(table.pass_rates, self.mean, self.std)


class Uniform(Curriculum):
    """Plain GRPO: every question is equally likely."""

    def weights(self, table: PassRateTable) -> Tensor:
        """Ones."""
        return torch.ones(len(table), dtype=torch.float64)
