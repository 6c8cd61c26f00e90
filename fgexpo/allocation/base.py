"""The slot of allocations: a wave's budget of rollouts, shared out among its questions.

A new allocation is one small class: subclass :class:`Allocation`, return how many rollouts each
question gets next, name it under ``model.allocation`` in YAML.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import UserError
from ..groups import Groups
from ..types import Asked

Weigh = Literal["question", "rollout"]


@dataclass
class Tally:
    """What is known of a wave's Q questions, over all processes; the same on all.

    Attributes:
        group_size: rollouts a question on average: the wave's budget is Q times as many.
        tried_Q: rollouts of each one so far, int64 [Q].
        right_Q: how many of those are correct, int64 [Q].
        pass_rate_Q: the curriculum's estimate of each one's pass-rate before this step, float64
            [Q]; None without a curriculum.
        visits_Q: steps that this estimate rests on, int64 [Q]; likewise.
    """

    group_size: int
    tried_Q: Tensor
    right_Q: Tensor
    pass_rate_Q: Tensor | None = None
    visits_Q: Tensor | None = None

    @property
    def left(self) -> int:
        """Rollouts that may still be added."""
        return len(self.tried_Q) * self.group_size - int(self.tried_Q.sum())

    def add(self, tried_Q: Tensor, right_Q: Tensor) -> "Tally":
        """After so many more rollouts, of which so many are correct."""
        return replace(self, tried_Q=self.tried_Q + tried_Q, right_Q=self.right_Q + right_Q)


class Allocation(ABC):
    """Shares out each wave's ``questions x model.group_size`` rollouts.

    Attributes:
        weigh: what counts alike in the loss: each ``question``, as with equal groups (the rollouts
            of a group of n count ``group_size / n`` each), or each ``rollout``.
        needs_curriculum: whether it reads the curriculum's pass-rates.
    """

    weigh: Weigh = "question"
    needs_curriculum: bool = False

    @abstractmethod
    def share(self, tally: Tally) -> Tensor:
        """Rollouts to add to each question now, int64 [Q]; all 0 leaves the rest unspent.

        Called until the budget is spent. The first call must give every question at least one:
        only its rollouts, decided on before any was seen, make up the pass-rates that are learned.
        """

    def check(self, group_size: int) -> None:  # noqa: B027
        """Check the settings against ``model.group_size``.

        Raises:
            UserError: naming both settings.
        """

    def smallest(self, group_size: int) -> int:
        """The fewest rollouts that a question can end with."""
        return 1

    def metrics(self, asked: Asked, group_size: int) -> dict[str, float]:
        """Tags and values of a step."""
        return {
            "allocation/min": float(asked.rollouts_A.min()),
            "allocation/max": float(asked.rollouts_A.max()),
            "allocation/unspent": float(len(asked) * group_size - asked.rollouts),
            "allocation/informative_frac": float(asked.informative_A.float().mean()),
        }


def checked_share(allocation: Allocation, tally: Tally) -> Tensor:
    """What an allocation gives next.

    Raises:
        UserError: naming the class, if it gives anything but whole numbers within the budget.
    """
    added_Q = torch.as_tensor(allocation.share(tally))
    least = 0 if tally.tried_Q.any() else 1
    whole = added_Q.shape == tally.tried_Q.shape and not added_Q.is_floating_point()
    if whole and int(added_Q.min()) >= least and int(added_Q.sum()) <= tally.left:
        return added_Q.long()
    raise UserError(
        f"model.allocation {type(allocation).__name__} must give each of "
        f"{len(tally.tried_Q)} questions a whole number of rollouts, at least {least} and at most "
        f"{tally.left} in all, got {added_Q.tolist()}"
    )


def check_weigh(weigh: Weigh) -> None:
    """Check the setting.

    Raises:
        UserError: for anything else.
    """
    if weigh not in get_args(Weigh):
        raise UserError(f"model.allocation.weigh must be one of {get_args(Weigh)}, got {weigh!r}")


def rollout_weights(weigh: Weigh, groups: Groups, group_size: int) -> Tensor | None:
    """How much each rollout counts in the loss, float64 [N]; None where all count 1.

    Args:
        weigh: see :class:`Allocation`.
        groups: of the rollouts.
        group_size: of an average group, whose rollouts count 1 each.
    """
    if weigh == "rollout" or groups.size == group_size:
        return None
    return group_size / groups.repeat(torch.tensor(groups.sizes, dtype=torch.float64))


def check_bounds(name: str, fewest: int, most: int, group_size: int) -> None:
    """Check that something is left to share out, and that a question can get more than its share.

    Args:
        name: the setting of the fewest rollouts of a question.
        fewest: its value.
        most: rollouts of a question at most.
        group_size: rollouts of a question on average.

    Raises:
        UserError: naming both settings.
    """
    if fewest >= group_size:
        raise UserError(
            f"model.allocation.{name} = {fewest} for every question must be below the budget, "
            f"which is model.group_size = {group_size} for each, or nothing is left to share out"
        )
    if most <= group_size:
        raise UserError(
            f"model.allocation.most = {most} must be above model.group_size = {group_size}, or "
            "what a question saves can go to no other"
        )
