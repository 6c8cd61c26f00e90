"""Hard questions weigh more, by as much as the curriculum knows them to be hard (ours)."""

from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..groups import Groups
from .estimator import Known, missing_pass_rates
from .group import Centred
from .right import ByRight

STEEPEST = 2.0  # in a large group w(p) = p^-a; far above, a single success would overflow


def inverse_power(share: Tensor, exponent: Tensor | float) -> Tensor:
    """``share ** -exponent``, and 0 where the share is 0."""
    return torch.where(share > 0, share**-exponent, 0.0)


class CompetenceExponent(ByRight):
    """``A = (R - mean_g R) m^-a``, m the share of right rollouts; 0 where none is right.

    ``a`` falls from ``low_a`` to ``high_a`` in a straight line as the question's pass-rate, by
    the curriculum's estimate before this step, rises from 0 to 1. At a = 1 this is
    :class:`MaxLikelihood`, at 1/2 about :class:`GroupNormalised` on hard questions, at 0
    :class:`Centred`. In a large group ``w(p) = p^-a``: variance is spent where a large weight
    pays. ``low_a`` = ``high_a`` is the control, which knows nothing. For shaped rewards see
    :class:`ByRight`.

    Args:
        low_a: the exponent of a question that is never solved, at most 2.
        high_a: the exponent of one that always is; at least 0, at most ``low_a``.
        right_above: the reward above which a rollout is right.

    Raises:
        UserError: for exponents outside this range or order.
    """

    needs_pass_rates: ClassVar[bool] = True

    def __init__(self, low_a: float = 1.0, high_a: float = 0.5, right_above: float = 0.0) -> None:
        super().__init__(right_above)
        if not 0 <= high_a <= low_a <= STEEPEST:
            raise UserError(
                "model.advantages.high_a must be at least 0 and at most model.advantages.low_a, "
                f"and that at most {STEEPEST}, got high_a = {high_a} and low_a = {low_a}"
            )
        self.low_a = low_a
        self.high_a = high_a

    def exponent(self, pass_rate: Tensor) -> Tensor:
        """a, of the shape given."""
        return self.low_a + (self.high_a - self.low_a) * pass_rate

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """As for questions that are never solved; training knows better and calls ``judge``."""
        factor_Q = inverse_power(self.share(rewards_QG), self.low_a)
        return Centred()(rewards_QG) * factor_Q[:, None]

    def judge(self, rewards_N: Tensor, groups: Groups, known: Known) -> Tensor:
        """Each question with its own exponent.

        Raises:
            UserError: if nothing is known of the questions.
        """
        if known.pass_rate_Q is None:
            raise UserError(missing_pass_rates(self))
        share_Q = groups.by_size(self.share, rewards_N)
        factor_Q = inverse_power(share_Q, self.exponent(known.pass_rate_Q.to(rewards_N)))
        return Centred().judge(rewards_N, groups, known) * groups.repeat(factor_Q)
