"""How much likelier the policy has become to act as it did: the ratio that a policy loss reads."""

from typing import Literal

import torch
from torch import Tensor

Ratio = Literal["token", "sequence"]


def importance_ratio(
    logp_NT: Tensor, old_logp_NT: Tensor, mask_NT: Tensor, ratio: Ratio = "token"
) -> Tensor:
    """How much likelier the policy makes a token, or on average a sequence's tokens, [N, T].

    Args:
        logp_NT: log-probs of the policy, with gradient, [N, T].
        old_logp_NT: log-probs of the policy that is compared with, [N, T].
        mask_NT: True on the tokens that count, [N, T]; elsewhere even NaN is ignored.
        ratio: ``token`` is ``pi / pi_old`` of each token. ``sequence`` is the geometric mean of
            these over a sequence's tokens, the same number for each of them, with gradient
            through the mean (GSPO's s_i).
    """
    # Padding is replaced before exp(): where(mask, exp(garbage), 0) would still backpropagate NaN.
    log_ratio_NT = torch.where(mask_NT, logp_NT - old_logp_NT, 0.0)
    if ratio == "sequence":
        lengths_N1 = mask_NT.sum(1, keepdim=True).clamp_min(1)
        mean_N1 = log_ratio_NT.sum(1, keepdim=True) / lengths_N1
        log_ratio_NT = torch.where(mask_NT, mean_N1, 0.0)
    return log_ratio_NT.exp()
