"""An engine's log-probs of its own samples against the trainer's, as every training step has it."""

from dataclasses import replace
from typing import Any

import torch

from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join
from fgexpo.rollout import RolloutEngine
from fgexpo.types import Completions

from .report import Check, above, below
from .scale import Setting
from .work import request

CHECKED = 8  # tokens per completion when only agreement is checked


def agreement(when: str, engine: RolloutEngine, policy: Any, setting: Setting) -> Check:
    """A check that both have the same weights, up to rounding."""
    found, limit = difference(engine, policy, setting)
    what = f"{when}: mean |engine's log-prob - trainer's|"
    return below(what, found, limit, "the difference at which training stops")


def disagreement(when: str, engine: RolloutEngine, policy: Any, setting: Setting) -> Check:
    """A check that weights which are not the same would be seen."""
    found, limit = difference(engine, policy, setting)
    what = f"{when}: mean |engine's log-prob - trainer's|"
    return above(what, found, limit, "the difference at which training stops")


def difference(engine: RolloutEngine, policy: Any, setting: Setting) -> tuple[float, float]:
    """The mean difference, and the engine's limit."""
    asked = request(setting, setting.size.vllm, step=1)
    found = generate(engine, policy, setting, CHECKED, step=1)
    sequences = join(asked.prompts, found, asked.groups)
    mask_NT, total, count = found.mask_NT, 0.0, 0
    for rows in torch.arange(len(mask_NT)).split(asked.groups.sizes):
        with torch.no_grad(), _trainer_precision(setting.device):
            logp_nT, _ = completion_logprobs(policy, sequences.select(rows))
        total += float((logp_nT - found.logp_NT[rows]).abs()[mask_NT[rows]].sum())
        count += int(mask_NT[rows].sum())
    limit = engine.logp_limit()
    assert limit is not None
    return total / count, limit


def generate(
    engine: RolloutEngine, policy: Any, setting: Setting, new: int, step: int
) -> Completions:
    """Rollouts of ``new`` tokens by the engine, with the prompts of a step."""
    asked = request(setting, setting.size.vllm, step)
    asked.sampling = replace(asked.sampling, max_new_tokens=new)
    with torch.no_grad(), _trainer_precision(setting.device):
        return engine.generate(policy, asked)


def _trainer_precision(device: str) -> Any:
    # Without a GPU both sides compute in float32, whose limit is narrow.
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda", cache_enabled=False)
