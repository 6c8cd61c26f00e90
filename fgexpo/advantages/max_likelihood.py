"""Advantages that maximise the likelihood of success (MaxRL, arXiv 2602.02710)."""

import torch
from torch import Tensor

from .group import group_advantages
from .right import ByRight


class MaxLikelihood(ByRight):
    """``A = (R - mean_g R) / m``, m the share of right rollouts; 0 where none is right.

    With rewards of 0 and 1 the expected update is ``w(p) = (1 - (1-p)^(G-1)) / p`` times the
    gradient of p: that of log p, as far as G rollouts can tell. Under shaped rewards (see
    :class:`ByRight`) the shape moves the centred reward, and m still counts right rollouts: a
    mean near 0, or below it, blows nothing up.

    Args:
        right_above: the reward above which a rollout is right.
    """

    def __call__(self, rewards_QG: Tensor) -> Tensor:
        """Centred rewards over the share of right ones."""
        share_Q1 = self.share(rewards_QG)[:, None]
        centred_QG = group_advantages(rewards_QG, scale="none")
        return torch.where(share_Q1 > 0, centred_QG / share_Q1, 0.0)
