"""A step asks again, in waves, until it has enough questions that teach something.

A group without a signal, such as one whose rewards are all equal, has no advantage, so nothing but
the KL moves the policy on it; what a signal is, the advantage estimator says.
DAPO's dynamic sampling (arXiv 2503.14476, section 3.2) draws further questions until the batch is
full of others. Here a step draws whole waves, at most ``max_waves``; every rollout counts, in the
curriculum, AKL's accuracy and ``num_rollouts``, so that runs are compared at equal cost. What is
left over is not kept for the next step, whose policy is another.
"""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..curriculum.data import CurriculumData
from ..errors import UserError
from ..groups import Groups
from ..parallel.gather_rollouts import gather_rollouts
from ..parallel.move_questions import Plan, hand_over, join_rollouts
from ..types import Asked, QuestionBatch, RolloutBatch


class Refill:
    """Draw further waves of ``questions_per_step`` while too few groups have a signal.

    Args:
        max_waves: draws per step at most, the first one included.

    Raises:
        UserError: for fewer than two, which would change nothing.
    """

    def __init__(self, max_waves: int = 4) -> None:
        if max_waves < 2:
            raise UserError(f"model.refill.max_waves must be at least 2, got {max_waves}")
        self.max_waves = max_waves

    def check(self, group_size: int) -> None:
        """Check that a group of this size can have a signal.

        Raises:
            UserError: naming both settings.
        """
        if group_size < 2:
            raise UserError(
                "model.refill needs model.group_size of at least 2: a single reward has no signal"
            )

    def metrics(self, asked: Asked) -> dict[str, float]:
        """Tags and values of a step."""
        informative = float(asked.informative_A.float().mean())
        return {"refill/waves": float(asked.waves), "refill/informative_frac": informative}


def choose(informative_A: Sequence[bool], count: int) -> list[int]:
    """Which of the questions asked are trained on.

    Args:
        informative_A: whether each one's group has a signal, in the order drawn.
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


def ask(
    trainer: Trainer,
    questions: QuestionBatch,
    roll_out: Callable[[QuestionBatch], RolloutBatch],
    has_signal: Callable[[Tensor], Tensor],
    data: CurriculumData | None,
    refill: Refill | None,
) -> tuple[RolloutBatch, Asked]:
    """Turn a step's questions into rollouts with rewards, in as many waves as it takes.

    Every decision is made from what all processes have gathered, so all of them generate in every
    wave.

    Args:
        trainer: of this process.
        questions: this process's share of the first wave, Q questions.
        roll_out: makes graded, rewarded rollouts of a wave.
        has_signal: which groups teach something, from rewards [Q, G] to bool [Q].
        data: draws this process's share of further waves; not asked to without ``refill``.
        refill: how often; None for a single wave.

    Returns:
        Q questions to train on, and what was asked for them.
    """
    waves = [roll_out(questions)]
    asked = _gather(trainer, waves[0], has_signal)
    wanted, at_most = len(asked), 1 if refill is None else refill.max_waves
    while len(waves) < at_most and int(asked.informative_A.sum()) < wanted:
        assert data is not None
        drawn = data.more_questions(len(waves), asked.index_A)
        if drawn is None:
            break
        waves.append(roll_out(drawn))
        asked += _gather(trainer, waves[-1], has_signal)
    if len(waves) == 1:
        return waves[0], asked
    seconds = {tag: sum(wave.seconds[tag] for wave in waves) for tag in waves[0].seconds}
    plan = deal(choose(asked.informative_A.tolist(), wanted), trainer.world_size)
    return hand_over(trainer, join_rollouts(waves, seconds), plan), asked


def _gather(
    trainer: Trainer, rollouts: RolloutBatch, has_signal: Callable[[Tensor], Tensor]
) -> Asked:
    """What is remembered of each question of a wave, over all processes; one collective."""
    own = {
        "index": rollouts.groups.repeat(rollouts.source.index_Q),
        "correct": rollouts.correct_N,
        "tokens": rollouts.completions.lengths_N,
        "reward": rollouts.reward_N,
    }
    # float64 holds these integers and the rewards exactly.
    own = {name: column_N.double() for name, column_N in own.items()}
    found, groups = gather_rollouts(trainer, own, rollouts.groups)
    found = {name: column_N.cpu() for name, column_N in found.items()}
    return Asked(
        index_A=groups.means(found["index"]).long(),
        rollouts_A=torch.tensor(groups.sizes),
        planned_A=torch.tensor(groups.planned),
        correct_A=Groups(groups.planned).sums(groups.keep_planned(found["correct"])).long(),
        tokens_A=groups.sums(found["tokens"]).long(),
        # Over all processes, as the advantages will be: a signal may depend on the other groups.
        informative_A=groups.by_size(has_signal, found["reward"].to(rollouts.reward_N.dtype)),
    )
