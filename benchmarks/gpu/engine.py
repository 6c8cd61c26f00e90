"""vLLM in the same process as the policy: speed, transfer of weights, sleep, and agreement."""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from fgexpo.model.logprobs import completion_logprobs
from fgexpo.model.sequences import join
from fgexpo.plan.generation import ENGINE_RESIDUE
from fgexpo.rollout import VLLM, RolloutEngine
from fgexpo.types import Completions

from .clock import GIB, Measured, gib, seconds_of, tidy
from .generation import decoding_cells, speed_cells
from .report import Check, Finding, Note, Row, below
from .scale import Setting
from .work import open_policy, request

# The default. On a CPU, which is for tests, other processes' memory counts as used too.
MEMORY = {"cuda": 0.4, "cpu": 0.2}
TABLE = "Life of the engine"
CHECKED = 8  # tokens per completion when only agreement is checked
CHANGE = -1.0  # factor on the LM head: old weights would show, and rounding does not change


def installed() -> bool:
    """Whether vLLM is installed."""
    return importlib.util.find_spec("vllm") is not None


def engine(setting: Setting) -> Iterator[Finding]:
    """Open, generate, transfer weights, sleep and wake."""
    if not installed():
        yield Note("vLLM is not installed here: not run.")
        return
    policy, cuda = open_policy(setting).eval(), setting.device == "cuda"
    dtype = "bfloat16" if cuda else None
    vllm = VLLM(memory=MEMORY[setting.device], dtype=dtype, eager=not cuda)
    free = _free(setting.device)
    first = partial(_generate, vllm, policy, setting, CHECKED, step=0)
    seconds = seconds_of(first, setting.device)
    taken = free - _free(setting.device)
    yield _event("open, first weights, first tokens", seconds, f"{gib(taken)} taken")
    yield from _speed(vllm, policy, setting)
    yield agreement("as opened", vllm, policy, setting)
    with torch.no_grad():
        policy.get_output_embeddings().weight.mul_(CHANGE)
    vllm.sync(policy)
    yield _event("hand over new weights", _take_over(vllm, policy, setting.device), "-")
    yield agreement("after a hand-over of other weights", vllm, policy, setting)
    if not vllm.sleep:
        yield Note("Sleep needs a GPU: not run.")
        return
    tidy(setting.device)
    free = _free(setting.device)
    seconds = seconds_of(vllm.rest, setting.device)
    freed = _free(setting.device) - free
    yield _event("sleep", seconds, f"{gib(freed)} given back")
    kept = (taken - freed) / GIB
    why = "GiB, what `fgexpo plan` takes for granted of a sleeping engine"
    yield below("GiB that a sleeping engine keeps", kept, ENGINE_RESIDUE / GIB, why)
    seconds = _take_over(vllm, policy, setting.device)
    yield _event("wake, with the weights", seconds, f"{gib(free - _free(setting.device))} more")
    yield agreement("after sleep", vllm, policy, setting)


def agreement(when: str, engine: RolloutEngine, policy: Any, setting: Setting) -> Check:
    """The engine's log-probs of its own samples against the trainer's, as in every step."""
    asked = request(setting, setting.size.vllm, step=1)
    found = _generate(engine, policy, setting, CHECKED, step=1)
    sequences = join(asked.prompts, found, asked.groups)
    mask_NT, total, count = found.mask_NT, 0.0, 0
    for rows in torch.arange(len(mask_NT)).split(asked.groups.sizes):
        with torch.no_grad(), _trainer_precision(setting.device):
            logp_nT, _ = completion_logprobs(policy, sequences.select(rows))
        total += float((logp_nT - found.logp_NT[rows]).abs()[mask_NT[rows]].sum())
        count += int(mask_NT[rows].sum())
    limit = engine.logp_limit()
    assert limit is not None
    return below(
        f"{when}: mean |engine's log-prob - trainer's|",
        total / count,
        limit,
        "the difference at which training stops",
    )


def _generate(
    engine: RolloutEngine, policy: Any, setting: Setting, new: int, step: int
) -> Completions:
    asked = request(setting, setting.size.vllm, step)
    asked.sampling = replace(asked.sampling, max_new_tokens=new)
    with torch.no_grad(), _trainer_precision(setting.device):
        return engine.generate(policy, asked)


def _trainer_precision(device: str) -> Any:
    # Without a GPU both sides compute in float32, whose limit is narrow.
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda", cache_enabled=False)


def _speed(vllm: VLLM, policy: Any, setting: Setting) -> Iterator[Finding]:
    decoding = setting.size.vllm
    works = [
        partial(_generate, vllm, policy, setting, decoding.new, step=2 + run)
        for run in range(decoding.repeats)
    ]
    runs = [seconds_of(work, setting.device) for work in works]
    found = Measured(runs, None)
    row = decoding_cells(setting, decoding) | {"seconds": found.spread}
    yield Row("Generation by vLLM", row | speed_cells(setting, decoding, found.median))
    yield Note("Every completion has all of its tokens. Tokens a second count completions.")


def _take_over(vllm: VLLM, policy: Any, device: str) -> float:
    """Seconds that ``generate`` first takes when the weights have changed."""
    with isolate_rng(), torch.no_grad():
        return seconds_of(lambda: vllm._take_over(policy), device)


def _free(device: str) -> int:
    """Unused bytes of the device, as its driver counts them."""
    if device == "cpu":
        return 0
    tidy(device)
    return torch.cuda.mem_get_info()[0]


def _event(what: str, seconds: float, memory: str) -> Row:
    return Row(TABLE, {"what": what, "seconds": f"{seconds:.2f}", "GiB": memory})
