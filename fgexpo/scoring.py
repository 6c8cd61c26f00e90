"""Fill a rollout batch with rewards, advantages and the log-probs that its updates compare with."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .errors import UserError
from .logprobs import completion_logprobs
from .rewards.reward import Graded, Reward
from .rewards.verifier import Verdict
from .stats import mismatch_stats, rollout_stats
from .types import RolloutBatch


def apply_rewards(rollouts: RolloutBatch, verdicts: list[Verdict], rewards: list[Reward]) -> None:
    """Set ``reward_N`` to the weighted sum of the rewards, and log each one's mean."""
    done = rollouts.completions
    questions = [q for q in rollouts.source.questions for _ in range(rollouts.group_size)]
    columns = (questions, rollouts.texts, done.lengths_N.tolist(), done.finish, verdicts)
    graded = [Graded(*fields) for fields in zip(*columns, strict=True)]
    rollouts.reward_N = torch.zeros_like(rollouts.correct_N)
    for reward in rewards:
        score_N = torch.tensor(reward.score(graded)).to(rollouts.reward_N)
        if score_N.shape != rollouts.reward_N.shape:
            raise UserError(
                f"model.rewards: {type(reward).__name__}.score returned {score_N.numel()} scores "
                f"for {len(graded)} rollouts"
            )
        if not score_N.isfinite().all():
            raise UserError(
                f"model.rewards: {type(reward).__name__} gave a score that is not finite"
            )
        rollouts.metrics[f"rewards/{reward.name}/mean"] = float(score_N.mean())
        rollouts.reward_N += reward.weight * score_N


def apply_logprobs(
    rollouts: RolloutBatch,
    policy: nn.Module,
    reference: nn.Module | None,
    temperature: float,
    micro_batches: Iterable[Tensor],
) -> None:
    """Set the log-probs of the old policy and the reference.

    Args:
        rollouts: with ``sequences`` set.
        policy: before its first update.
        reference: None leaves ``ref_logp_NT`` at None.
        temperature: of the rollouts.
        micro_batches: rows to go through together. With those of the update, the rounding is the
            same too, and the first update's ratio is exactly 1.
    """
    done, sequences = rollouts.completions, rollouts.sequences
    assert sequences is not None
    rollouts.old_logp_NT = torch.zeros_like(done.logp_NT)
    rollouts.ref_logp_NT = torch.zeros_like(done.logp_NT) if reference is not None else None
    entropy_sum = 0.0
    for rows in micro_batches:
        part = sequences.select(rows)
        rollouts.old_logp_NT[rows], entropy_nT = completion_logprobs(
            policy, part, temperature, entropy=True
        )
        assert entropy_nT is not None
        entropy_sum += float(entropy_nT.sum())
        if reference is not None and rollouts.ref_logp_NT is not None:
            rollouts.ref_logp_NT[rows], _ = completion_logprobs(reference, part, temperature)
    rollouts.metrics |= rollout_stats(rollouts)
    rollouts.metrics |= mismatch_stats(rollouts.old_logp_NT, done.logp_NT, done.mask_NT)
    kl_only = rollouts.metrics["frac_reward_zero_std"] if reference is not None else 0.0
    rollouts.metrics["frac_kl_only"] = kl_only
    rollouts.metrics["entropy"] = entropy_sum / float(done.lengths_N.sum())
