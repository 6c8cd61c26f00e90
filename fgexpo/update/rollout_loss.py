"""The loss of some rows of a training batch: what the objective needs is taken from the batch."""

import torch
from torch import Tensor, nn

from ..losses import Aggregation, LossOutput, PolicyLoss, loss_denominator, objective
from ..model.logprobs import completion_logprobs
from .batch import TrainingBatch
from .micro_batches import stand_in


def counted_tokens(settings: PolicyLoss, batch: TrainingBatch, rows: Tensor) -> Tensor:
    """True on the completion tokens that a loss is made of, bool [n, T].

    Args:
        settings: whether rows that met the token limit are left out.
        batch: with completions.
        rows: which rollouts, [n].
    """
    done = batch.completions
    mask_nT = done.mask_NT[rows]
    if not settings.mask_truncated:
        return mask_nT
    ended_n = torch.tensor([done.finish[row] == "stop" for row in rows.tolist()])
    return mask_nT & ended_n.to(mask_nT.device)[:, None]


def update_denominator(
    settings: PolicyLoss,
    batch: TrainingBatch,
    rows: Tensor,
    max_new_tokens: int,
    aggregation: Aggregation | None = None,
) -> float:
    """What a mini-batch's summed loss is divided by; its micro-batches all use this number.

    It is 0 if nothing counts. The mean over the processes then decides for all of them: only if
    that is 0 too, the update is made with a gradient of zero, as it is if all advantages are zero.

    Args:
        settings: the aggregation, and which rows are left out.
        batch: with completions.
        rows: those of the mini-batch.
        max_new_tokens: the constant length of ``dr_grpo``.
        aggregation: None for that of the settings.
    """
    mask_nT = counted_tokens(settings, batch, rows)
    weight_n = None if batch.weight_N is None else batch.weight_N[rows]
    return loss_denominator(mask_nT, aggregation or settings.aggregation, max_new_tokens, weight_n)


def rollout_loss(
    policy: nn.Module,
    batch: TrainingBatch,
    rows: Tensor,
    *,
    beta: float | Tensor,
    settings: PolicyLoss,
    temperature: float,
    denominator: float,
    first: bool = False,
) -> LossOutput:
    """GRPO loss of a micro-batch, to be added up over those of its mini-batch.

    Args:
        policy: with gradient.
        batch: with sequences, advantages and log-probs set.
        rows: which rollouts; if none, the loss is 0, with a gradient of 0.
        beta: KL coefficient in force: a float, one per rollout [N], or one per token [N, T].
        settings: the loss.
        temperature: of the rollouts.
        denominator: see :func:`update_denominator`.
        first: no update has been made on this batch, so that the policy is the old one: its
            log-probs and entropies are noted in the batch.
    """
    bonus, empty = settings.entropy_coef != 0, not len(rows)
    rows = stand_in(rows)
    logp_nT, entropy_nT = completion_logprobs(
        policy, batch.sequences.select(rows), temperature, entropy=first or bonus
    )
    if first and not empty:
        assert entropy_nT is not None
        batch.note_old_policy(rows, logp_nT, entropy_nT)
    done, reference_NT = batch.completions, batch.ref_logp_NT
    old_nT = batch.old_logp_NT[rows]
    correction = settings.engine_correction()
    return objective(
        settings,
        logp_nT,
        old_nT,
        None if reference_NT is None else reference_NT[rows],
        batch.advantages_N[rows],
        counted_tokens(settings, batch, rows) & (not empty),
        kl_coef=of_rows(beta, rows),
        denominator=denominator,
        weight_NT=None
        if correction is None
        else correction.weights(old_nT, done.logp_NT[rows], done.mask_NT[rows]),
        entropy_NT=entropy_nT if bonus else None,
        rollout_weight_N=None if batch.weight_N is None else batch.weight_N[rows],
    )


def of_rows(beta: float | Tensor, rows: Tensor) -> float | Tensor:
    """The KL coefficients of some rollouts: one number for all, or their part of a tensor."""
    return beta[rows] if isinstance(beta, Tensor) and beta.ndim else beta
