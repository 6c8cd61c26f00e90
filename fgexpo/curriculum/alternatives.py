"""Other rules for what to ask next, to compare with the Gaussian curriculum.

Each is a class over a function of the pass-rates, and is named in YAML as ``data.curriculum``.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..seeding import hash_seed
from .base import Curriculum
from .gaussian import check_gaussian, gaussian_weights
from .pass_rates import PassRateTable


def filter_weights(pass_rate_M: Tensor, margin: float) -> Tensor:
    """1 for ``margin < p < 1 - margin``, else 0; float64 [M]."""
    return ((pass_rate_M > margin) & (pass_rate_M < 1 - margin)).double()


def hard_weights(pass_rate_M: Tensor, power: float, floor: float) -> Tensor:
    """``(1 - p)^power``, at least ``floor``; float64 [M]."""
    return (1 - pass_rate_M.double()).pow(power).clamp_min(floor)


def learnability_weights(pass_rate_M: Tensor, floor: float) -> Tensor:
    """``p (1 - p)``, the variance of one rollout's reward, at least ``floor``; float64 [M]."""
    rates = pass_rate_M.double()
    return (rates * (1 - rates)).clamp_min(floor)


class HardFilter(Curriculum):
    """Equal weights for questions that are neither hopeless nor mastered; 0 for the others.

    DAPO's filter (arXiv 2503.14476, section 3.2) as a sampler: it decides by the moving averages,
    before anything is generated. These approach 0 and 1 without reaching them, hence the margin.

    Args:
        margin: distance from 0 and 1 that still counts as hopeless or mastered, in [0, 0.5).
    """

    def __init__(self, margin: float = 0.05) -> None:
        if not 0 <= margin < 0.5:
            raise UserError(f"data.curriculum.margin must be in [0, 0.5), got {margin}")
        self.margin = margin

    def weights(self, table: PassRateTable) -> Tensor:
        """See :func:`filter_weights`."""
        return filter_weights(table.pass_rates, self.margin)


class TowardsHard(Curriculum):
    """Asks a question more often the less it is solved.

    Args:
        power: 0 is uniform.
        floor: smallest weight, so that mastered questions are seen again.
    """

    def __init__(self, power: float = 1.0, floor: float = 0.01) -> None:
        _check_floor(floor)
        if power < 0:
            raise UserError(f"data.curriculum.power must not be negative, got {power}")
        self.power = power
        self.floor = floor

    def weights(self, table: PassRateTable) -> Tensor:
        """See :func:`hard_weights`."""
        return hard_weights(table.pass_rates, self.power, self.floor)


class Learnability(Curriculum):
    """Weights ``p (1 - p)`` (arXiv 2502.12272), largest where a group's rewards differ most.

    Args:
        floor: smallest weight.
    """

    def __init__(self, floor: float = 0.01) -> None:
        _check_floor(floor)
        self.floor = floor

    def weights(self, table: PassRateTable) -> Tensor:
        """See :func:`learnability_weights`."""
        return learnability_weights(table.pass_rates, self.floor)


class Thompson(Curriculum):
    """Gaussian weights of pass-rates drawn from a belief about each question.

    The belief is a Beta distribution over the question's pass-rate, starting from Beta(1, 1). Every
    visit adds its successes and failures, after discounting the old ones. A question that was
    seldom asked is uncertain, so its draws spread widely and it is asked again: exploration without
    a schedule.

    Args:
        mean: of the Gaussian.
        std: of the Gaussian.
        keep: share of the old counts kept at a visit, in [0, 1], since the policy changes.
        rollouts: rollouts that a visit counts as; use the group size.
        seed: seed of the draws.
    """

    def __init__(
        self,
        mean: float = 0.5,
        std: float = 0.35,
        keep: float = 0.5,
        rollouts: int = 8,
        seed: int = 0,
    ) -> None:
        check_gaussian(mean, std)
        if rollouts < 1 or not 0 <= keep <= 1:
            raise UserError(
                "data.curriculum: Thompson needs rollouts of at least 1 and keep in [0, 1], got "
                f"{rollouts} and {keep}"
            )
        self.mean = mean
        self.std = std
        self.keep = keep
        self.rollouts = rollouts
        self.seed = seed
        self._draws = 0
        self._counts_M2 = torch.zeros(0, 2, dtype=torch.float64)

    def weights(self, table: PassRateTable) -> Tensor:
        """See the class; every call draws again."""
        self._grow(len(table))
        generator = np.random.default_rng(hash_seed(self.seed, "thompson", self._draws))
        self._draws += 1
        successes, failures = (1 + self._counts_M2.numpy()).T
        drawn_M = torch.from_numpy(generator.beta(successes, failures))
        return gaussian_weights(drawn_M, self.mean, self.std)

    def observe(self, index: Tensor, pass_rate: Tensor) -> None:
        """Discount the old counts, then add the new ones."""
        self._grow(int(index.max()) + 1)
        seen = torch.stack([pass_rate, 1 - pass_rate], 1).double() * self.rollouts
        self._counts_M2[index] = self.keep * self._counts_M2[index] + seen

    def state_dict(self) -> dict[str, Any]:
        """The counts, and the number of draws so far."""
        return {"draws": self._draws, "counts": self._counts_M2.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both.

        Raises:
            UserError: for counts that are negative or not finite.
        """
        counts_M2 = state["counts"]
        right_M = (counts_M2.isfinite() & (counts_M2 >= 0)).all(1)
        if not right_M.all():
            row = int((~right_M).nonzero()[0])
            raise UserError(
                f"data.curriculum: the saved counts of row {row} are {counts_M2[row].tolist()}, "
                "expected finite numbers that are not negative"
            )
        self._draws, self._counts_M2 = state["draws"], counts_M2.clone()

    def _grow(self, size: int) -> None:
        missing = size - len(self._counts_M2)
        if missing > 0:
            self._counts_M2 = torch.cat([self._counts_M2, self._counts_M2.new_zeros(missing, 2)])


def _check_floor(floor: float) -> None:
    if floor < 0:
        raise UserError(f"data.curriculum.floor must not be negative, got {floor}")
