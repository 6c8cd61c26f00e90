"""Draw one token per row from logits and one uniform number per row."""

import torch
from torch import Tensor

from ..model.precision import precise
from ..running_sum import running_sum
from .engine import Sampling


def sample_tokens(
    logits_NV: Tensor, uniform_N: Tensor, sampling: Sampling
) -> tuple[Tensor, Tensor]:
    """Sample by inverting the cumulative distribution, so that a row needs only its own number.

    Args:
        logits_NV: [N, V].
        uniform_N: in [0, 1), [N].
        sampling: temperature, top-p and top-k; the latter two restrict the draw, not the returned
            log-prob.

    Returns:
        Tokens, int64 [N], and their log-probs under the tempered policy, [N].
    """
    logits_NV = logits_NV.to(precise(logits_NV.dtype))
    if sampling.temperature > 0:
        logits_NV = logits_NV / sampling.temperature
    logp_NV = logits_NV.log_softmax(-1)
    if sampling.temperature == 0:
        token_N = logp_NV.argmax(-1)
    else:
        token_N = _invert(_filtered(logp_NV.exp(), sampling), uniform_N)
    return token_N, logp_NV.gather(-1, token_N[:, None]).squeeze(-1)


def _filtered(probability_NV: Tensor, sampling: Sampling) -> Tensor:
    if sampling.top_k == 0 and sampling.top_p == 1:
        return probability_NV
    ordered_NV, order_NV = torch.sort(probability_NV, dim=-1, descending=True, stable=True)
    if sampling.top_k:
        ordered_NV[:, sampling.top_k :] = 0
    if sampling.top_p < 1:
        # As in other engines, top-p acts on the renormalised tokens that top-k has kept.
        share_NV = ordered_NV / ordered_NV.sum(-1, keepdim=True)
        before_NV = running_sum(share_NV) - share_NV
        ordered_NV[before_NV >= sampling.top_p] = 0
    return torch.zeros_like(probability_NV).scatter(-1, order_NV, ordered_NV)


def _invert(weight_NV: Tensor, uniform_N: Tensor) -> Tensor:
    cumulative_NV = running_sum(weight_NV)
    total_N1 = cumulative_NV[:, -1:]
    target_N1 = uniform_N[:, None] * total_N1
    # Rounding must not reach the total: only tokens of weight 0 lie beyond it.
    target_N1 = torch.minimum(target_N1, torch.nextafter(total_N1, torch.zeros_like(total_N1)))
    return torch.searchsorted(cumulative_NV, target_N1, right=True).squeeze(-1)
