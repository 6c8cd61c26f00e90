"""Triton kernels that read a slice of 16-bit logits once: what the LM head needs of it.

Each row of logits is one program's own, which adds it up in blocks of a fixed size. So a token's
numbers do not depend on how many tokens there are, nor on whether gradients are wanted: bit for
bit. Everything between reading and writing is float32.

The same source runs on a CPU by Triton's interpreter (``TRITON_INTERPRET=1``), where it is tested.
"""

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

# Logits that a program has at once: 16 for each of its threads.
BLOCK, WARPS = 4096, 8
# Below all logits, and finite: a product with 0 is 0.
_LOW = tl.constexpr(-1e30)


def summarise(
    logits_Mv: Tensor,
    target_M: Tensor,
    start: int,
    temperature: float,
    chosen_M: Tensor,
    mean: bool,
) -> tuple[Tensor, Tensor | None]:
    """Log of the sum of exponentials, and the mean logit, of one slice of the vocabulary.

    Args:
        logits_Mv: contiguous bf16 or fp16, left as they are.
        target_M: the token that each row's chosen one is, int64.
        start: the slice's first token.
        temperature: logits are divided by it.
        chosen_M: float32; takes the chosen tokens' logits where they are in this slice.
        mean: wanted, weighted by the probabilities within the slice.

    Returns:
        [M] each, float32; the second is None unless wanted.
    """
    lse_M = torch.empty_like(chosen_M)
    mean_M = torch.empty_like(chosen_M) if mean else None
    if len(logits_Mv):
        with torch.cuda.device_of(logits_Mv):
            launch: Any = _summarise[(len(logits_Mv),)]  # pyright: ignore[reportIndexIssue]
            launch(
                logits_Mv, target_M, chosen_M, lse_M, lse_M if mean_M is None else mean_M,
                start, logits_Mv.shape[1], temperature,
                SCALED=temperature != 1, MEAN=mean, BLOCK=BLOCK, num_warps=WARPS,
            )  # fmt: skip
    return lse_M, mean_M


def gradient_(
    logits_Mv: Tensor,
    target_M: Tensor,
    start: int,
    temperature: float,
    lse_M: Tensor,
    by_logp_M: Tensor,
    entropy_M: Tensor | None,
    by_entropy_M: Tensor | None,
) -> Tensor:
    """Turn a slice of logits into their gradient, in place.

    Args:
        logits_Mv: contiguous bf16 or fp16.
        target_M: the token that each row's chosen one is, int64.
        start: the slice's first token.
        temperature: logits are divided by it.
        lse_M: log of the sum of exponentials over the whole vocabulary, float32.
        by_logp_M: gradient of each log-prob, float32.
        entropy_M: of the whole vocabulary, float32; read only with the next one.
        by_entropy_M: gradient of each entropy; None where there is none.
    """
    rows, width = logits_Mv.shape
    if rows:
        with torch.cuda.device_of(logits_Mv):
            grid = (rows, triton.cdiv(width, BLOCK))
            launch: Any = _gradient[grid]  # pyright: ignore[reportIndexIssue]
            launch(
                logits_Mv, target_M, lse_M, by_logp_M,
                lse_M if by_entropy_M is None else entropy_M,
                lse_M if by_entropy_M is None else by_entropy_M,
                start, width, temperature,
                SCALED=temperature != 1, ENTROPY=by_entropy_M is not None, BLOCK=BLOCK,
                num_warps=WARPS,
            )  # fmt: skip
    return logits_Mv


# A slice's start is a number like any other, not a reason to compile again.
@triton.jit(do_not_specialize=["start", "temperature"])
def _summarise(
    logits, targets, chosen, lses, means, start, width, temperature,
    SCALED: tl.constexpr, MEAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column_B = tl.arange(0, BLOCK)
    top = tl.full((), _LOW, tl.float32)
    total_B = tl.zeros((BLOCK,), tl.float32)
    weighted_B = tl.zeros((BLOCK,), tl.float32)  # sum of exp(x - top) (x - top)
    for first in range(0, width, BLOCK):
        inside_B = first + column_B < width
        address = logits + row * width + first + column_B
        x_B = tl.load(address, mask=inside_B, other=0.0).to(tl.float32)
        if SCALED:
            x_B = x_B / temperature
        x_B = tl.where(inside_B, x_B, _LOW)  # fp16 has no such number
        higher = tl.maximum(top, tl.max(x_B, 0))
        shrink = tl.exp(top - higher)
        shifted_B = x_B - higher
        weight_B = tl.exp(shifted_B)
        if MEAN:
            weighted_B = shrink * (weighted_B + (top - higher) * total_B)
            weighted_B += weight_B * shifted_B
        total_B = shrink * total_B + weight_B
        top = higher
    total = tl.sum(total_B, 0)
    tl.store(lses + row, top + tl.log(total))
    if MEAN:
        tl.store(means + row, top + tl.sum(weighted_B, 0) / total)
    place = tl.load(targets + row) - start
    here = (place >= 0) & (place < width)
    x = tl.load(logits + row * width + place, mask=here, other=0.0).to(tl.float32)
    if SCALED:
        x = x / temperature
    tl.store(chosen + row, x, mask=here)


@triton.jit(do_not_specialize=["start", "temperature"])
def _gradient(
    logits, targets, lses, by_logps, entropies, by_entropies, start, width, temperature,
    SCALED: tl.constexpr, ENTROPY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column_B = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside_B = column_B < width
    address = logits + row * width + column_B
    x_B = tl.load(address, mask=inside_B, other=0.0).to(tl.float32)
    if SCALED:
        x_B = x_B / temperature
    logp_B = x_B - tl.load(lses + row)
    by_logp = tl.load(by_logps + row)
    factor_B = tl.full((BLOCK,), 0.0, tl.float32) + by_logp
    if ENTROPY:
        factor_B += (logp_B + tl.load(entropies + row)) * tl.load(by_entropies + row)
    place = tl.load(targets + row) - start
    found_B = tl.where(column_B == place, by_logp, 0.0) - tl.exp(logp_B) * factor_B
    if SCALED:
        found_B = found_B / temperature
    tl.store(address, found_B.to(logits.dtype.element_ty), mask=inside_B)
