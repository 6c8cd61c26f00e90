"""What the KL costs is taken off the rewards, and they are judged again.

Beta is known only once the callbacks have seen the batch, so this comes after them. The log-probs
of policy and reference are both the trainer's, cut into the same micro-batches: where the policy
is still the reference, the cost is exactly 0. The engine's would leave rounding in it, and an
advantage estimator that divides by a group's std would make a signal of that.
"""

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..advantages.estimator import AdvantageEstimator
from ..losses import PolicyLoss
from ..losses.in_reward import kl_cost
from ..parallel.collectives import mean_over_processes
from .batch import TrainingBatch
from .judge import judge


def charge_kl(
    trainer: Trainer,
    batch: TrainingBatch,
    loss: PolicyLoss,
    beta: float | Tensor,
    advantages: AdvantageEstimator,
) -> dict[str, float]:
    """Where the KL is in the reward, set the advantages of rewards less its cost.

    The batch's rewards stay as they are: ``reward``, verdicts, and what counts as a group without
    a signal know nothing of the KL.

    Args:
        trainer: of this process.
        batch: this process's rollouts, with the log-probs of policy and reference for all rows.
        loss: says where the KL is.
        beta: KL coefficient in force: a float, one per rollout [N], or one per token [N, T].
        advantages: the estimator; it sees the rewards of all processes.

    Returns:
        ``reward/kl_cost``, the mean that a rollout's reward has lost, over all processes; nothing
        with the KL in the loss, or without a reference.
    """
    if not loss.penalty().in_reward or batch.ref_logp_NT is None:
        return {}
    mask_NT = batch.completions.mask_NT
    cost_N = kl_cost(batch.old_logp_NT, batch.ref_logp_NT, mask_NT, beta).to(batch.reward_N)
    batch.advantages_N = judge(trainer, batch, batch.reward_N - cost_N, advantages, batch.known)
    # Processes may have different numbers of rollouts.
    own = {"cost": float(cost_N.sum(dtype=torch.float64)), "rollouts": float(len(cost_N))}
    means = mean_over_processes(trainer, own, cost_N.device)
    return {"reward/kl_cost": means["cost"] / means["rollouts"]}
