"""Moves questions between processes after generation, so that all have about as many tokens.

In every update, all processes wait for the slowest one. Lengths are known only after generation.
Questions then move, with all their rollouts, within their optimizer step, which changes neither a
gradient nor a metric.
"""

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..heartbeat import EXCHANGE, phase
from ..types import RolloutBatch
from .move_questions import Plan, hand_over


def balance(trainer: Trainer, rollouts: RolloutBatch, questions: int) -> RolloutBatch:
    """Exchange questions between the processes.

    Args:
        trainer: this process's trainer.
        rollouts: from the engine and the verifier, with equally many questions on each process.
        questions: per optimizer step on each process.

    Returns:
        Equally many questions, those of each optimizer step together.
    """
    if trainer.world_size == 1:
        return rollouts
    groups, device = rollouts.groups, trainer.strategy.root_device
    prompts_Q = torch.tensor([len(prompt) for prompt in rollouts.source.prompts])
    read_Q = torch.tensor(groups.sizes) * prompts_Q
    own_Q = (read_Q + groups.sums(rollouts.completions.lengths_N.cpu())).to(device)
    shares = [torch.empty_like(own_Q) for _ in range(trainer.world_size)]
    with phase(EXCHANGE):
        torch.distributed.all_gather(shares, own_Q)
    return hand_over(trainer, rollouts, assign(torch.stack(shares).cpu(), questions))


def assign(tokens_WQ: Tensor, questions: int) -> Plan:
    """Assign questions, longest first, each to the process with the fewest tokens and room left.

    Args:
        tokens_WQ: tokens of each process's questions, [W, Q].
        questions: per optimizer step on each process; a divisor of Q.

    Returns:
        For every process, the Q questions that it takes, as (process that has it, its number
        there); those of an optimizer step stay together.
    """
    processes, count = tokens_WQ.shape
    plan: Plan = [[] for _ in range(processes)]
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
