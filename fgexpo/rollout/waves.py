"""A step asks again, in waves, until it has enough questions that teach something.

A group whose rewards are all equal has no advantage, so nothing but the KL moves the policy on it.
DAPO's dynamic sampling (arXiv 2503.14476, section 3.2) draws further questions until the batch is
full of others. Here a step draws whole waves, at most ``max_waves``; every rollout counts, in the
curriculum, AKL's accuracy and ``num_rollouts``, so that runs are compared at equal cost. What is
left over is not kept for the next step, whose policy is another.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Trainer

from ..advantages.group import equal_rewards
from ..errors import UserError
from ..parallel.collectives import gather_questions
from ..parallel.move_questions import Plan, hand_over, join_rollouts
from ..seeding import hash_seed
from ..types import Asked, QuestionBatch, RolloutBatch
from ..update.prepare import apply_rewards

if TYPE_CHECKING:
    from ..module import GRPOModule


class Refill:
    """Draw further waves of ``questions_per_step`` while too few groups have a signal.

    Args:
        max_waves: draws a step at most, the first one included.

    Raises:
        UserError: for fewer than two, which would change nothing.
    """

    def __init__(self, max_waves: int = 4) -> None:
        if max_waves < 2:
            raise UserError(f"model.refill.max_waves must be at least 2, got {max_waves}")
        self.max_waves = max_waves

    def metrics(self, asked: Asked) -> dict[str, float]:
        """Tags and values of a step."""
        informative = float(asked.informative_A.float().mean())
        return {"refill/waves": float(asked.waves), "refill/informative_frac": informative}


def choose(informative_A: Sequence[bool], count: int) -> list[int]:
    """Which of the questions asked are trained on.

    Args:
        informative_A: whether each one's rewards differ, in the order drawn.
        count: questions of a batch, at most A.

    Returns:
        Numbers of the first ``count`` informative ones, filled up by the first of the others, in
        the order drawn: fillers at the end would make up mini-batches of their own.
    """
    ranked = sorted(range(len(informative_A)), key=lambda n: not informative_A[n])  # stable
    return sorted(ranked[:count])


def deal(chosen: Sequence[int], processes: int) -> Plan:
    """Who takes which of the chosen: they take turns, as with the questions of any draw.

    So did those who asked: question n of all waves put together is number n // W on process n % W.
    """
    return [
        [(n % processes, n // processes) for n in chosen[rank::processes]]
        for rank in range(processes)
    ]


def ask(module: "GRPOModule", batch: QuestionBatch) -> tuple[RolloutBatch, Asked]:
    """Turn a step's questions into rollouts with rewards, in as many waves as it takes.

    Every decision is made from what all processes have gathered, so all of them generate in every
    wave.

    Args:
        module: whose policy is asked.
        batch: this process's share of the first wave, Q questions.

    Returns:
        Q questions to train on, and what was asked for them.
    """
    trainer, refill = module.trainer, module.refill
    waves = [_wave(module, batch)]
    asked = _gather(trainer, waves[0])
    wanted = len(asked)
    while (
        refill is not None
        and len(waves) < refill.max_waves
        and int(asked.informative_A.sum()) < wanted
    ):
        more = trainer.datamodule.more_questions(len(waves), asked.index_A)  # pyright: ignore[reportAttributeAccessIssue]
        if more is None:
            break
        waves.append(_wave(module, more.to(module.device)))
        asked += _gather(trainer, waves[-1])
    if len(waves) == 1:
        return waves[0], asked
    seconds = {tag: sum(wave.seconds[tag] for wave in waves) for tag in waves[0].seconds}
    plan = deal(choose(asked.informative_A.tolist(), wanted), trainer.world_size)
    return hand_over(trainer, join_rollouts(waves, seconds), plan), asked


def _wave(module: "GRPOModule", questions: QuestionBatch) -> RolloutBatch:
    """This process's rollouts of one wave, rewarded."""

    def seed_of(question: str, sample: int) -> int:
        return hash_seed(module.seed, module.rollout_step, question, sample)

    rollouts = module.roll_out(questions, module.group_size, module.sampling, seed_of)
    started = time.perf_counter()
    apply_rewards(rollouts, module.rewards)
    rollouts.seconds["reward/seconds"] += time.perf_counter() - started
    return rollouts


def _gather(trainer: Trainer, rollouts: RolloutBatch) -> Asked:
    """What is remembered of each question of a wave, over all processes; one collective."""
    size = rollouts.group_size
    columns_Q = (
        rollouts.source.index_Q,
        rollouts.correct_QG.sum(1).long(),
        rollouts.completions.lengths_N.view(-1, size).sum(1),
        (~equal_rewards(rollouts.reward_N.view(-1, size))).long(),
    )
    gathered = gather_questions(trainer, torch.stack(columns_Q, 1)).cpu()
    index_A, correct_A, tokens_A, informative_A = gathered.unbind(1)
    return Asked(size, index_A, correct_A, tokens_A, informative_A.bool())
