"""Other answers to what to ask next, to hold the Gaussian curriculum against.

Each is a class over a function of the pass-rates, and is named in YAML as ``data.curriculum``.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..seeding import hash_seed
from .base import Curriculum
from .gaussian import gaussian_weights
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
    """All questions alike that are neither hopeless nor mastered, and the others not at all.

    DAPO's filter (arXiv 2503.14476, section 3.2) as a sampler: it judges by the moving averages,
    before anything is generated. They come near 0 and 1 without reaching them, hence the margin.

    Args:
        margin: how near is near, in [0, 0.5).
    """

    def __init__(self, margin: float = 0.05) -> None:
        if not 0 <= margin < 0.5:
            raise UserError(f"data.curriculum.margin must be in [0, 0.5), got {margin}")
        self.margin = margin

    def weights(self, table: PassRateTable) -> Tensor:
        """See :func:`filter_weights`."""
        return filter_weights(table.pass_rates, self.margin)


class TowardsHard(Curriculum):
    """The less a question is solved, the more it is asked.

    Args:
        power: 0 is uniform.
        floor: least weight, so that mastered questions are seen again.
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
    """In proportion to ``p (1 - p)`` (arXiv 2502.12272): where a group's rewards differ most.

    Args:
        floor: least weight.
    """

    def __init__(self, floor: float = 0.01) -> None:
        _check_floor(floor)
        self.floor = floor

    def weights(self, table: PassRateTable) -> Tensor:
        """See :func:`learnability_weights`."""
        return learnability_weights(table.pass_rates, self.floor)


class Thompson(Curriculum):
    """Gaussian weights of pass-rates drawn from what is believed of each question.

    A question's belief is a Beta distribution over its pass-rate, from Beta(1, 1) on. Every visit
    adds its successes and failures, after the old ones have lost a share. What was seldom asked is
    uncertain, is drawn all over the place, and so is asked again: exploration without a schedule.

    Args:
        mean: of the Gaussian.
        std: of the Gaussian.
        keep: share of the old counts that a visit leaves, in [0, 1]; the policy changes meanwhile.
        rollouts: what a visit counts for, as many as the group has.
        seed: of the draws.
    """

    def __init__(
        self,
        mean: float = 0.5,
        std: float = 0.35,
        keep: float = 0.5,
        rollouts: int = 8,
        seed: int = 0,
    ) -> None:
        if std <= 0 or rollouts < 1 or not 0 <= keep <= 1:
            raise UserError(
                "data.curriculum: Thompson needs std above 0, rollouts of at least 1 and keep in "
                f"[0, 1], got {std}, {rollouts} and {keep}"
            )
        self.mean = mean
        self.std = std
        self.keep = keep
        self.rollouts = rollouts
        self.seed = seed
        self._draws = 0
        self._counts_M2 = torch.zeros(0, 2, dtype=torch.float64)

    def weights(self, table: PassRateTable) -> Tensor:
        """See the class; every call draws anew."""
        self._grow(len(table))
        generator = np.random.default_rng(hash_seed(self.seed, "thompson", self._draws))
        self._draws += 1
        successes, failures = (1 + self._counts_M2.numpy()).T
        drawn_M = torch.from_numpy(generator.beta(successes, failures))
        return gaussian_weights(drawn_M, self.mean, self.std)

    def observe(self, index: Tensor, pass_rate: Tensor) -> None:
        """Forget a share, then count."""
        self._grow(int(index.max()) + 1)
        seen = torch.stack([pass_rate, 1 - pass_rate], 1).double() * self.rollouts
        self._counts_M2[index] = self.keep * self._counts_M2[index] + seen

    def state_dict(self) -> dict[str, Any]:
        """The counts, and how often was drawn."""
        return {"draws": self._draws, "counts": self._counts_M2.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self._draws, self._counts_M2 = state["draws"], state["counts"].clone()

    def _grow(self, size: int) -> None:
        missing = size - len(self._counts_M2)
        if missing > 0:
            self._counts_M2 = torch.cat([self._counts_M2, self._counts_M2.new_zeros(missing, 2)])


def _check_floor(floor: float) -> None:
    if floor < 0:
        raise UserError(f"data.curriculum.floor must not be negative, got {floor}")
