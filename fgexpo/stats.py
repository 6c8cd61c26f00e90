"""Scalars that describe a step's rollouts, under the tags that TRL's users know.

Every process writes numbers a rollout; those of all processes are put together before anything is
averaged, so that a tag means the same on any number of processes.
"""

import torch
from torch import Tensor

from .advantages import equal_rewards
from .types import Asked, RolloutBatch

REWARD_PREFIX = "rewards/"


def rollout_columns(batch: RolloutBatch) -> dict[str, Tensor]:
    """Rewards and lengths a rollout, [N] each."""
    lengths_N = batch.completions.lengths_N.to(batch.reward_N)
    ended = [float(reason == "stop") for reason in batch.completions.finish]
    return {
        "reward": batch.reward_N,
        "length": lengths_N,
        "ended": lengths_N.new_tensor(ended),
    }


def policy_columns(batch: RolloutBatch) -> dict[str, Tensor]:
    """What the old policy says of each rollout, once it has said so of all, [N] each."""
    assert batch.old_logp_NT is not None and batch.entropy_N is not None
    done = batch.completions
    return {
        "length": done.lengths_N.to(done.logp_NT),
        "entropy": batch.entropy_N,
        **mismatch_columns(batch.old_logp_NT, done.logp_NT, done.mask_NT),
    }


def mismatch_columns(
    trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor
) -> dict[str, Tensor]:
    """How far the engine's log-probs of its own samples are from the trainer's, [N] each."""
    difference_NT = trainer_logp_NT - engine_logp_NT
    distance_NT = torch.where(mask_NT, difference_NT.abs(), 0.0)
    ratio_NT = difference_NT.exp()
    infinity = float("inf")
    return {
        "difference_sum": distance_NT.sum(1),
        "difference_max": distance_NT.amax(1),
        "ratio_sum": torch.where(mask_NT, ratio_NT, 0.0).sum(1),
        "ratio_min": torch.where(mask_NT, ratio_NT, infinity).amin(1),
        "ratio_max": torch.where(mask_NT, ratio_NT, -infinity).amax(1),
    }


def summarise(columns: dict[str, Tensor], asked: Asked) -> dict[str, float]:
    """Tags and values of one step, from the columns of the rollouts that it trains on.

    ``accuracy`` alone is that of all rollouts, since those trained on may be a selection.
    ``frac_reward_zero_std`` is the share of groups whose rewards are all equal: their advantages
    are zero, so with a reference the KL alone moves the policy on them.
    """
    reward_QG = columns["reward"].view(-1, asked.group_size)
    zero_std_Q = equal_rewards(reward_QG).to(reward_QG)
    lengths_N, ended_N = columns["length"], columns["ended"]
    terminated = lengths_N[ended_N > 0]
    means = {
        name + "/mean": column.mean()
        for name, column in columns.items()
        if name.startswith(REWARD_PREFIX)
    }
    found = {
        **means,
        "accuracy": asked.accuracy,
        "reward": columns["reward"].mean(),
        "reward_std": reward_QG.std(1, correction=0).mean(),
        "frac_reward_zero_std": zero_std_Q.mean(),
        "reward/timeout_frac": columns["timed_out"].mean(),
        "reward/no_answer_frac": columns["unanswered"].mean(),
        "completions/mean_length": lengths_N.mean(),
        "completions/min_length": lengths_N.min(),
        "completions/max_length": lengths_N.max(),
        "completions/clipped_ratio": 1.0 - ended_N.mean(),
        "completions/mean_terminated_length": terminated.mean() if len(terminated) else 0.0,
    }
    return {tag: float(value) for tag, value in found.items()}


def summarise_policy(columns: dict[str, Tensor]) -> dict[str, float]:
    """Tags and values of one step, from the columns of :func:`policy_columns`."""
    # Sums of lengths pass float32's exact integers in a large step.
    tokens = columns["length"].double().sum()
    found = {
        "entropy": columns["entropy"].double().sum() / tokens,
        "sampling/sampling_logp_difference/mean": columns["difference_sum"].double().sum() / tokens,
        "sampling/sampling_logp_difference/max": columns["difference_max"].max(),
        "sampling/importance_sampling_ratio/min": columns["ratio_min"].min(),
        "sampling/importance_sampling_ratio/mean": columns["ratio_sum"].double().sum() / tokens,
        "sampling/importance_sampling_ratio/max": columns["ratio_max"].max(),
    }
    return {tag: float(value) for tag, value in found.items()}
