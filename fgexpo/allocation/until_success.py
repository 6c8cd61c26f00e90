"""A question that has shown what it can teach stops early; others get its rollouts."""

from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import UserError
from .base import Allocation, Tally, Weigh, check_bounds, check_weigh

Until = Literal["both", "success"]


class UntilSuccess(Allocation):
    """Rounds of rollouts, each for the questions that still lack a success.

    By default a question also goes on until it has a failure: under estimators that compare
    rollouts of one question, a group of successes alone teaches nothing either. Both rules are in
    Reinforce-Ada (arXiv 2510.04996). Which rollouts exist now depends on how earlier ones went, so
    the share of right ones is biased, towards 1/2 or upward: the first round alone makes up
    pass-rates and AKL's accuracy.

    Args:
        round: rollouts of a question in each round.
        most: rollouts of a question at most.
        until: a question stops at its first ``success``, or once it has ``both``.
        weigh: what counts alike in the loss; see :class:`Allocation`.

    Raises:
        UserError: for settings out of range.
    """

    def __init__(
        self, round: int = 2, most: int = 32, until: Until = "both", weigh: Weigh = "question"
    ) -> None:
        if round < 1:
            raise UserError(f"model.allocation.round must be at least 1, got {round}")
        if until not in get_args(Until):
            raise UserError(
                f"model.allocation.until must be one of {get_args(Until)}, got {until!r}"
            )
        check_weigh(weigh)
        self.round, self.most, self.until, self.weigh = round, most, until, weigh

    def check(self, group_size: int) -> None:
        """The budget must reach for the first round, and questions must be able to get more."""
        check_bounds("round", self.round, self.most, group_size)

    def smallest(self, group_size: int) -> int:
        """The first round's."""
        return self.round

    def share(self, tally: Tally) -> Tensor:
        """A round for every question that goes on; the first ones alone, where too few are left."""
        open_Q = tally.right_Q == 0
        if self.until == "both":
            open_Q |= tally.right_Q == tally.tried_Q
        room_Q = (self.most - tally.tried_Q).clamp(0, self.round) * open_Q
        before_Q = room_Q.cumsum(0) - room_Q
        return torch.minimum(room_Q, (tally.left - before_Q).clamp_min(0))
