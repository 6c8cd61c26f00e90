"""A reward that favours right rollouts which the policy finds unlikely."""

import math
from collections.abc import Sequence
from itertools import groupby

from ..errors import UserError
from .reward import Graded, Reward


class Unlikeliness(Reward):
    """1 for a right rollout, less a part that falls with its rank of likelihood in its group.

    A right rollout of a group of G earns ``1 - strength * (G - rank) / G``: rank 1 is the
    likeliest of all G, right or wrong, and the least likely, rank G, keeps its 1. Equally likely
    ones share the mean of their ranks. A wrong one earns 0. It takes the place of
    :class:`Accuracy`.

    He et al. (arXiv 2506.02355): GRPO on its own teaches likely solutions best, and this turns it
    towards rare ones. They rank by the probability of the whole rollout; their published code does
    so by the mean log-prob of its tokens, which does not favour long rollouts.

    Args:
        strength: beta_rank, in (0, 1); theirs is 0.25.
        per_token: rank by the mean log-prob of a rollout's tokens, not by their sum.
        weight: factor in the sum of rewards.
        name: its name in the tag ``rewards/<name>/mean``.

    Raises:
        UserError: for a strength that is 0, or leaves a right rollout no more than a wrong one.
    """

    def __init__(
        self,
        strength: float = 0.25,
        per_token: bool = False,
        weight: float = 1.0,
        name: str | None = None,
    ) -> None:
        if not 0 < strength < 1:
            raise UserError(f"Unlikeliness.strength must be in (0, 1), got {strength}")
        super().__init__(weight, name)
        self.strength = strength
        self.per_token = per_token

    def score(self, rollouts: Sequence[Graded]) -> list[float]:
        """The reward of each rollout; those of a question stand together.

        Raises:
            UserError: for a rollout whose log-prob is not known.
        """
        scores: list[float] = []
        for _, group in groupby(rollouts, key=lambda each: each.question.id):
            scores += self._of_group(list(group))
        return scores

    def _of_group(self, group: list[Graded]) -> list[float]:
        logps = [each.logp / max(each.length, 1) if self.per_token else each.logp for each in group]
        if any(math.isnan(logp) for logp in logps):
            raise UserError("model.rewards: Unlikeliness needs the log-prob of every rollout")
        return [
            1 - self.strength * (len(group) - rank) / len(group) if each.verdict.correct else 0.0
            for each, rank in zip(group, ranks(logps), strict=True)
        ]


def ranks(values: Sequence[float]) -> list[float]:
    """The place of each number, 1 for the highest; equal ones share the mean of their places."""
    above = [sum(other > value for other in values) for value in values]
    equal = [sum(other == value for other in values) for value in values]
    return [before + (same + 1) / 2 for before, same in zip(above, equal, strict=True)]
