"""Fill a rollout batch with rewards, advantages and the log-probs that its updates compare with.

Rewards come first, since they may decide which rollouts are trained on.
"""

from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import nn

from .advantages import group_advantages
from .distributed import gather_questions, own_questions
from .errors import UserError
from .heartbeat import beat, phase
from .logprobs import completion_logprobs
from .memory import explain_micro_batches
from .micro_batches import cut
from .mismatch import importance_weights
from .packing import is_packed
from .reference import Reference
from .rewards.reward import Graded, Reward
from .sequences import join
from .stats import REWARD_PREFIX, mismatch_columns, rollout_columns
from .types import RolloutBatch

if TYPE_CHECKING:
    from .module import GRPOModule


def score_rollouts(module: "GRPOModule", rollouts: RolloutBatch) -> None:
    """Add what the updates need besides rewards: advantages and log-probs."""
    # Over all processes: a scale may be that of the whole batch.
    advantages_QG = group_advantages(
        gather_questions(module.trainer, rollouts.reward_N.view(-1, module.group_size)),
        unbiased=module.advantage_unbiased,
        scale=module.advantage_scale,
    )
    rollouts.advantages_N = own_questions(module.trainer, advantages_QG).flatten()
    rollouts.sequences = join(rollouts.source.prompts, rollouts.completions, module.group_size)
    lengths_N, padded = rollouts.sequences.lengths_N, not is_packed(module.policy)
    rollouts.cuts = [
        cut(module.trainer, rows, lengths_N, module.micro_batch_tokens, padded)
        for rows in module.mini_batches(rollouts)
    ]
    with (
        phase("score"),
        explain_micro_batches("scoring", module.micro_batch_tokens),
        module.inference(),
    ):
        apply_logprobs(
            rollouts,
            module.policy,
            module.reference,
            module.sampling.temperature,
            module.device,
        )
    assert rollouts.old_logp_NT is not None
    done, settings = rollouts.completions, module.loss
    rollouts.weight_NT = importance_weights(
        rollouts.old_logp_NT,
        done.logp_NT,
        done.mask_NT,
        settings.correction,
        settings.correction_cap,
    )


def apply_rewards(rollouts: RolloutBatch, rewards: list[Reward]) -> None:
    """Set ``reward_N`` to the weighted sum of the rewards, and keep each one's scores."""
    done = rollouts.completions
    questions = [q for q in rollouts.source.questions for _ in range(rollouts.group_size)]
    lengths = done.lengths_N.tolist()
    columns = (questions, rollouts.texts, lengths, done.finish, rollouts.verdicts)
    graded = [Graded(*fields) for fields in zip(*columns, strict=True)]
    rollouts.reward_N = torch.zeros_like(rollouts.correct_N)
    for reward in rewards:
        with phase(f"reward by {type(reward).__name__}"):
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
        rollouts.columns[REWARD_PREFIX + reward.name] = score_N
        rollouts.reward_N += reward.weight * score_N


def apply_logprobs(
    rollouts: RolloutBatch,
    policy: nn.Module,
    reference: Reference | None,
    temperature: float,
    device: torch.device,
) -> None:
    """Set the log-probs of the old policy and the reference, micro-batch by micro-batch.

    Args:
        rollouts: with ``sequences`` and ``cuts`` set.
        policy: before its first update.
        reference: None leaves ``ref_logp_NT`` at None.
        temperature: of the rollouts.
        device: to compute on.
    """
    done, sequences = rollouts.completions, rollouts.sequences
    assert sequences is not None
    rollouts.old_logp_NT = torch.zeros_like(done.logp_NT)
    entropy_N = torch.zeros_like(rollouts.reward_N)
    for rows in chain.from_iterable(rollouts.cuts):
        beat()
        rollouts.old_logp_NT[rows], entropy_nT = completion_logprobs(
            policy, sequences.select(rows), temperature, entropy=True
        )
        assert entropy_nT is not None
        entropy_N[rows] = entropy_nT.sum(1)
    if reference is not None:
        rollouts.ref_logp_NT = torch.zeros_like(done.logp_NT)
        with reference.scoring(device) as model:
            for rows in chain.from_iterable(rollouts.cuts):
                beat()
                rollouts.ref_logp_NT[rows], _ = completion_logprobs(
                    model, sequences.select(rows), temperature
                )
    rollouts.columns |= rollout_columns(rollouts)
    rollouts.columns |= mismatch_columns(rollouts.old_logp_NT, done.logp_NT, done.mask_NT)
    rollouts.columns["entropy"] = entropy_N
