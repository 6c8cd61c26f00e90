"""Rollouts become a training batch: advantages, and the log-probs that the updates compare with.

The first update's own forward pass is the old policy's on the rows of that update; only the others
are scored here.
"""

from itertools import chain

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from ..advantages.estimator import AdvantageEstimator, Known
from ..heartbeat import beat
from ..model.logprobs import completion_logprobs
from ..model.packing import is_packed
from ..model.sequences import join
from ..types import Asked, RolloutBatch
from .batch import TrainingBatch
from .judge import judge
from .micro_batches import cut, split, stand_in
from .reference import Reference


def prepare(
    trainer: Trainer,
    rollouts: RolloutBatch,
    asked: Asked,
    advantages: AdvantageEstimator,
    known: Known,
    policy: nn.Module,
    *,
    questions_per_update: int,
    micro_batch_tokens: int,
    weight_N: Tensor | None = None,
) -> TrainingBatch:
    """Judge the rollouts and cut them into micro-batches.

    Args:
        trainer: of this process.
        rollouts: this process's, graded.
        asked: what the step has asked, over all processes.
        advantages: the estimator; it sees the rewards of all processes.
        known: of the questions of all processes, before this step.
        policy: which reads packed rows or padded ones.
        questions_per_update: questions of an optimizer step on this process.
        micro_batch_tokens: limit on the tokens of a forward pass.
        weight_N: how much each rollout counts in the loss; None where all count 1.
    """
    sequences = join(rollouts.source.prompts, rollouts.completions, rollouts.groups)
    padded = not is_packed(policy)
    mini_batches = split(rollouts.groups, questions_per_update)
    return TrainingBatch(
        **vars(rollouts),
        asked=asked,
        known=known,
        weight_N=None if weight_N is None else weight_N.to(rollouts.reward_N),
        advantages_N=judge(trainer, rollouts, rollouts.reward_N, advantages, known),
        sequences=sequences,
        cuts=[
            cut(trainer, rows, sequences.lengths_N, micro_batch_tokens, padded)
            for rows in mini_batches
        ],
    )


def score(
    batch: TrainingBatch,
    policy: nn.Module,
    reference: Reference | None,
    temperature: float,
    device: torch.device,
    all_rows: bool = False,
) -> None:
    """Note what the updates compare with: the old policy's log-probs, and the reference's.

    Args:
        batch: where they are noted; the first update's own forward pass is the old policy's.
        policy: before its first update.
        reference: frozen; None without a KL term.
        temperature: of the rollouts.
        device: to compute on.
        all_rows: note the old policy's of the first update's rows now, since they are needed
            before it.
    """
    score_policy(batch, batch.cuts if all_rows else batch.cuts[1:], policy, temperature)
    if reference is not None:
        score_reference(batch, reference, temperature, device)


def score_policy(
    batch: TrainingBatch, cuts: list[list[Tensor]], policy: nn.Module, temperature: float
) -> None:
    """Note the old policy's log-probs and entropies, micro-batch by micro-batch.

    Args:
        batch: where they are noted.
        cuts: rows of each micro-batch, one list per optimizer step.
        policy: before its first update.
        temperature: of the rollouts.
    """
    for rows in chain.from_iterable(cuts):
        beat()
        part = batch.sequences.select(stand_in(rows))
        logp_nT, entropy_nT = completion_logprobs(policy, part, temperature, entropy=True)
        assert entropy_nT is not None
        if len(rows):
            batch.note_old_policy(rows, logp_nT, entropy_nT)


def score_reference(
    batch: TrainingBatch, reference: Reference, temperature: float, device: torch.device
) -> None:
    """Set the reference's log-probs of all rows.

    Args:
        batch: where they are noted.
        reference: frozen.
        temperature: of the rollouts.
        device: to compute on.
    """
    batch.ref_logp_NT = torch.zeros_like(batch.completions.logp_NT)
    with reference.scoring(device) as model:
        for rows in chain.from_iterable(batch.cuts):
            beat()
            part = batch.sequences.select(stand_in(rows))
            logp_nT, _ = completion_logprobs(model, part, temperature)
            if len(rows):
                batch.ref_logp_NT[rows] = logp_nT.to(batch.ref_logp_NT)
