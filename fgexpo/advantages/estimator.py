"""The slot of advantage estimators: rewards of groups in, what each rollout is worth out.

A new estimator is one small class: subclass :class:`AdvantageEstimator`, return advantages, name
it under ``model.advantages`` in YAML.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class AdvantageEstimator(ABC):
    """Judges each rollout against others, so no critic is needed."""

    @abstractmethod
    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """Advantages, [Q, G].

        Args:
            rewards_QG: rewards of a step's Q questions, over all processes, one row per question.
        """

    def has_signal(self, rewards_QG: Tensor) -> Tensor:
        """Which groups teach something: some rollout's advantage is not zero, bool [Q].

        Dynamic sampling asks for more questions until enough groups have a signal, and
        ``frac_reward_zero_std`` is the share of those that have none.

        Args:
            rewards_QG: rewards of any number of questions.
        """
        advantages_QG = self(rewards_QG)
        # The mean of equal numbers may be off by a rounding error.
        size = torch.finfo(advantages_QG.dtype).eps * rewards_QG.shape[1]
        rounding_Q = size * rewards_QG.abs().amax(1).clamp_min(1.0).to(advantages_QG)
        return (advantages_QG.abs() > rounding_Q[:, None]).any(1)

    def check(self, group_size: int) -> None:  # noqa: B027
        """Check that groups of this size can be judged.

        Raises:
            UserError: naming the setting.
        """
