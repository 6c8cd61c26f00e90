"""The clipped surrogate: what an update gains by making rollouts more or less likely.

Equation (2) of FG-ExPO (arXiv 2605.11403), ``min(r A, clip(r, 1 - low, 1 + high) A)``, with a ratio
``r = pi / pi_old`` a token, or as GSPO has it (arXiv 2507.18071) a sequence.
"""

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


def surrogate_loss(
    ratio_NT: Tensor,
    advantages_N: Tensor,
    clip_low: float,
    clip_high: float,
    dual_clip: float | None = None,
) -> Tensor:
    """Per-token clipped surrogate to minimise (equation 2, negated), [N, T]."""
    advantages_N1 = advantages_N[:, None]
    clipped_NT = ratio_NT.clamp(1 - clip_low, 1 + clip_high)
    loss_NT = torch.maximum(-ratio_NT * advantages_N1, -clipped_NT * advantages_N1)
    if dual_clip is None:
        return loss_NT
    cap_N1 = -dual_clip * advantages_N1
    return torch.where(advantages_N1 < 0, torch.minimum(loss_NT, cap_N1), loss_NT)


def clipped_tokens(
    ratio_NT: Tensor, advantages_N: Tensor, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Where the clip cuts the gradient, at its lower and at its upper bound: 0 or 1, [N, T] each.

    A sequence's ratio is cut on all of its tokens or on none.
    """
    ratio_NT, advantages_N1 = ratio_NT.detach(), advantages_N[:, None]
    low_NT = (ratio_NT < 1 - clip_low) & (advantages_N1 < 0)
    high_NT = (ratio_NT > 1 + clip_high) & (advantages_N1 > 0)
    return low_NT.to(ratio_NT), high_NT.to(ratio_NT)
