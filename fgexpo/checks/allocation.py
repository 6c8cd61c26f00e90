"""Checks of how rollouts are shared out, before any weight is loaded."""

import torch
from lightning.pytorch import Trainer

from ..advantages import AdvantageEstimator
from ..allocation import Allocation, Equal
from ..curriculum.data import curriculum_data
from ..errors import UserError


def check_allocation(
    allocation: Allocation, advantages: AdvantageEstimator, group_size: int
) -> None:
    """Check that the estimator can judge the groups that an allocation makes.

    Raises:
        UserError: naming both settings.
    """
    allocation.check(group_size)
    if isinstance(allocation, Equal):
        return
    name = f"model.allocation {type(allocation).__name__}"
    if group_size < 2:
        raise UserError(f"{name} needs model.group_size of at least 2: there is nothing to share")
    advantages.check(allocation.smallest(group_size))
    if not by_group(advantages, group_size):
        raise UserError(
            f"{name} makes groups of different sizes, but model.advantages "
            f"{type(advantages).__name__} judges rollouts against those of other questions, and "
            "only where all groups have one size"
        )


def by_group(advantages: AdvantageEstimator, group_size: int) -> bool:
    """Whether groups of any size can be judged: each alone, or together by a ``judge`` of its own.

    Args:
        advantages: the estimator.
        group_size: of the groups that it is tried on.
    """
    if type(advantages).judge is not AdvantageEstimator.judge:
        return True
    # Every number of right rollouts out of G, from none to all.
    rewards_QG = torch.ones(group_size + 1, group_size, dtype=torch.float64).tril(-1)
    alone_QG = torch.cat([advantages(rewards_1G) for rewards_1G in rewards_QG.split(1)])
    return torch.allclose(advantages(rewards_QG), alone_QG, rtol=1e-9, atol=1e-12)


def check_allocation_data(trainer: Trainer, allocation: Allocation) -> None:
    """Check that there are pass-rates where an allocation reads them.

    Raises:
        UserError: naming the setting.
    """
    if allocation.needs_curriculum and curriculum_data(trainer) is None:
        raise UserError(
            f"model.allocation {type(allocation).__name__} needs data with a curriculum, such as "
            "CurriculumDataModule, whose pass-rates it reads"
        )
