"""Questions change hands after generation, so that every process has about as many tokens.

All processes wait for the slowest in every update. Lengths are known only once the rollouts are
there; questions with all their rollouts then move within their optimizer step, which changes
neither a gradient nor a metric.
"""

from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn.functional import pad

from .heartbeat import EXCHANGE, phase
from .types import Completions, QuestionBatch, RolloutBatch


def balance(trainer: Trainer, rollouts: RolloutBatch, questions: int) -> RolloutBatch:
    """Exchange questions between the processes.

    Args:
        trainer: of this process.
        rollouts: as the engine and the verifier left them, with as many questions on each process.
        questions: of an optimizer step on each process.

    Returns:
        As many questions again, those of each optimizer step together.
    """
    if trainer.world_size == 1:
        return rollouts
    size, me, device = rollouts.group_size, trainer.global_rank, trainer.strategy.root_device
    prompts_Q = torch.tensor([len(prompt) for prompt in rollouts.source.prompts])
    own_Q = size * prompts_Q + rollouts.completions.lengths_N.cpu().view(-1, size).sum(1)
    own_Q = own_Q.to(device)
    shares = [torch.empty_like(own_Q) for _ in range(trainer.world_size)]
    with phase(EXCHANGE):
        torch.distributed.all_gather(shares, own_Q)
    plan = assign(torch.stack(shares).cpu(), questions)
    stay = {question for rank, question in plan[me] if rank == me}
    leaving = {q: _question(rollouts, q, "cpu") for q in range(len(own_Q)) if q not in stay}
    offers: list[dict[int, RolloutBatch]] = [{} for _ in plan]
    with phase(EXCHANGE):
        torch.distributed.all_gather_object(offers, leaving)
    taken = [
        _question(rollouts, question, device)
        if rank == me
        else _question(offers[rank][question], 0, device)
        for rank, question in plan[me]
    ]
    return _join(taken, rollouts.seconds)


def assign(tokens_WQ: Tensor, questions: int) -> list[list[tuple[int, int]]]:
    """Who takes what: the longest first, each to the process with the fewest tokens and room left.

    Args:
        tokens_WQ: tokens of each process's questions, [W, Q].
        questions: of an optimizer step on each process; a divisor of Q.

    Returns:
        Of every process, the Q questions that it takes, as (process that has it, its number
        there); those of an optimizer step stay together.
    """
    processes, count = tokens_WQ.shape
    plan: list[list[tuple[int, int]]] = [[] for _ in range(processes)]
    for start in range(0, count, questions):
        step = tokens_WQ[:, start : start + questions]
        load, room = [0] * processes, [questions] * processes
        for place in torch.argsort(step.flatten(), descending=True, stable=True).tolist():
            rank, question = divmod(place, questions)
            taker = min((w for w in range(processes) if room[w]), key=lambda w: (load[w], w))
            plan[taker].append((rank, start + question))
            load[taker] += int(step[rank, question])
            room[taker] -= 1
    return plan


def _question(batch: RolloutBatch, number: int, device: Any) -> RolloutBatch:
    """One question with its G rollouts, in memory of its own."""
    rows = slice(number * batch.group_size, (number + 1) * batch.group_size)
    done = batch.completions

    def take(tensor: Tensor) -> Tensor:
        return tensor[rows].to(device, copy=True)

    return replace(
        batch,
        source=batch.source.select([number]).to(device),
        completions=Completions(
            take(done.tokens_NT), take(done.lengths_N), done.finish[rows], take(done.logp_NT)
        ),
        texts=batch.texts[rows],
        verdicts=batch.verdicts[rows],
        correct_N=take(batch.correct_N),
        reward_N=take(batch.reward_N),
        advantages_N=take(batch.advantages_N),
        columns={name: take(column) for name, column in batch.columns.items()},
    )


def _join(parts: list[RolloutBatch], seconds: dict[str, float]) -> RolloutBatch:
    """Put rollouts behind one another."""
    width = max(part.completions.tokens_NT.shape[1] for part in parts)
    done = [part.completions for part in parts]

    def widen(tensors: list[Tensor]) -> Tensor:
        return torch.cat([pad(tensor, (0, width - tensor.shape[1])) for tensor in tensors])

    def column(name: str) -> Tensor:
        return torch.cat([part.columns[name] for part in parts])

    return RolloutBatch(
        source=QuestionBatch(
            torch.cat([part.source.index_Q for part in parts]),
            [question for part in parts for question in part.source.questions],
            [prompt for part in parts for prompt in part.source.prompts],
            parts[0].source.dataset,
        ),
        group_size=parts[0].group_size,
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
        advantages_N=torch.cat([part.advantages_N for part in parts]),
        columns={name: column(name) for name in parts[0].columns},
        seconds=seconds,
    )
