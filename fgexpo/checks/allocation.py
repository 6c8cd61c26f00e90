"""Checks of how rollouts are shared out, before any weight is loaded."""

from lightning.pytorch import Trainer

from ..advantages import AdvantageEstimator
from ..allocation import Allocation, Equal
from ..curriculum.data import estimates
from ..errors import UserError


def check_allocation(
    allocation: Allocation, advantages: AdvantageEstimator, group_size: int
) -> None:
    """Check that the estimator can judge the groups that an allocation makes.

    Raises:
        UserError: naming both settings.
    """
    if type(allocation) is Equal:
        return
    name = f"model.allocation {type(allocation).__name__}"
    if group_size < 2:
        raise UserError(f"{name} needs model.group_size of at least 2: there is nothing to share")
    allocation.check(group_size)
    advantages.check(allocation.smallest(group_size))
    if not advantages.by_group(group_size):
        raise UserError(
            f"{name} makes groups of different sizes, but model.advantages "
            f"{type(advantages).__name__} judges rollouts against those of other questions, and "
            "only where all groups have one size"
        )


def check_allocation_data(trainer: Trainer, allocation: Allocation) -> None:
    """Check that there are pass-rates where an allocation reads them.

    Raises:
        UserError: naming the setting.
    """
    if allocation.needs_curriculum and estimates(getattr(trainer, "datamodule", None)) is None:
        raise UserError(
            f"model.allocation {type(allocation).__name__} needs data with a curriculum, such as "
            "CurriculumDataModule, whose pass-rates it reads"
        )
