"""Rewards become advantages, over all processes: an estimator may look at the whole batch."""

from lightning.pytorch import Trainer
from torch import Tensor

from ..advantages.estimator import AdvantageEstimator, Known
from ..curriculum.data import CurriculumData, estimates
from ..parallel.collectives import gather_questions
from ..parallel.gather_rollouts import gather_rollouts, own_rollouts
from ..types import RolloutBatch


def what_is_known(trainer: Trainer, rollouts: RolloutBatch, data: CurriculumData | None) -> Known:
    """What the curriculum says of the questions of all processes, before it learns of this step.

    Args:
        trainer: of this process.
        rollouts: this process's.
        data: the data module with a curriculum; None if there is none.
    """
    told = estimates(data)
    if told is None:
        return Known()
    index_Q = gather_questions(trainer, rollouts.source.index_Q)
    return Known(told.pass_rates(index_Q))


def judge(
    trainer: Trainer,
    rollouts: RolloutBatch,
    rewards_N: Tensor,
    advantages: AdvantageEstimator,
    known: Known,
) -> Tensor:
    """The advantages of this process's rollouts, [N].

    Args:
        trainer: of this process.
        rollouts: this process's.
        rewards_N: their rewards.
        advantages: the estimator; it sees the rewards of all processes.
        known: of the questions of all processes.
    """
    columns, groups = gather_rollouts(trainer, {"reward": rewards_N}, rollouts.groups)
    return own_rollouts(trainer, advantages.judge(columns["reward"], groups, known), groups)
