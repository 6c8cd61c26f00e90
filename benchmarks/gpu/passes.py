"""Log-probs and updates: tokens per second, model-FLOP utilisation and peak memory."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from fgexpo.losses import LossSettings
from fgexpo.update.batch import TrainingBatch
from fgexpo.update.prepare import score_policy
from fgexpo.update.rollout_loss import rollout_loss, update_denominator

from .clock import Measured, dearest, measure, profiled, tidy
from .flops import flops_of, peak_flops, utilisation
from .machine import device_name
from .planned import memory_cells, memory_check, planned_pass
from .report import Finding, Note, Row
from .scale import Setting
from .work import autocast, cut_rollouts, open_policy, real_rollouts

BETA = 0.02
DEAREST = 12


def score(setting: Setting) -> Iterator[Finding]:
    """Log-probs and entropies of the policy, as for every update but the first."""
    policy, rollouts = open_policy(setting).eval(), real_rollouts(setting)
    yield _what(rollouts)
    for micro_tokens in setting.size.micro_tokens:
        rollouts.cuts = [cut_rollouts(policy, rollouts, micro_tokens)]
        work = partial(score_once, policy, rollouts, setting.device)
        found = measure(work, setting.device, setting.size.repeats)
        planned = planned_pass(policy, rollouts, micro_tokens, None)
        row = {"micro_batch_tokens": f"{micro_tokens:,}"}
        row |= _speed_cells(setting, rollouts, found, 1) | memory_cells(found, planned)
        yield Row("Log-probs and entropies", row)
        yield from memory_check(f"{micro_tokens:,} tokens", found, planned, setting.device)
    yield Note("In memory are the policy's weights alone. A KL term scores the reference as well.")


def score_once(policy: Any, rollouts: TrainingBatch, device: str) -> None:
    """Set the old log-probs of the rollouts."""
    with torch.no_grad(), autocast(device):
        score_policy(rollouts, rollouts.cuts, policy, 1.0)


def update(setting: Setting) -> Iterator[Finding]:
    """Forward and backward passes over all micro-batches, clipping, and AdamW's step."""
    rollouts = real_rollouts(setting)
    yield _what(rollouts)
    for checkpointing in (False, True):
        # Its policy is freed when it returns.
        yield from _updates(setting, rollouts, checkpointing)
        tidy(setting.device)


def _updates(setting: Setting, rollouts: TrainingBatch, checkpointing: bool) -> Iterator[Finding]:
    policy, state = open_policy(setting, checkpointing), "on" if checkpointing else "off"
    rollouts.cuts = [cut_rollouts(policy, rollouts, setting.size.micro_tokens[0])]
    score_once(policy.eval(), rollouts, setting.device)
    policy.train()
    # A KL term, as in training; its reference is the old policy.
    rollouts.ref_logp_NT = rollouts.old_logp_NT
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6, weight_decay=0.1)
    fits = False
    for micro_tokens in setting.size.micro_tokens:
        cuts = cut_rollouts(policy, rollouts, micro_tokens)
        work = partial(update_once, policy, optimizer, rollouts, cuts, setting)
        found = measure(work, setting.device, setting.size.repeats)
        fits = fits or found is not None
        planned = planned_pass(policy, rollouts, micro_tokens, checkpointing)
        row = {"activation_checkpointing": state, "micro_batch_tokens": f"{micro_tokens:,}"}
        row |= _speed_cells(setting, rollouts, found, 3) | memory_cells(found, planned)
        yield Row("Updates", row)
        what = f"{micro_tokens:,} tokens, checkpointing {state}"
        yield from memory_check(what, found, planned, setting.device)
    if checkpointing and fits:
        yield from _where(policy, optimizer, rollouts, setting)


def update_once(
    policy: Any,
    optimizer: torch.optim.Optimizer,
    rollouts: TrainingBatch,
    cuts: list[torch.Tensor],
    setting: Setting,
) -> None:
    """Do what ``fgexpo.update.step`` does for one mini-batch, without a trainer."""
    settings, rows = LossSettings(), torch.cat(cuts)
    with autocast(setting.device):
        optimizer.zero_grad()
        for micro in cuts:
            out = rollout_loss(
                policy,
                rollouts,
                micro,
                beta=BETA,
                settings=settings,
                temperature=1.0,
                denominator=update_denominator(settings, rollouts, rows, setting.size.new),
                first=True,
            )
            out.loss.backward()
            float(out.loss.detach())  # training logs it, so it also waits for it
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()


def _where(
    policy: Any, optimizer: torch.optim.Optimizer, rollouts: TrainingBatch, setting: Setting
) -> Iterator[Finding]:
    cuts = cut_rollouts(policy, rollouts, setting.size.micro_tokens[0])[:1]
    work = partial(update_once, policy, optimizer, rollouts, cuts, setting)
    averages = profiled(work, setting.device)
    table = "Where an update of one small micro-batch with checkpointing spends the device's time"
    for name, calls, share in dearest(averages, setting.device, DEAREST):
        yield Row(table, {"operation": f"`{name}`", "calls": str(calls), "share": f"{share:.1%}"})


def _what(rollouts: TrainingBatch) -> Note:
    done, prompts_N = rollouts.completions.lengths_N, rollouts.sequences.prompt_lengths_N
    return Note(
        f"questions x rollouts: {rollouts.groups}, prompts of "
        f"{int(prompts_N.min())}-{int(prompts_N.max())} tokens, completions of {int(done.min())}-"
        f"{int(done.max())}, {float(done.float().mean()):,.0f} on average; tokens a second count "
        "both. Seconds are the median (least-most) of runs over all of them, after one to warm up."
    )


def _speed_cells(
    setting: Setting, rollouts: TrainingBatch, found: Measured | None, passes: int
) -> dict[str, str]:
    """For a table; ``passes`` is 1 for scoring and 3 for an update."""
    if found is None:
        return {"seconds": "out of memory", "tokens/s": "-", "MFU": "-"}
    prompts = rollouts.sequences.prompt_lengths_N.tolist()
    completions = rollouts.completions.lengths_N.tolist()
    flops = passes * flops_of(setting.size.config()).forward(prompts, completions)
    peak = peak_flops(device_name(setting.device))
    return {
        "seconds": found.spread,
        "tokens/s": f"{(sum(prompts) + sum(completions)) / found.median:,.0f}",
        "MFU": utilisation(flops, found.median, peak),
    }
