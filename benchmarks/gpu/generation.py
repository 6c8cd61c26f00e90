"""Generation by the policy itself: tokens per second, model-FLOP utilisation and peak memory."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from fgexpo.rollout import Native
from fgexpo.types import Completions

from .attention import kernels
from .clock import measure, profiled
from .flops import flops_of, peak_flops, utilisation
from .machine import device_name
from .planned import memory_cells, memory_check, planned_decoding
from .report import Finding, Note, Row
from .scale import Decoding, Setting
from .work import autocast, open_policy, prompt_lengths, request


def generation(setting: Setting) -> Iterator[Finding]:
    """The native engine, which decodes all rows of a wave at once."""
    policy = open_policy(setting).eval()
    for decoding in setting.size.native:
        work = partial(generate, policy, setting, decoding)
        found = measure(work, setting.device, decoding.repeats)
        planned = planned_decoding(setting, decoding)
        row = decoding_cells(setting, decoding)
        if found is None:
            row |= {"seconds": "out of memory", "tokens/s": "-", "MFU": "-"}
        else:
            row |= {"seconds": found.spread} | speed_cells(setting, decoding, found.median)
        yield Row("Generation by the policy", row | memory_cells(found, planned))
        what = f"{row['rollouts']} rollouts, prompts up to {decoding.prompt}"
        yield from memory_check(what, found, planned, setting.device)
    short = Decoding(questions=2, prompt=setting.size.prompt[1], new=4, repeats=1)
    averages = profiled(lambda: generate(policy, setting, short), setting.device)
    yield Note(f"Attention goes by: {kernels(averages)}.")
    yield Note(
        "Every completion has all of its tokens, so no row leaves the batch. Tokens a second count "
        "completions. Decoding reads all weights for every token, so its MFU is small by nature."
    )


def generate(policy: Any, setting: Setting, decoding: Decoding) -> Completions:
    """One wave, as in a training step."""
    rows = decoding.questions * setting.size.group
    with torch.no_grad(), autocast(setting.device):
        found = Native(max_rows=rows).generate(policy, request(setting, decoding))
    assert int(found.lengths_N.min()) == decoding.new
    return found


def decoding_cells(setting: Setting, decoding: Decoding) -> dict[str, str]:
    """The work's cells of a table."""
    group = setting.size.group
    return {
        "rollouts": f"{decoding.questions} x {group}",
        "prompt tokens": f"{decoding.prompt // 2}-{decoding.prompt}",
        "completion tokens": f"{decoding.new:,}",
    }


def speed_cells(setting: Setting, decoding: Decoding, seconds: float) -> dict[str, str]:
    """For a table."""
    group = setting.size.group
    flops = flops_of(setting.size.config())
    work = flops.generate(prompt_lengths(decoding), group, decoding.new)
    peak = peak_flops(device_name(setting.device))
    tokens = decoding.questions * group * decoding.new
    return {"tokens/s": f"{tokens / seconds:,.0f}", "MFU": utilisation(work, seconds, peak)}
