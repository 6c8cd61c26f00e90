"""The slot of the KL penalty, and the estimators of a token's KL.

K3, the paper's (equation 3), is ``pi_ref / pi - log(pi_ref / pi) - 1`` per token. A new penalty is
one small class: subclass :class:`KLPenalty` and name it under ``model.loss.kl``.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


class KLPenalty(ABC):
    """What a token costs for leaving the reference.

    Attributes:
        in_reward: the penalty is only logged and no part of the loss; what the KL costs is taken
            off the rewards instead, see :class:`~fgexpo.losses.InReward`.
    """

    in_reward: bool = False

    @abstractmethod
    def penalty(self, logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor) -> Tensor:
        """Unscaled penalty of each token, with the gradient that it is to have, [N, T].

        Its value is an estimate of the token's KL, which is logged as ``kl``.

        Args:
            logp_NT: log-probs of the policy, with gradient, 0 in the padding.
            ref_logp_NT: log-probs of the reference, 0 in the padding.
            ratio_NT: policy over old policy, of each token, with gradient.
        """


def kl_estimate(logp_NT: Tensor, ref_logp_NT: Tensor, estimator: KLEstimator = "k3") -> Tensor:
    """Per-token estimate of KL(policy || reference) from the sampled token, [N, T].

    ``k1 = log(pi / ref)``, ``k2 = k1^2 / 2``, ``k3 = ref / pi - log(ref / pi) - 1`` (equation 3).
    Of the policy's own tokens, K1 and K3 are unbiased as numbers; K1's direct gradient has zero
    mean, K2's is on average the KL's, and K3's, which the paper uses, is that of KL(ref || pi).
    """
    log_ratio_NT = logp_NT - ref_logp_NT
    if estimator == "k1":
        return log_ratio_NT
    if estimator == "k2":
        return log_ratio_NT.square() / 2
    # expm1 keeps the digits that exp(x) - 1 loses where policy and reference nearly agree.
    return torch.expm1(-log_ratio_NT) + log_ratio_NT
