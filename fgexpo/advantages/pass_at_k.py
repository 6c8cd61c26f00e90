"""Advantages that maximise the best of k rollouts: pass@k (PKPO, arXiv 2505.15201)."""

from math import comb
from typing import ClassVar

import torch
from torch import Tensor

from ..errors import UserError
from ..running_sum import running_sum
from .estimator import AdvantageEstimator
from .group import EPS


def best_of_k_advantages(
    rewards_QG: Tensor, k: int, over_std: bool = False, eps: float = EPS
) -> Tensor:
    """What a rollout adds to the best reward of k, less the group's mean.

    A rollout is worth the mean of ``max R`` over all k-subsets of its group that it is in. In
    ascending order these worths grow by ``(R_j - R_(j-1)) C(j-2, k-1) / C(G-1, k-1)``, which is
    exact and takes no sum over subsets.

    Args:
        rewards_QG: rewards, [Q, G].
        k: rollouts of a subset, below G.
        over_std: divide by the std of ``max R`` over all k-subsets instead of multiplying by k.
        eps: added to that std.

    Returns:
        Advantages, [Q, G]; exact zeros in groups in which all k-subsets have the same best.

    Raises:
        ValueError: for k outside [1, G).
    """
    size = rewards_QG.shape[1]
    if not 1 <= k < size:
        raise ValueError(f"k must be at least 1 and below G = {size}, got {k}")
    sorted_QG, order_QG = rewards_QG.sort(1)
    growth = [comb(rank - 1, k - 1) / comb(size - 1, k - 1) for rank in range(1, size)]
    worth_QG = torch.zeros_like(sorted_QG)
    worth_QG[:, 1:] = running_sum(sorted_QG.diff(dim=1) * sorted_QG.new_tensor(growth))
    centred_QG = worth_QG - worth_QG.mean(1, keepdim=True)
    # Equal worths are zeros: their mean is exact.
    scaled_QG = centred_QG / (_std_of_best(sorted_QG, k) + eps) if over_std else k * centred_QG
    return torch.empty_like(scaled_QG).scatter_(1, order_QG, scaled_QG)


def _std_of_best(sorted_QG: Tensor, k: int) -> Tensor:
    """The std of the best reward over all k-subsets, [Q, 1]."""
    size = sorted_QG.shape[1]
    chance_G = sorted_QG.new_tensor([comb(rank, k - 1) / comb(size, k) for rank in range(size)])
    mean_Q1 = (chance_G * sorted_QG).sum(1, keepdim=True)
    return (chance_G * (sorted_QG - mean_Q1) ** 2).sum(1, keepdim=True).sqrt()


class PassAtK(AdvantageEstimator):
    """PKPO's exact worth of a rollout, by leaving it out, centred on the group's mean.

    With rewards of 0 and 1 and m = c / G it is
    ``A = k (R - m) u(c)`` with ``u(c) = C(G-1-c, k-1) / C(G-1, k-1)``, the chance that k - 1 of a
    wrong rollout's siblings are all wrong. The expected update is ``(1 - k/G)`` times the gradient
    of pass@k, ``w(p) = (1 - k/G) k (1-p)^(k-1)``. (The paper sums over rollouts where the loss
    takes their mean, hence the factor G; centring costs the factor ``1 - k/G``.) Groups with more
    than G - k right ones have no signal. Other rewards have the same meaning: in place of pass@k
    stands the mean of the best reward of k. ``k = 1`` is :class:`Centred`.

    With ``over_std`` it is pass@k training's advantage (arXiv 2508.10751): each k-subset has a
    reward, 0 or 1, which is normalised over all subsets, and a rollout gets the mean of those
    that it is in: ``(R - m) u(c) / sqrt(r (1-r))`` with ``r = 1 - C(G-c, k) / C(G, k)``. ``k = 1``
    is then :class:`GroupNormalised`.

    Args:
        k: of pass@k, below the size of every group.
        over_std: divide by the std of pass@k over the subsets.

    Raises:
        UserError: for k below 1.
    """

    exact_zeros: ClassVar[bool] = True

    def __init__(self, k: int = 4, over_std: bool = False) -> None:
        if k < 1:
            raise UserError(f"model.advantages.k must be at least 1, got {k}")
        self.k = k
        self.over_std = over_std

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """See :func:`best_of_k_advantages`."""
        return best_of_k_advantages(rewards_QG, self.k, self.over_std)

    def check(self, group_size: int) -> None:
        """With k = G there is one subset, so that nothing is left to compare."""
        if group_size <= self.k:
            raise UserError(
                f"model.advantages.k = {self.k} must be below the fewest rollouts of a question, "
                f"{group_size} (model.group_size, or what model.allocation gives at least)"
            )
