"""Scalars that describe a step's rollouts, under the tags that TRL's users know.

Every process writes numbers per rollout; those of all processes are put together before anything
is averaged, so that a tag means the same on any number of processes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from ..advantages.estimator import AdvantageEstimator
from ..parallel.gather_rollouts import gather_rollouts
from ..rewards.reward import Reward, is_accuracy
from ..types import RolloutBatch
from .batch import TrainingBatch
from .mismatch import DIFFERENCE

REWARD_PREFIX = "rewards/"


def rollout_metrics(
    trainer: Trainer, batch: TrainingBatch, advantages: AdvantageEstimator
) -> dict[str, float]:
    """Tags and values of the step's rollouts, over all processes; known before any update.

    ``accuracy`` alone is that of all questions asked, since those trained on may be a selection.
    ``frac_reward_zero_std`` is the share of groups that have no signal by the estimator's word:
    their advantages are zero, so with a reference the KL alone moves the policy on them
    (``frac_kl_only``).

    Args:
        trainer: of this process.
        batch: its rollouts.
        advantages: the estimator, which knows what a group must show to teach something.
    """
    columns, groups = gather_rollouts(trainer, rollout_columns(batch), batch.groups)
    reward_N = columns["reward"]
    lengths_N, ended_N = columns["length"], columns["ended"]
    terminated = lengths_N[ended_N > 0]
    means = {
        name + "/mean": column.mean()
        for name, column in columns.items()
        if name.startswith(REWARD_PREFIX)
    }
    silent = (~groups.by_size(advantages.has_signal, reward_N)).to(reward_N).mean()
    std_Q = groups.by_size(lambda reward_QG: reward_QG.std(1, correction=0), reward_N)
    found = {
        **means,
        "accuracy": batch.asked.accuracy,
        "reward": reward_N.mean(),
        "reward_std": std_Q.mean(),
        "frac_reward_zero_std": silent,
        "frac_kl_only": silent if batch.ref_logp_NT is not None else 0.0,
        "reward/timeout_frac": columns["timed_out"].mean(),
        "reward/no_answer_frac": columns["unanswered"].mean(),
        "completions/mean_length": lengths_N.mean(),
        "completions/min_length": lengths_N.min(),
        "completions/max_length": lengths_N.max(),
        "completions/clipped_ratio": 1.0 - ended_N.mean(),
        "completions/mean_terminated_length": terminated.mean() if len(terminated) else 0.0,
    }
    return {tag: float(value) for tag, value in found.items()}


def policy_metrics(trainer: Trainer, batch: TrainingBatch) -> dict[str, float]:
    """What the old policy says of the rollouts, over all processes, once it has said so of all.

    Args:
        trainer: of this process.
        batch: its rollouts, after the first update's forward passes.
    """
    done = batch.completions
    own = {
        "length": done.lengths_N.to(done.logp_NT),
        "entropy": batch.entropy_N,
        **mismatch_columns(batch.old_logp_NT, done.logp_NT, done.mask_NT),
    }
    columns, _ = gather_rollouts(trainer, own, batch.groups)
    # Sums of lengths pass float32's exact integers in a large step.
    tokens = columns["length"].double().sum()
    found = {
        "entropy": columns["entropy"].double().sum() / tokens,
        DIFFERENCE: columns["difference_sum"].double().sum() / tokens,
        "sampling/sampling_logp_difference/max": columns["difference_max"].max(),
        "sampling/importance_sampling_ratio/min": columns["ratio_min"].min(),
        "sampling/importance_sampling_ratio/mean": columns["ratio_sum"].double().sum() / tokens,
        "sampling/importance_sampling_ratio/max": columns["ratio_max"].max(),
    }
    return {tag: float(value) for tag, value in found.items()}


def copies(tags: Iterable[str], rewards: Sequence[Reward]) -> set[str]:
    """Those tags that have another tag's value in every run with these rewards.

    ``frac_kl_only`` is ``frac_reward_zero_std``, or 0 without a reference. Accuracy as a run's only
    reward is ``reward`` and ``accuracy`` already; another reward is looked for by its own name.
    """
    found = {"frac_kl_only"}
    if is_accuracy(rewards):
        found |= {tag for tag in tags if tag.startswith(REWARD_PREFIX)}
    return found.intersection(tags)


def log_once(module: Any, metrics: Mapping[str, float]) -> None:
    """Log a step's scalars; callbacks can read copies too, but no logger draws a curve twice."""
    repeated = copies(metrics, module.rewards)
    module.log_dict({tag: x for tag, x in metrics.items() if tag not in repeated})
    module.log_dict({tag: metrics[tag] for tag in repeated}, logger=False)


def rollout_columns(batch: RolloutBatch) -> dict[str, Tensor]:
    """One number per rollout for each name: verdicts, rewards and lengths, [N] each."""
    lengths_N = batch.completions.lengths_N.to(batch.reward_N)
    flags = {
        "timed_out": [verdict.timed_out for verdict in batch.verdicts],
        "unanswered": [verdict.answer is None for verdict in batch.verdicts],
        "ended": [reason == "stop" for reason in batch.completions.finish],
    }
    return {
        **{name: lengths_N.new_tensor(up) for name, up in flags.items()},
        **{REWARD_PREFIX + name: score_N for name, score_N in batch.score_N.items()},
        "reward": batch.reward_N,
        "length": lengths_N,
    }


def mismatch_columns(
    trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor
) -> dict[str, Tensor]:
    """How far the engine's log-probs of its own samples are from the trainer's, [N] each.

    Tokens whose log-prob is not finite in training are left out of the distance: no engine is to
    blame for them, and their update is not made.
    """
    difference_NT = trainer_logp_NT - engine_logp_NT
    counted_NT = mask_NT & trainer_logp_NT.isfinite()
    distance_NT = torch.where(counted_NT, difference_NT.abs(), 0.0)
    ratio_NT = difference_NT.exp()
    infinity = float("inf")
    return {
        "difference_sum": distance_NT.sum(1),
        "difference_max": distance_NT.amax(1),
        "ratio_sum": torch.where(mask_NT, ratio_NT, 0.0).sum(1),
        "ratio_min": torch.where(mask_NT, ratio_NT, infinity).amin(1),
        "ratio_max": torch.where(mask_NT, ratio_NT, -infinity).amax(1),
    }
