"""How sure the policy was of a rollout, as a whole or of what it had written so far.

Competence conditioning per trajectory or per token is future work of FG-ExPO (arXiv 2605.11403).
The signal is the geometric mean of the sampled tokens' probabilities, exp(mean log-prob): in
[0, 1], whatever the length, as rho's argument must be.
"""

import math

import torch
from torch import Tensor

from ..running_sum import running_sum


def confidence(logp_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Geometric mean of the probabilities of each rollout's tokens, [N]; 1 without any token.

    Args:
        logp_NT: log-probs of the tokens under the policy that sampled them, [N, T].
        mask_NT: True on real tokens, bool [N, T].
    """
    total_N = torch.where(mask_NT, logp_NT, 0.0).sum(1)
    # An engine's log-prob may be above 0 by rounding.
    return (total_N / mask_NT.sum(1).clamp_min(1)).exp().clamp(max=1.0)


def running_confidence(logp_NT: Tensor, mask_NT: Tensor, start: float, prior: float) -> Tensor:
    """The same mean over the tokens *before* each token, [N, T].

    ``exp((prior log(start) + sum of log-probs before t) / (prior + t))``: the first token is judged
    by ``start`` alone, and no token by itself or by a later one.

    Args:
        logp_NT: log-probs of the tokens under the policy that sampled them, [N, T].
        mask_NT: True on real tokens, which come first in each row, bool [N, T].
        start: probability that the prior stands for, in (0, 1].
        prior: its weight, in tokens, above 0.
    """
    known_NT = torch.where(mask_NT, logp_NT, 0.0)
    # Not the running sum less the token itself: that would round by the token's own value.
    before_NT = torch.nn.functional.pad(running_sum(known_NT)[:, :-1], (1, 0))
    seen_T = torch.arange(logp_NT.shape[1], device=logp_NT.device, dtype=logp_NT.dtype)
    mean_NT = (before_NT + prior * math.log(start)) / (seen_T + prior)
    return mean_NT.exp().clamp(max=1.0)
