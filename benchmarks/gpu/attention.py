"""Which attention kernel training really uses, and how long each of them takes.

PyTorch picks a kernel by itself. For causal attention with fewer key than query heads, some kernels
refuse, and the last resort, plain matrix products, keeps an [L, L] matrix per head.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from fgexpo.model.logprobs import completion_logprobs
from fgexpo.rollout.vllm.cache_size import head_width

from .clock import gib, measure, profiled
from .report import Check, Finding, Note, Row
from .scale import Setting
from .work import autocast, cut_rollouts, open_policy, real_rollouts

OPERATION = "aten::_scaled_dot_product_"
BACKENDS = {
    "PyTorch's choice": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def kernels(averages: list[Any]) -> str:
    """The attention operations of a profile and their calls, in words."""
    found = {a.key.removeprefix(OPERATION): a.count for a in averages if OPERATION in a.key}
    return ", ".join(f"`{name}` x {count}" for name, count in found.items()) or "none seen"


def attention(setting: Setting) -> Iterator[Finding]:
    """Find a training micro-batch's kernel, then time every kernel on a bucket of that size."""
    policy, rollouts = open_policy(setting), real_rollouts(setting)
    part = rollouts.sequences.select(
        cut_rollouts(policy, rollouts, setting.size.micro_tokens[0])[0]
    )

    def work() -> None:
        with autocast(setting.device):
            logp_nT, _ = completion_logprobs(policy, part)
        logp_nT.sum().backward()

    used = kernels(profiled(work, setting.device))
    yield Note(f"A micro-batch's forward and backward pass goes by: {used}.")
    yield Check(
        "training's attention",
        used,
        "not `attention_math`, whose memory grows with the square of the length",
        "attention" in used and "attention_math" not in used,
    )
    yield from _sweep(setting, policy.config, len(part.tokens_NL), int(part.lengths_N.max()))


def _sweep(setting: Setting, config: Any, rows: int, length: int) -> Iterator[Finding]:
    heads, few = config.num_attention_heads, config.num_key_value_heads
    width = head_width(config)
    query, key, value, upstream = (
        torch.randn(rows, h, length, width, device=setting.device, dtype=torch.bfloat16)
        for h in (heads, few, few, heads)
    )
    inputs = [tensor.requires_grad_() for tensor in (query, key, value)]

    def work() -> None:
        out = scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=heads != few)
        torch.autograd.grad(out, inputs, upstream)

    table = (
        f"One layer's attention, forward and backward: {rows} rows of {length:,} tokens, {heads} "
        f"query and {few} key heads of {width} channels, bf16"
    )
    for name, backend in BACKENDS.items():
        chosen = nullcontext() if backend is None else sdpa_kernel(backend)
        peak = None
        try:
            with chosen:
                found = measure(work, setting.device, setting.size.repeats)
            shown = "out of memory" if found is None else f"{found.median * 1e3:.2f}"
            peak = found and found.peak
        except RuntimeError as error:
            if backend is None:
                raise
            shown = f"refuses: {str(error).splitlines()[0]}"
        yield Row(table, {"kernel": name, "ms": shown, "peak GiB": gib(peak)})
