"""Per-token values become one number."""

from typing import Literal

import torch
from torch import Tensor

Aggregation = Literal["token_mean", "sequence_mean", "dr_grpo"]


def aggregate(
    values_NT: Tensor,
    mask_NT: Tensor,
    aggregation: Aggregation,
    denominator: Tensor | float | None = None,
) -> Tensor:
    """Reduce per-token values to a scalar.

    Args:
        values_NT: [N, T].
        mask_NT: True on the tokens that count, [N, T]; a row without any is no sequence.
        aggregation: see :class:`~fgexpo.losses.PolicyLoss`.
        denominator: what to divide by, so that the sum over micro-batches is exact; None takes
            that of these tensors, with their width for the constant length of ``dr_grpo``.
    """
    kept_NT = torch.where(mask_NT, values_NT, 0.0)
    if aggregation == "sequence_mean":
        total = (kept_NT.sum(1) / mask_NT.sum(1).clamp_min(1)).sum()
    else:
        total = kept_NT.sum()
    if denominator is None:
        denominator = loss_denominator(mask_NT, aggregation, mask_NT.shape[1])
    # Where nothing counts, in the whole mini-batch, zero over zero is to be zero.
    return total / (denominator or 1.0)


def loss_denominator(
    mask_NT: Tensor,
    aggregation: Aggregation,
    constant_length: int,
    weight_N: Tensor | None = None,
) -> float:
    """What the sum over a mini-batch is divided by: its tokens, its sequences, or a constant each.

    Args:
        mask_NT: True on the tokens that count, [N, T]; a row without any is no sequence.
        aggregation: see :class:`~fgexpo.losses.PolicyLoss`.
        constant_length: tokens a sequence, for ``dr_grpo``.
        weight_N: how much each sequence, and each of its tokens, counts; None for 1.
    """
    counted_N = mask_NT.sum(1) if aggregation == "token_mean" else mask_NT.any(1)
    sequences = float(counted_N.sum() if weight_N is None else (counted_N * weight_N).sum())
    if aggregation == "token_mean":
        return sequences
    return sequences * constant_length if aggregation == "dr_grpo" else sequences
