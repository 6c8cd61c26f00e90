"""Group-relative advantages: each rollout is judged against its siblings.

Equation (1) of FG-ExPO (arXiv 2605.11403): ``A = (R - mean_g R) / (std_g R + eps)``.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import UserError
from ..groups import Groups
from .estimator import AdvantageEstimator, Known

AdvantageScale = Literal["group", "batch", "none"]
EPS = 1e-6  # of a standard deviation


def equal_rewards(rewards_QG: Tensor) -> Tensor:
    """Which groups' rewards are all equal, so that they have nothing to learn from, bool [Q]."""
    return (rewards_QG == rewards_QG[:, :1]).all(1)


def group_advantages(
    rewards_QG: Tensor,
    eps: float = EPS,
    unbiased: bool = False,
    scale: AdvantageScale = "group",
) -> Tensor:
    """Centre rewards on their group's mean and scale them.

    Args:
        rewards_QG: rewards, [Q, G], one row per question.
        eps: added to the standard deviation.
        unbiased: divide the variance by G - 1 (verl) instead of G (the paper).
        scale: divide by the ``group`` std, by the std over the whole ``batch``, or by nothing
            (``none``, Dr. GRPO, arXiv 2503.20783).

    Returns:
        Advantages, [Q, G]. A group whose rewards are all equal gets exact zeros.

    Raises:
        ValueError: on a wrong shape, an unknown scale, or an unbiased std of a single value.
    """
    if rewards_QG.ndim != 2:
        raise ValueError(f"rewards_QG must be [Q, G], got shape {tuple(rewards_QG.shape)}")
    if scale not in get_args(AdvantageScale):
        raise ValueError(f"scale must be one of {get_args(AdvantageScale)}, got {scale!r}")
    centred_QG = rewards_QG - rewards_QG.mean(1, keepdim=True)
    # The mean of G equal floats may be off by a rounding error, which a tiny std would blow up.
    centred_QG = centred_QG.masked_fill(equal_rewards(rewards_QG)[:, None], 0.0)
    if scale == "none":
        return centred_QG
    correction = int(unbiased)
    size = rewards_QG.shape[1] if scale == "group" else rewards_QG.numel()
    if size <= correction:
        raise ValueError("an unbiased std needs at least two rewards")
    std = (
        rewards_QG.std(1, correction=correction, keepdim=True)
        if scale == "group"
        else torch.std(rewards_QG, correction=correction)
    )
    return centred_QG / (std + eps)


class GroupNormalised(AdvantageEstimator):
    """Equation (1), the paper's: centred on the group's mean, over the group's std.

    Args:
        unbiased: divide the variance by G - 1 (verl) instead of G (the paper).
    """

    scale: AdvantageScale = "group"

    def __init__(self, unbiased: bool = False) -> None:
        self.unbiased = unbiased

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """See :func:`group_advantages`."""
        return group_advantages(rewards_QG, unbiased=self.unbiased, scale=self.scale)

    def has_signal(self, rewards_QG: Tensor) -> Tensor:
        """Where rewards differ, whatever the other groups' are."""
        return ~equal_rewards(rewards_QG)

    def check(self, group_size: int) -> None:
        """An unbiased std needs two values."""
        if self.unbiased and group_size < 2:
            raise UserError("model.advantage_unbiased needs model.group_size of at least 2")


class BatchNormalised(GroupNormalised):
    """Centred on the group's mean, over the std of the whole batch.

    Args:
        unbiased: divide the variance by its number of values less 1.
    """

    scale: AdvantageScale = "batch"

    def judge(self, rewards_N: Tensor, groups: Groups, known: Known) -> Tensor:
        """The std is over all groups, of whatever size."""
        if groups.size is not None:
            return super().judge(rewards_N, groups, known)
        std = torch.std(rewards_N, correction=int(self.unbiased))
        return Centred().judge(rewards_N, groups, known) / (std + EPS)


class Centred(GroupNormalised):
    """Centred on the group's mean alone (Dr. GRPO, arXiv 2503.20783)."""

    scale: AdvantageScale = "none"

    def __init__(self) -> None:
        super().__init__()


def choose_estimator(
    given: AdvantageEstimator | None, scale: AdvantageScale, unbiased: bool
) -> AdvantageEstimator:
    """The estimator given, or the one that the flags ``advantage_scale`` and ``_unbiased`` name.

    Raises:
        UserError: for an unknown scale, or for flags beside an estimator, which would not be read.
    """
    if scale not in get_args(AdvantageScale):
        raise UserError(
            f"model.advantage_scale must be one of {get_args(AdvantageScale)}, got {scale!r}"
        )
    if given is not None:
        if (scale, unbiased) != ("group", False):
            raise UserError(
                f"model.advantages is {type(given).__name__}, which does not read "
                "model.advantage_scale and model.advantage_unbiased: leave them out"
            )
        return given
    if scale == "none":
        return Centred()
    return BatchNormalised(unbiased) if scale == "batch" else GroupNormalised(unbiased)
