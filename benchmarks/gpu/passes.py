"""Scoring and updating without a trainer, and the cells of a table about them."""

from typing import Any

import torch

from fgexpo.losses import LossSettings
from fgexpo.update.batch import TrainingBatch
from fgexpo.update.prepare import score_policy
from fgexpo.update.rollout_loss import rollout_loss, update_denominator

from .flops import flops_of, peak_flops
from .machine import device_name
from .report import Note
from .scale import Setting
from .work import autocast

BETA = 0.02


def score_once(policy: Any, rollouts: TrainingBatch, device: str) -> None:
    """Set the old log-probs of the rollouts."""
    with torch.no_grad(), autocast(device):
        score_policy(rollouts, rollouts.cuts, policy, 1.0)


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


def rollouts_are(rollouts: TrainingBatch) -> Note:
    """Their number and lengths."""
    done, prompts_N = rollouts.completions.lengths_N, rollouts.sequences.prompt_lengths_N
    return Note(
        f"questions x rollouts: {rollouts.groups}, prompts of "
        f"{int(prompts_N.min())}-{int(prompts_N.max())} tokens, completions of {int(done.min())}-"
        f"{int(done.max())}, {float(done.float().mean()):,.0f} on average; tokens a second count "
        "both. Seconds are the median (least-most) of runs over all of them, after one to warm up."
    )


def use_of(setting: Setting, rollouts: TrainingBatch, seconds: float, passes: int) -> float | None:
    """MFU; ``passes`` is 1 for scoring and 3 for an update; None if the peak is not known."""
    prompts = rollouts.sequences.prompt_lengths_N.tolist()
    completions = rollouts.completions.lengths_N.tolist()
    flops = passes * flops_of(setting.size.config()).forward(prompts, completions)
    peak = peak_flops(device_name(setting.device))
    return None if peak is None else flops / seconds / peak


def percent(value: float | None) -> str:
    """In words."""
    return "not given" if value is None else f"{value:.1%}"


def tokens_of(rollouts: TrainingBatch) -> int:
    """Of prompts and completions."""
    return int(rollouts.sequences.lengths_N.sum())
