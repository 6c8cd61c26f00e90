"""Estimates of KL(policy || reference) a token: equation (3)."""

from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


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
