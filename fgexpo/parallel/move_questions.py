"""Moves questions between processes, with all their rollouts.

The plan is made elsewhere, and is the same on all processes.
"""

from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn.functional import pad

from ..groups import Groups
from ..heartbeat import EXCHANGE, phase
from ..types import Completions, QuestionBatch, RolloutBatch

# For every process, the questions that it takes, as (process that has it, its number there).
Plan = list[list[tuple[int, int]]]


def hand_over(trainer: Trainer, rollouts: RolloutBatch, plan: Plan) -> RolloutBatch:
    """Exchange questions between the processes; a question that no process takes is dropped.

    Args:
        trainer: of this process.
        rollouts: this process's, graded but not yet prepared for training.
        plan: the same on all processes.

    Returns:
        This process's part of the plan, in its order.
    """
    me, device = trainer.global_rank, rollouts.correct_N.device
    leaving = [
        {
            question: _question(rollouts, question, "cpu")
            for rank, question in taken
            if rank == me != taker
        }
        for taker, taken in enumerate(plan)
    ]
    offers = _exchange(leaving, me)
    taken = [
        _question(rollouts, question, device)
        if rank == me
        else _question(offers[rank][question], 0, device)
        for rank, question in plan[me]
    ]
    return join_rollouts(taken, rollouts.seconds)


def _exchange(leaving: list[dict[int, RolloutBatch]], me: int) -> list[dict[int, RolloutBatch]]:
    """What each process sends to this one; each unpickles only what is meant for it.

    Args:
        leaving: what this process sends to each.
        me: this process's rank.
    """
    offers: list[dict[int, RolloutBatch]] = [{} for _ in leaving]
    if len(leaving) > 1:
        with phase(EXCHANGE):
            for giver in range(len(leaving)):
                box: list[Any] = [None]
                given = leaving if giver == me else None
                torch.distributed.scatter_object_list(box, given, src=giver)
                offers[giver] = box[0]
    return offers


def _question(batch: RolloutBatch, number: int, device: Any) -> RolloutBatch:
    """One question with its rollouts, in memory of its own."""
    held = batch.groups.rows[number]
    rows, groups = list(range(held.start, held.stop)), batch.groups.select([number])
    return take_rows(batch, rows, batch.source.select([number]).to(device), groups, device)


def take_rows(
    batch: RolloutBatch, rows: list[int], source: QuestionBatch, groups: Groups, device: Any
) -> RolloutBatch:
    """Some of the rollouts, in memory of their own.

    Args:
        batch: graded but not yet prepared for training.
        rows: which, question by question.
        source: their questions.
        groups: how many each of these has.
        device: for the tensors.
    """
    done = batch.completions

    def take(tensor: Tensor) -> Tensor:
        return tensor[rows].to(device)

    return replace(
        batch,
        source=source,
        groups=groups,
        completions=Completions(
            take(done.tokens_NT),
            take(done.lengths_N),
            [done.finish[row] for row in rows],
            take(done.logp_NT),
        ),
        texts=[batch.texts[row] for row in rows],
        verdicts=[batch.verdicts[row] for row in rows],
        correct_N=take(batch.correct_N),
        reward_N=take(batch.reward_N),
        score_N={name: take(score) for name, score in batch.score_N.items()},
    )


def join_rollouts(parts: list[RolloutBatch], seconds: dict[str, float]) -> RolloutBatch:
    """Concatenate graded rollouts; ``seconds`` are those of the whole."""
    width = max(part.completions.tokens_NT.shape[1] for part in parts)
    done = [part.completions for part in parts]

    def widen(tensors: list[Tensor]) -> Tensor:
        return torch.cat([pad(tensor, (0, width - tensor.shape[1])) for tensor in tensors])

    return RolloutBatch(
        source=QuestionBatch(
            torch.cat([part.source.index_Q for part in parts]),
            [question for part in parts for question in part.source.questions],
            [prompt for part in parts for prompt in part.source.prompts],
            parts[0].source.dataset,
        ),
        groups=Groups.join(part.groups for part in parts),
        completions=Completions(
            widen([some.tokens_NT for some in done]),
            torch.cat([some.lengths_N for some in done]),
            [reason for some in done for reason in some.finish],
            widen([some.logp_NT for some in done]),
        ),
        texts=[text for part in parts for text in part.texts],
        verdicts=[verdict for part in parts for verdict in part.verdicts],
        correct_N=torch.cat([part.correct_N for part in parts]),
        reward_N=torch.cat([part.reward_N for part in parts]),
        score_N={
            name: torch.cat([part.score_N[name] for part in parts]) for name in parts[0].score_N
        },
        seconds=seconds,
    )
