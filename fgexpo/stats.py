"""Scalars that describe a rollout batch, under the tags that TRL's users know."""

from torch import Tensor

from .types import RolloutBatch


def rollout_stats(batch: RolloutBatch) -> dict[str, float]:
    """Rewards, groups and lengths of a graded batch.

    ``frac_reward_zero_std`` is the share of groups whose rewards are all equal: their advantages
    are zero, so with a reference the KL alone moves the policy on them.
    """
    reward_QG = batch.reward_N.view(-1, batch.group_size)
    zero_std_Q = (reward_QG == reward_QG[:, :1]).all(1).float()
    lengths_N = batch.completions.lengths_N.float()
    ended = [reason == "stop" for reason in batch.completions.finish]
    terminated = lengths_N[[i for i, end in enumerate(ended) if end]]
    return {
        "accuracy": float(batch.correct_N.mean()),
        "reward": float(batch.reward_N.mean()),
        "reward_std": float(reward_QG.std(1, correction=0).mean()),
        "frac_reward_zero_std": float(zero_std_Q.mean()),
        "completions/mean_length": float(lengths_N.mean()),
        "completions/min_length": float(lengths_N.min()),
        "completions/max_length": float(lengths_N.max()),
        "completions/clipped_ratio": 1.0 - sum(ended) / len(ended),
        "completions/mean_terminated_length": float(terminated.mean()) if any(ended) else 0.0,
    }


def mismatch_stats(
    trainer_logp_NT: Tensor, engine_logp_NT: Tensor, mask_NT: Tensor
) -> dict[str, float]:
    """How far the engine's log-probs of its own samples are from the trainer's."""
    difference_M = (trainer_logp_NT - engine_logp_NT)[mask_NT]
    ratio_M = difference_M.exp()
    return {
        "sampling/sampling_logp_difference/mean": float(difference_M.abs().mean()),
        "sampling/sampling_logp_difference/max": float(difference_M.abs().max()),
        "sampling/importance_sampling_ratio/min": float(ratio_M.min()),
        "sampling/importance_sampling_ratio/mean": float(ratio_M.mean()),
        "sampling/importance_sampling_ratio/max": float(ratio_M.max()),
    }
