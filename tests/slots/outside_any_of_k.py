"""Advantages that maximise pass@k (PKPO, arXiv 2505.15201), for rewards of 0 and 1."""

from math import comb

from torch import Tensor

from fgexpo.advantages import AdvantageEstimator


class AnyOfK(AdvantageEstimator):
    """What a rollout adds to the chance that one of k is right, less the group's mean.

    Args:
        k: of pass@k, at most the group's size.
    """

    def __init__(self, k: int = 4) -> None:
        self.k = k

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """A wrong rollout is worth what the others reach without it."""
        size, k = rewards_QG.shape[1], self.k
        others = [
            1 - comb(max(size - 1 - right, 0), k - 1) / comb(size - 1, k - 1)
            for right in range(size + 1)
        ]
        others_Q = rewards_QG.new_tensor(others)[rewards_QG.sum(1).long()]
        worth_QG = k / size * (rewards_QG + (1 - rewards_QG) * others_Q[:, None])
        return worth_QG - worth_QG.mean(1, keepdim=True)
