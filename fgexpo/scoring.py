"""Fill a rollout batch with rewards, advantages and the log-probs that its updates compare with.

Rewards come first, since they may decide which rollouts are trained on. The first update's own
forward pass is the old policy's on the rows of that update; only the others are scored here.
"""

from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .advantages import group_advantages
from .distributed import gather_questions, own_questions
from .errors import UserError
from .heartbeat import beat, phase
from .logprobs import completion_logprobs
from .memory import explain_micro_batches
from .micro_batches import cut
from .packing import is_packed
from .reference import Reference
from .rewards.reward import Graded, Reward
from .sequences import join
from .stats import REWARD_PREFIX, rollout_columns
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
        temperature = module.sampling.temperature
        score_policy(rollouts, rollouts.cuts[1:], module.policy, temperature)
        if module.reference is not None:
            score_reference(rollouts, module.reference, temperature, module.device)
    rollouts.columns |= rollout_columns(rollouts)


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
            score_N = rollouts.reward_N.new_tensor(reward.score(graded))
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


def score_policy(
    rollouts: RolloutBatch, cuts: list[list[Tensor]], policy: nn.Module, temperature: float
) -> None:
    """Note the old policy's log-probs and entropies, micro-batch by micro-batch.

    Args:
        rollouts: with ``sequences`` set.
        cuts: rows of each micro-batch, one list an optimizer step.
        policy: before its first update.
        temperature: of the rollouts.
    """
    assert rollouts.sequences is not None
    for rows in chain.from_iterable(cuts):
        beat()
        part = rollouts.sequences.select(rows)
        logp_nT, entropy_nT = completion_logprobs(policy, part, temperature, entropy=True)
        assert entropy_nT is not None
        rollouts.note_old_policy(rows, logp_nT, entropy_nT)


def score_reference(
    rollouts: RolloutBatch, reference: Reference, temperature: float, device: torch.device
) -> None:
    """Set the reference's log-probs of all rows.

    Args:
        rollouts: with ``sequences`` and ``cuts`` set.
        reference: frozen.
        temperature: of the rollouts.
        device: to compute on.
    """
    assert rollouts.sequences is not None
    rollouts.ref_logp_NT = torch.zeros_like(rollouts.completions.logp_NT)
    with reference.scoring(device) as model:
        for rows in chain.from_iterable(rollouts.cuts):
            beat()
            part = rollouts.sequences.select(rows)
            logp_nT, _ = completion_logprobs(model, part, temperature)
            rollouts.ref_logp_NT[rows] = logp_nT.to(rollouts.ref_logp_NT)
