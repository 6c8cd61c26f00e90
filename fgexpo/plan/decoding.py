"""Bytes of the policy's own decoding: the native engine's operations on fake tensors.

Its worst moments are the prompts' forward pass, the last growth of the KV cache, and the last
token, in a wave in which no row has ended earlier.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ..rollout import Sampling
from ..rollout.draw_token import sample_tokens
from ..rollout.native_cache import last_growth, roomy_cache
from ..rollout.native_rows import forward
from .adapters import fake_model
from .count_bytes import Bytes, StorageCounter, at_depth
from .job import Call, Job
from .shape import to_text

# Heads, channels, and dtypes of keys and values in a layer's cache.
Heads = tuple[int, int, torch.dtype, torch.dtype]


@dataclass(frozen=True)
class Wave:
    """The rollouts decoded at once.

    Attributes:
        prompts: Q.
        group: rows per prompt.
        prompt: tokens per prompt.
        new: tokens per completion.
        filtered: top-p or top-k is on.
        weights: dtype of the weights that the layers see.
        autocast: see :class:`~fgexpo.plan.activations.Work`.
    """

    prompts: int
    group: int
    prompt: int
    new: int
    filtered: bool
    weights: torch.dtype
    autocast: bool

    @property
    def rows(self) -> int:
        """Sequences."""
        return self.prompts * self.group

    @property
    def cached(self) -> int:
        """Tokens of a sequence in the KV cache before the last forward pass."""
        return max(self.prompt, self.prompt + self.new - 2)


def wave_of(job: Job, call: Call) -> Wave:
    """The largest wave of a call, as the native engine cuts it."""
    return Wave(
        prompts=min(call.questions, max(1, job.engine.rows // call.group)),
        group=call.group,
        prompt=job.max_prompt,
        new=call.max_new,
        filtered=call.filtered,
        weights=job.seen,
        autocast=job.autocast,
    )


def count_wave(config: Any, wave: Wave) -> Bytes:
    """Bytes of one wave; ``kept`` is the KV cache at its end, room included."""
    text = to_text(config)
    return at_depth(lambda layers: _count(text, wave, layers), config)


@lru_cache(maxsize=64)
def _count(text: str, wave: Wave, layers: int) -> Bytes:
    with FakeTensorMode(), torch.no_grad():
        return run_wave(fake_model(text, layers, wave.weights).eval(), wave)


def run_wave(model: Any, wave: Wave) -> Bytes:
    """Run and count; the model's tensors may be fake or real."""
    counter = StorageCounter([*model.parameters(), *model.buffers()])
    precision = torch.autocast("cpu", torch.bfloat16, enabled=wave.autocast, cache_enabled=False)
    with counter, precision:
        layers = _prefill(model, wave)
        prefill = counter.peak
        kept = _decode(model, wave, layers, counter)
    return Bytes(kept, max(prefill, counter.peak))


def _decode(model: Any, wave: Wave, layers: list[Heads], counter: StorageCounter) -> int:
    """Decode the token at the cache's last growth, and the last one; return the bytes then kept."""
    cache: Any = roomy_cache(model.config)

    def fill(tokens: int) -> None:
        for layer, (heads, width, key, value) in enumerate(layers):
            size = (wave.rows, heads, tokens, width)
            cache.update(torch.zeros(size, dtype=key), torch.zeros(size, dtype=value), layer)

    def step(length: int) -> None:
        mask_NL = torch.ones(wave.rows, length, dtype=torch.int64)
        token_N1 = torch.zeros(wave.rows, 1, dtype=torch.int64)
        logits_NV = forward(model, token_N1, mask_NL, cache)
        uniform_N = torch.zeros(wave.rows, dtype=torch.float64)
        sample_tokens(logits_NV, uniform_N, Sampling(top_p=0.5 if wave.filtered else 1.0))

    last = wave.cached + 1
    grown = last_growth(wave.prompt, last)
    fill(grown - 1)
    cache.batch_repeat_interleave(1)  # full, as it is before it grows
    counter.peak = counter.now  # filling it in one go took copies
    step(grown)
    growing = counter.peak
    if last > grown:
        fill(last - 1 - grown)
        counter.peak = counter.now
        step(last)
    kept = counter.now
    counter.peak = max(counter.peak, growing)
    return kept


def _prefill(model: Any, wave: Wave) -> list[Heads]:
    """Read the prompts; heads, channels and dtypes of keys and values in each layer's cache."""
    cache: Any = roomy_cache(model.config)
    mask_QL = torch.ones(wave.prompts, wave.prompt, dtype=torch.int64)
    forward(model, torch.zeros_like(mask_QL), mask_QL, cache)
    cache.batch_repeat_interleave(wave.group)
    kept = [(layer.keys, layer.values) for layer in cache.layers]
    return [(key.shape[1], key.shape[3], key.dtype, value.dtype) for key, value in kept]
