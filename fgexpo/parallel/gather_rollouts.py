"""Numbers of every rollout, of all processes; groups may differ in size.

As with questions, process r of W holds every W-th group, starting with the r-th.
"""

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..groups import Groups
from .collectives import gather_questions


def gather_rollouts(
    trainer: Trainer, columns: dict[str, Tensor], groups: Groups
) -> tuple[dict[str, Tensor], Groups]:
    """Scalars per rollout, [N] each, of all processes; one collective for all of them.

    Args:
        trainer: of this process.
        columns: this process's; of one dtype, which holds the groups' sizes exactly.
        groups: this process's.

    Returns:
        The columns of all processes, question by question in the order of the draw, and their
        groups.
    """
    if trainer.world_size == 1:
        return columns, groups
    table_NC = torch.stack(list(columns.values()), 1)
    if groups.widest is None:
        assert groups.size is not None
        gathered = gather_questions(trainer, table_NC.view(-1, groups.size * len(columns)))
        everyone = Groups([groups.size] * len(gathered))
        rows_NC = gathered.reshape(-1, len(columns))
    else:
        found = gather_questions(trainer, _padded(table_NC, groups, groups.widest))
        sizes, planned = found[:, :2].long().T.tolist()
        everyone = Groups(sizes, planned, groups.widest)
        table_QGC = found[:, 2:].view(len(found), groups.widest, len(columns))
        rows_NC = torch.cat([row[:size] for row, size in zip(table_QGC, sizes, strict=True)])
    return dict(zip(columns, rows_NC.unbind(1), strict=True)), everyone


def _padded(table_NC: Tensor, groups: Groups, widest: int) -> Tensor:
    """A row per question: its group's size, how many are planned, and its rollouts, padded."""
    out_QX = table_NC.new_zeros(len(groups), 2 + widest * table_NC.shape[1])
    for q, rows in enumerate(groups.rows):
        numbers = table_NC[rows].flatten()
        out_QX[q, 0], out_QX[q, 1] = groups.sizes[q], groups.planned[q]
        out_QX[q, 2 : 2 + len(numbers)] = numbers
    return out_QX


def own_rollouts(trainer: Trainer, values_N: Tensor, everyone: Groups) -> Tensor:
    """This process's share of all rollouts' values.

    Args:
        trainer: of this process.
        values_N: of all processes.
        everyone: their groups.
    """
    own = everyone.rows[trainer.global_rank :: trainer.world_size]
    return torch.cat([values_N[rows] for rows in own])
