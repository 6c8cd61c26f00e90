"""Checks of a KL that is part of the reward, before any weight is loaded."""

from lightning.pytorch.utilities import rank_zero_warn

from ..advantages import AdvantageEstimator
from ..advantages.estimator import every_count
from ..advantages.right import ByRight
from ..errors import UserError
from ..losses import PolicyLoss

SMALL, LOUD = 1e-3, 0.1


def check_kl_in_reward(
    loss: PolicyLoss, advantages: AdvantageEstimator, kl_coef: float, group_size: int
) -> None:
    """Check that the KL's cost means to the estimator what it is: a small part of the reward.

    Every group of 0s and 1s is tried with a small reward added to one rollout. Advantages that are
    divided by a group's std then change as if it were a verdict, of which a warning tells.

    Raises:
        UserError: where the cost could make a wrong rollout count as right, or there is no KL.
    """
    if not loss.penalty().in_reward:
        return
    name = f"model.loss.kl {type(loss.penalty()).__name__}"
    if kl_coef == 0:
        raise UserError(f"{name} takes nothing off the reward with model.kl_coef = 0")
    rewards_QG = every_count(group_size)
    if (
        isinstance(advantages, ByRight)
        and (advantages.right(rewards_QG - SMALL) != (advantages.right(rewards_QG + SMALL))).any()
    ):
        raise UserError(
            f"{name} with model.advantages {type(advantages).__name__}: a rollout with a reward "
            f"above model.advantages.right_above = {advantages.right_above:g} counts as right, "
            "and the KL can move a wrong one there; set right_above to 0.5"
        )
    nudged_QG = rewards_QG.clone()
    nudged_QG[:, -1] += SMALL
    change = float((advantages(nudged_QG) - advantages(rewards_QG)).abs().max())
    if change > LOUD:
        rank_zero_warn(
            f"{name} with model.advantages {type(advantages).__name__}: a KL cost of {SMALL} "
            f"changes an advantage by {change:.2g}, whatever model.kl_coef is; Centred, "
            "LeaveOneOut, BatchNormalised and ReinforcePlusPlus keep it in proportion"
        )
