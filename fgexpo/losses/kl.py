"""The slot of the KL penalty, and the estimators of equation (3).

K3, the paper's, is ``pi_ref / pi - log(pi_ref / pi) - 1`` per token. A new penalty is one small
class: subclass :class:`KLPenalty` and name it under ``model.loss.kl``.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


class KLPenalty(ABC):
    """What a token costs for leaving the reference."""

    @abstractmethod
    def penalty(self, logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor) -> Tensor:
        """Unscaled penalty of each token, with the gradient that it is to have, [N, T].

        Args:
            logp_NT: log-probs of the policy, with gradient, 0 in the padding.
            ref_logp_NT: log-probs of the frozen reference, 0 in the padding.
            ratio_NT: policy over old policy, with gradient.
        """


class K1(KLPenalty):
    """``log(pi / ref)``: unbiased as a number, but its own gradient has zero mean."""

    def penalty(self, logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor) -> Tensor:
        """See :func:`kl_estimate`."""
        return kl_estimate(logp_NT, ref_logp_NT, "k1")


class K2(KLPenalty):
    """``log(pi / ref)^2 / 2``, whose gradient is on average that of the KL."""

    def penalty(self, logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor) -> Tensor:
        """See :func:`kl_estimate`."""
        return kl_estimate(logp_NT, ref_logp_NT, "k2")


class K3(KLPenalty):
    """Equation (3), the paper's."""

    def penalty(self, logp_NT: Tensor, ref_logp_NT: Tensor, ratio_NT: Tensor) -> Tensor:
        """See :func:`kl_estimate`."""
        return kl_estimate(logp_NT, ref_logp_NT, "k3")


ESTIMATORS: dict[KLEstimator, type[KLPenalty]] = {"k1": K1, "k2": K2, "k3": K3}


def kl_estimate(logp_NT: Tensor, ref_logp_NT: Tensor, estimator: KLEstimator = "k3") -> Tensor:
    """Per-token estimate of KL(policy || reference) from the sampled token, [N, T].

    ``k1 = log(pi / ref)``, ``k2 = k1^2 / 2``, ``k3 = ref / pi - log(ref / pi) - 1`` (equation 3).
    K1 is unbiased as a number but its direct gradient has zero mean; K2's is the one that
    matches the KL's; K3 is what the paper uses.
    """
    log_ratio_NT = logp_NT - ref_logp_NT
    if estimator == "k1":
        return log_ratio_NT
    if estimator == "k2":
        return log_ratio_NT.square() / 2
    # expm1 keeps the digits that exp(x) - 1 loses where policy and reference nearly agree.
    return torch.expm1(-log_ratio_NT) + log_ratio_NT
