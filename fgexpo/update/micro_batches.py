"""How the rows of an optimizer step are cut up for one forward pass each.

The cut is made once a step, for scoring and updating alike, so that both round alike: where no
update has changed the policy, the ratio is exactly 1.
"""

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..groups import Groups
from ..parallel.collectives import largest


def cut(
    trainer: Trainer, rows: Tensor, lengths_N: Tensor, max_tokens: int, padded: bool
) -> list[Tensor]:
    """Cut an optimizer step's rows into micro-batches, as many on every process.

    Sharded weights are gathered by all processes at once, so none may have a forward pass more. A
    process with fewer rows than another has micro-batches gets empty ones: see :func:`stand_in`.

    Args:
        trainer: of this process.
        rows: this process's share of a mini-batch, int64 [n].
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
    """Halve the groups of most rows until there are ``count``; the last may have to be empty."""
    groups = list(groups)
    while len(groups) < count:
        most = max(range(len(groups)), key=lambda n: len(groups[n]))
        if len(groups[most]) == 1:
            nothing = groups[most][:0]
            return groups + [nothing] * (count - len(groups))
        half = (len(groups[most]) + 1) // 2
        groups[most : most + 1] = groups[most].split(half)
    return groups


def stand_in(rows: Tensor) -> Tensor:
    """The rows of a forward pass: where a micro-batch is empty, the first one, to be ignored."""
    return rows if len(rows) else rows.new_zeros(1)


def split(groups: Groups, questions: int) -> list[Tensor]:
    """The rows of each mini-batch, ``questions`` groups after one another.

    Raises:
        ValueError: if these do not divide the groups.
    """
    if len(groups) % questions:
        raise ValueError(f"{len(groups)} questions do not split into mini-batches of {questions}")
    rows = groups.rows
    return [
        torch.arange(rows[q].start, rows[q + questions - 1].stop)
        for q in range(0, len(groups), questions)
    ]
