"""Weighted draws without replacement, at the cost of a running sum."""

import numpy as np
import torch
from torch import Tensor


def draw_distinct(weights_M: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw rows one after another, each in proportion to the weights of the rows still left.

    Rows are drawn with replacement and repeats are discarded, which gives the same distribution.
    Drawn rows then get weight 0, so that a few heavy rows do not slow down the draw of the others.

    Args:
        weights_M: non-negative, float64 [M]; rows of weight 0 are never drawn.
        count: at most the rows that may be drawn.
        generator: makes the uniform numbers.

    Returns:
        Distinct rows in the order drawn, int64 [count].
    """
    # NumPy compares in a quarter of torch's time.
    if count > (possible := int(np.count_nonzero(weights_M.numpy() > 0))):
        raise ValueError(f"{count} distinct rows of {possible} that may be drawn")
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        running_M = weights_M.cumsum(0)
        uniform = torch.rand(count - len(drawn), dtype=torch.float64, generator=generator)
        rows = torch.searchsorted(running_M, uniform * running_M[-1], right=True)
        # Rounding can give an index past the last row, and the last row may have weight 0.
        rows = rows.clamp_max(len(weights_M) - 1)
        drawn.update(dict.fromkeys(rows[weights_M[rows] > 0].tolist()))
        if len(drawn) < count:
            weights_M = weights_M.index_fill(0, rows, 0.0)
    return torch.tensor(list(drawn), dtype=torch.int64)
