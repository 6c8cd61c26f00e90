"""Generation by the policy itself, with CUDA graphs and without: tokens per second and memory."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from fgexpo.rollout import Native
from fgexpo.types import Completions

from .agreement import agreement
from .attention import kernels
from .clock import measure, profiled
from .flops import flops_of, peak_flops, utilisation
from .machine import device_name
from .planned import memory_cells, memory_check, planned_decoding
from .report import Finding, Note, Row, above
from .scale import Decoding, Setting
from .work import autocast, open_policy, prompt_lengths, request

# Tokens a second on an H200 before there were graphs, by rows and longest prompt.
BEFORE = {(64, 200): 1940, (256, 200): 8345}
FASTER = 7.0


def generation(setting: Setting) -> Iterator[Finding]:
    """The native engine, which decodes all rows of a wave at once."""
    policy = open_policy(setting).eval()
    for graphs, decodings in setting.size.native.items():
        for decoding in decodings:
            yield from _decoding(policy, setting, decoding, graphs)
        how = "with graphs" if graphs else "without graphs"
        yield agreement(how, Native(graphs=graphs), policy, setting)
    short = Decoding(questions=2, prompt=setting.size.prompt[1], new=4, repeats=1)
    averages = profiled(lambda: generate(policy, setting, short, False), setting.device)
    yield Note(f"Without graphs attention goes by: {kernels(averages)}.")
    yield Note(
        "Every completion has all of its tokens, so no row leaves the batch. Tokens a second count "
        "completions. Decoding reads all weights for every token, so its MFU is small by nature."
    )


def _decoding(policy: Any, setting: Setting, decoding: Decoding, graphs: bool) -> Iterator[Finding]:
    work = partial(generate, policy, setting, decoding, graphs)
    found = measure(work, setting.device, decoding.repeats)
    planned = planned_decoding(setting, decoding, graphs)
    row = {"graphs": "yes" if graphs else "no"} | decoding_cells(setting, decoding)
    if found is None:
        row |= {"seconds": "out of memory", "tokens/s": "-", "MFU": "-"}
    else:
        row |= {"seconds": found.spread} | speed_cells(setting, decoding, found.median)
    yield Row("Generation by the policy", row | memory_cells(found, planned))
    rows, before = decoding.questions * setting.size.group, None
    what = f"{row['rollouts']} rollouts, prompts up to {decoding.prompt}"
    how = "with graphs" if graphs else "without graphs"
    yield from memory_check(f"{what}, {how}", found, planned, setting.device)
    if graphs and setting.device == "cuda":
        before = BEFORE.get((rows, decoding.prompt))
    if found is not None and before is not None:
        rate = rows * decoding.new / found.median
        why = f"the target: {FASTER:.0f} x what an H200 did without graphs"
        yield above(f"{what}: tokens/s", rate, FASTER * before, why)


def generate(policy: Any, setting: Setting, decoding: Decoding, graphs: bool = True) -> Completions:
    """One wave, as in a training step."""
    rows = decoding.questions * setting.size.group
    with torch.no_grad(), autocast(setting.device):
        found = Native(max_rows=rows, graphs=graphs).generate(policy, request(setting, decoding))
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
