"""A check of what advantage estimators make of a small cost in the reward."""

from lightning.pytorch.utilities import rank_zero_warn

from ..advantages import AdvantageEstimator
from ..advantages.estimator import every_count
from ..losses import PolicyLoss

SMALL, LOUD = 1e-3, 0.1


def warn_of_loud_cost(loss: PolicyLoss, advantages: AdvantageEstimator, group_size: int) -> None:
    """Warn where the KL is in the reward and the estimator does not keep it in proportion.

    Every group of 0s and 1s is tried with a small reward added to one rollout. Advantages divided
    by a group's std, or made of a count of right rollouts, then change as if it were a verdict.
    """
    if not loss.penalty().in_reward:
        return
    rewards_QG = every_count(group_size)
    nudged_QG = rewards_QG.clone()
    nudged_QG[:, -1] += SMALL
    change = float((advantages(nudged_QG) - advantages(rewards_QG)).abs().max())
    if change > LOUD:
        rank_zero_warn(
            f"model.loss.kl {type(loss.penalty()).__name__} with model.advantages "
            f"{type(advantages).__name__}: a KL cost of {SMALL} changes an advantage by "
            f"{change:.2g}, whatever model.kl_coef is; Centred, LeaveOneOut, BatchNormalised and "
            "ReinforcePlusPlus keep it in proportion"
        )
