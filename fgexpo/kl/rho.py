"""Accuracy-conditioned KL scaling (AKL): the batch's accuracy sets how hard the reference pulls.

Equation (4) of FG-ExPO (arXiv 2605.11403): ``beta_eff = beta * rho(acc)`` with acc the mean
correctness over all rollouts of the *current* batch. A failing batch loosens the leash (explore), a
succeeding one tightens it (do not drift). rho must be non-decreasing and bounded by positive
constants; the default is equation (8), ``rho(x) = (tanh(x) + 1) / 2``, in [0.5, 0.881].

A new rho is one small class here or in a plug-in: subclass :class:`Rho` and name it in YAML.
"""

import math
from abc import ABC, abstractmethod

from torch import Tensor

from ..errors import UserError
from ..groups import Groups


def tanh_scale(accuracy: float) -> float:
    """The paper's default rho (equation 8): (tanh(accuracy) + 1) / 2, in [0.5, 0.881] on [0, 1]."""
    return (math.tanh(accuracy) + 1) / 2


class Rho(ABC):
    """A scale on the KL coefficient as a function of batch accuracy."""

    @abstractmethod
    def __call__(self, accuracy: float) -> float:
        """Return the factor for an accuracy in [0, 1]."""


class Tanh(Rho):
    """The paper's rho, :func:`tanh_scale`."""

    def __call__(self, accuracy: float) -> float:
        """Equation (8)."""
        return tanh_scale(accuracy)


class Linear(Rho):
    """Straight line from ``low`` at accuracy 0 to ``high`` at accuracy 1."""

    def __init__(self, low: float = 0.5, high: float = 1.0) -> None:
        self.low = low
        self.high = high

    def __call__(self, accuracy: float) -> float:
        """The line at ``accuracy``."""
        return self.low + (self.high - self.low) * accuracy


class Sigmoid(Rho):
    """Logistic step from ``low`` to ``high``, half-way at ``centre``, ``slope`` in 1 / accuracy."""

    def __init__(
        self, low: float = 0.5, high: float = 1.0, centre: float = 0.5, slope: float = 10.0
    ) -> None:
        self.low = low
        self.high = high
        self.centre = centre
        self.slope = slope

    def __call__(self, accuracy: float) -> float:
        """The step at ``accuracy``."""
        # tanh form of the logistic function: it cannot overflow.
        share = (math.tanh(self.slope * (accuracy - self.centre) / 2) + 1) / 2
        return self.low + (self.high - self.low) * share


class Constant(Rho):
    """The same factor at every accuracy: the control that an adaptive rho must beat."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def __call__(self, accuracy: float) -> float:
        """The value."""
        return self.value


def question_factors(rho: Rho, pass_rate_Q: Tensor, groups: Groups) -> Tensor:
    """Rho of each question's pass-rate, repeated for its rollouts: [Q] becomes [N]."""
    factors = [rho(rate) for rate in pass_rate_Q.tolist()]
    return groups.repeat(pass_rate_Q.new_tensor(factors))


def adapted_factor(factor: float, kl: float, target: float, gain: float) -> float:
    """One step of the proportional controller of Ziegler et al. (arXiv 1909.08593, section 2.2).

    The relative error of the KL, cut at 20 %, times ``gain`` is the relative change.
    """
    error = min(max((kl - target) / target, -0.2), 0.2)
    return factor * (1 + gain * error)


def check_rho(rho: Rho, points: int = 101) -> None:
    """Check on a grid over [0, 1] that rho is finite, positive and non-decreasing.

    Raises:
        UserError: naming the accuracy at which the paper's condition fails.
    """
    grid = [i / (points - 1) for i in range(points)]
    values = [rho(x) for x in grid]
    name = type(rho).__name__
    for x, value in zip(grid, values, strict=True):
        if not (math.isfinite(value) and value > 0):
            raise UserError(
                f"akl.rho: {name} must be finite and above 0 everywhere, "
                f"got {value:g} at accuracy {x:g}"
            )
    for i in range(1, points):
        if values[i] < values[i - 1]:
            raise UserError(
                f"akl.rho: {name} must be non-decreasing, but falls from {values[i - 1]:g} "
                f"at accuracy {grid[i - 1]:g} to {values[i]:g} at {grid[i]:g}"
            )
