"""The slot of advantage estimators: rewards of groups in, what each rollout is worth out.

A new estimator is one small class: subclass :class:`AdvantageEstimator`, return advantages, name
it under ``model.advantages`` in YAML.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..groups import Groups


@dataclass
class Known:
    """What was known of a step's Q questions before their rollouts were seen.

    Attributes:
        pass_rate_Q: the curriculum's estimate of each one's pass-rate, float64 [Q]; None where
            no curriculum keeps any.
    """

    pass_rate_Q: Tensor | None = None


def every_count(group_size: int) -> Tensor:
    """A group for every number of right rollouts, from none to all: 0s and 1s, [G + 1, G]."""
    return torch.ones(group_size + 1, group_size, dtype=torch.float64).tril(-1)


class AdvantageEstimator(ABC):
    """Judges each rollout against others, so no critic is needed.

    Attributes:
        needs_pass_rates: ``judge`` reads ``known.pass_rate_Q``, so a curriculum must keep them.
        exact_zeros: an advantage that should be 0 is, and not just up to a rounding error.
    """

    needs_pass_rates: ClassVar[bool] = False
    exact_zeros: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """Advantages, [Q, G].

        Args:
            rewards_QG: rewards of a step's Q questions, over all processes, one row per question.
        """

    def judge(self, rewards_N: Tensor, groups: Groups, known: Known) -> Tensor:
        """Advantages of groups of any size, [N]; training calls this.

        The groups of each size are judged together. An estimator that compares rollouts of
        different questions, or reads what is known of a question, overrides it.

        Args:
            rewards_N: rewards of a step's rollouts, over all processes.
            groups: whose they are.
            known: of the same questions.
        """
        return groups.by_size(self, rewards_N)

    def has_signal(self, rewards_QG: Tensor) -> Tensor:
        """Which groups teach something: some rollout's advantage is not zero, bool [Q].

        Dynamic sampling asks for more questions until enough groups have a signal, and
        ``frac_reward_zero_std`` is the share of those that have none.

        Args:
            rewards_QG: rewards of any number of questions.
        """
        advantages_QG = self(rewards_QG)
        if self.exact_zeros:
            return (advantages_QG != 0).any(1)
        # The mean of equal numbers may be off by a rounding error.
        size = torch.finfo(advantages_QG.dtype).eps * rewards_QG.shape[1]
        rounding_Q = size * rewards_QG.abs().amax(1).clamp_min(1.0).to(advantages_QG)
        return (advantages_QG.abs() > rounding_Q[:, None]).any(1)

    def by_group(self, group_size: int) -> bool:
        """Whether groups of different sizes may be judged in one step.

        So it is for an estimator with a ``judge`` of its own, and for one that judges each group
        by itself. Whether it does is tried out: groups of every number of right rollouts are
        judged together and one by one.

        Args:
            group_size: the size of the groups to try, which must have passed ``check``.
        """
        if type(self).judge is not AdvantageEstimator.judge:
            return True
        rewards_QG = every_count(group_size)
        alone_QG = torch.cat([self(row_1G) for row_1G in rewards_QG.split(1)])
        return torch.allclose(self(rewards_QG), alone_QG)

    def check(self, group_size: int) -> None:  # noqa: B027
        """Check that groups of this size, the smallest of a step, can be judged.

        Raises:
            UserError: naming the setting.
        """


def missing_pass_rates(estimator: AdvantageEstimator) -> str:
    """What to say where no curriculum keeps the pass-rates that an estimator needs."""
    return (
        f"model.advantages {type(estimator).__name__} reads the questions' pass-rates: it needs "
        "data that keeps them, such as CurriculumDataModule"
    )
