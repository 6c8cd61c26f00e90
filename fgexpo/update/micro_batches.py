"""How the rows of an optimizer step are cut up for one forward pass each.

The cut is made once a step, for scoring and updating alike, so that both round alike: where no
update has changed the policy, the ratio is exactly 1.
"""

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..parallel.collectives import largest


def cut(
    trainer: Trainer, rows: Tensor, lengths_N: Tensor, max_tokens: int, padded: bool
) -> list[Tensor]:
    """Cut an optimizer step's rows into micro-batches, as many on every process.

    Sharded weights are gathered by all processes at once, so none may have a forward pass more.

    Args:
        trainer: of this process.
        rows: this process's share of a mini-batch, int64 [n]; n is the same on all processes.
        lengths_N: real tokens of every row, [N].
        max_tokens: limit on the tokens of a micro-batch.
        padded: whether the model reads padded rows.
    """
    groups = pack(rows, lengths_N, max_tokens, padded)
    return level(groups, largest(trainer, len(groups)))


def pack(rows: Tensor, lengths_N: Tensor, max_tokens: int, padded: bool) -> list[Tensor]:
    """Cut rows, sorted by length, into groups of at most ``max_tokens`` tokens.

    A row longer than the limit goes alone.

    Args:
        rows: which rows, int64 [n].
        lengths_N: real tokens of every row, [N].
        max_tokens: limit on a group's real tokens, or on rows x longest where rows are padded.
        padded: which of the two.
    """
    lengths = lengths_N.cpu()[rows.cpu()]
    order = torch.argsort(lengths, descending=True, stable=True)
    groups: list[Tensor] = []
    start = tokens = 0
    for n, length in enumerate(lengths[order].tolist()):
        longest = int(lengths[order[start]])
        tokens = (n + 1 - start) * longest if padded else tokens + length
        if n > start and tokens > max_tokens:
            groups.append(rows[order[start:n]])
            start, tokens = n, length
    return [*groups, rows[order[start:]]]


def level(groups: list[Tensor], count: int) -> list[Tensor]:
    """Halve the groups of most rows until there are ``count``; there must be that many rows."""
    groups = list(groups)
    while len(groups) < count:
        most = max(range(len(groups)), key=lambda n: len(groups[n]))
        half = (len(groups[most]) + 1) // 2
        groups[most : most + 1] = groups[most].split(half)
    return groups


def split(count: int, size: int) -> list[Tensor]:
    """Contiguous slices of ``size`` rows.

    Raises:
        ValueError: if ``size`` does not divide ``count``.
    """
    if count % size:
        raise ValueError(f"{count} rollouts do not split into mini-batches of {size}")
    return list(torch.arange(count).split(size))
