"""The optimizer steps of a rollout batch.

A mini-batch's loss is normalised by a number of its own, over all processes, so that neither the
cut into micro-batches nor the number of processes changes a gradient.
"""

import math
from collections import defaultdict
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from ..heartbeat import beat
from ..losses.aggregation import loss_denominator
from ..losses.correction import importance_weights
from ..losses.objective import NONFINITE, LossOutput, LossSettings, grpo_loss, loss_metrics
from ..model.logprobs import completion_logprobs
from ..parallel.collectives import any_process, mean, mean_over_processes, without_gradient_sync
from ..parallel.sharding import full_tensor
from ..types import RolloutBatch
from .nonfinite import batch_record

if TYPE_CHECKING:
    from ..module import GRPOModule


def counted_tokens(settings: LossSettings, batch: RolloutBatch, rows: Tensor) -> Tensor:
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
    settings: LossSettings, batch: RolloutBatch, rows: Tensor, max_new_tokens: int
) -> float:
    """What a mini-batch's summed loss is divided by; its micro-batches all use this number.

    It is 0 if nothing counts. The mean over the processes then decides for all of them: only if
    that is 0 too, the update is made with a gradient of zero, as it is if all advantages are zero.

    Args:
        settings: the aggregation, and which rows are left out.
        batch: with completions.
        rows: those of the mini-batch.
        max_new_tokens: the constant length of ``dr_grpo``.
    """
    mask_nT = counted_tokens(settings, batch, rows)
    return loss_denominator(mask_nT, settings.aggregation, max_new_tokens)


def rollout_loss(
    policy: nn.Module,
    batch: RolloutBatch,
    rows: Tensor,
    *,
    beta: float | Tensor,
    settings: LossSettings,
    temperature: float,
    denominator: float,
    first: bool = False,
) -> LossOutput:
    """GRPO loss of a micro-batch, to be added up over those of its mini-batch.

    Args:
        policy: with gradient.
        batch: with sequences, advantages and log-probs set.
        rows: which rollouts.
        beta: KL coefficient in force, a float or one value a rollout, [N].
        settings: the loss's shape.
        temperature: of the rollouts.
        denominator: see :func:`update_denominator`.
        first: no update has been made on this batch, so that the policy is the old one: its
            log-probs and entropies are noted in the batch.
    """
    assert batch.sequences is not None
    bonus = settings.entropy_coef != 0
    logp_nT, entropy_nT = completion_logprobs(
        policy, batch.sequences.select(rows), temperature, entropy=first or bonus
    )
    if first:
        assert entropy_nT is not None
        batch.note_old_policy(rows, logp_nT, entropy_nT)
    done, reference_NT = batch.completions, batch.ref_logp_NT
    assert batch.old_logp_NT is not None
    old_nT = batch.old_logp_NT[rows]
    return grpo_loss(
        logp_nT,
        old_nT,
        None if reference_NT is None else reference_NT[rows],
        batch.advantages_N[rows],
        counted_tokens(settings, batch, rows),
        kl_coef=beta[rows] if isinstance(beta, Tensor) and beta.ndim else beta,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        dual_clip=settings.dual_clip,
        kl_estimator=settings.kl_estimator,
        aggregation=settings.aggregation,
        denominator=denominator,
        weight_NT=importance_weights(
            old_nT,
            done.logp_NT[rows],
            done.mask_NT[rows],
            settings.correction,
            settings.correction_cap,
        ),
        ratio=settings.ratio,
        entropy_NT=entropy_nT if bonus else None,
        entropy_coef=settings.entropy_coef,
    )


def accumulate_gradients(
    module: "GRPOModule", batch: RolloutBatch, micro_batches: list[Tensor], first: bool
) -> dict[str, float]:
    """Leave an update's gradient, averaged over the processes, in the policy's parameters.

    Args:
        module: policy, settings and the KL coefficient in force.
        batch: this process's rollouts.
        micro_batches: rows of each.
        first: see :func:`rollout_loss`.

    Returns:
        The loss's parts. Their mean over the processes is that of the whole mini-batch.
    """
    rows = torch.cat(micro_batches)
    own = update_denominator(module.loss, batch, rows, module.sampling.max_new_tokens)
    # DDP averages gradients, so a process divides by its mean share of the whole mini-batch's.
    denominator = mean(module.trainer, own)
    totals: dict[str, float] = defaultdict(float)
    for number, micro in enumerate(micro_batches, start=1):
        last = number == len(micro_batches)
        with nullcontext() if last else without_gradient_sync(module.trainer):
            out = rollout_loss(
                module.policy,
                batch,
                micro,
                beta=module.beta,
                settings=module.loss,
                temperature=module.sampling.temperature,
                denominator=denominator,
                first=first,
            )
            module.manual_backward(out.loss)
        beat()
        for tag, value in loss_metrics(out).items():
            totals[tag] += value
    return totals


def make_updates(module: "GRPOModule", batch: RolloutBatch) -> dict[str, float]:
    """Make the optimizer steps of one rollout batch.

    Returns:
        Means over the updates that were made, and the number of those that were not.
    """
    totals: dict[str, float] = defaultdict(float)
    passes = batch.cuts * module.inner_epochs
    made = 0
    for number, micro_batches in enumerate(passes):
        metrics = _make_update(module, batch, micro_batches, number)
        if metrics is not None:
            made += 1
            for tag, value in metrics.items():
                totals[tag] += value
    means = {tag: total / made for tag, total in totals.items()}
    left_out = {"nonfinite/updates": float(len(passes) - made)}
    return mean_over_processes(module.trainer, means, module.device) | left_out


def _make_update(
    module: "GRPOModule", batch: RolloutBatch, micro_batches: list[Tensor], number: int
) -> dict[str, float] | None:
    """One optimizer step; None if its numbers were not finite on some process."""
    optimizer = module.optimizers()
    assert isinstance(optimizer, LightningOptimizer)
    optimizer.zero_grad()
    metrics = accumulate_gradients(module, batch, micro_batches, first=number == 0)
    if number == 0:
        module.check_engine(batch)
    limit = float("inf") if module.max_grad_norm is None else module.max_grad_norm
    norm = torch.nn.utils.clip_grad_norm_(module.policy.parameters(), limit)
    metrics["grad_norm"] = float(full_tensor(norm))
    fine = metrics[NONFINITE] == 0 and all(map(math.isfinite, metrics.values()))
    if any_process(module.trainer, not fine):
        optimizer.zero_grad()
        module.leave_out({**batch_record(batch, torch.cat(micro_batches)), **metrics}, number)
        return None
    optimizer.step()
    module.nonfinite.in_a_row = 0
    return metrics
