"""Bytes of the policy's own decoding: the native engine's operations on fake tensors.

Its worst moments are the prompts' forward pass, the last growth of the KV cache, and the last
token, in a wave in which no row has ended earlier. On a GPU the cache of most models has its full
size from the first token on, and a copy of the weights in the compute dtype lies beside it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ..groups import Groups
from ..model.packing import enable_packing
from ..rollout import Sampling
from ..rollout.draw_token import sample_tokens
from ..rollout.native_cache import last_growth, roomy_cache
from ..rollout.native_rows import forward
from ..rollout.native_static import StaticRows, is_static
from ..rollout.native_weights import decoding_copy
from .adapters import fake_model, meta_model
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
        in_place: with CUDA graphs, where the model can.
    """

    prompts: int
    group: int
    prompt: int
    new: int
    filtered: bool
    weights: torch.dtype
    autocast: bool
    in_place: bool = False

    @property
    def precision(self) -> torch.autocast:
        """The trainer's, on the CPU, where fake tensors are."""
        return torch.autocast("cpu", torch.bfloat16, enabled=self.autocast, cache_enabled=False)

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
        in_place=job.engine.graphs and not job.cpu,
    )


def count_wave(config: Any, wave: Wave) -> Bytes:
    """Bytes of one wave; ``kept`` is the KV cache at its end, room and copied weights included."""
    text = to_text(config)
    return at_depth(lambda layers: _count(text, wave, layers), config)


def copied_weights(config: Any, wave: Wave) -> int:
    """Bytes of the weights that are copied in the compute dtype while a wave is decoded."""
    return _copied(to_text(config), wave)


@lru_cache(maxsize=64)
def _copied(text: str, wave: Wave) -> int:
    model = meta_model(text, dtype=wave.weights)
    if not wave.in_place or not is_static(model):
        return 0
    with wave.precision:
        copy = decoding_copy(model, torch.device("cpu"))
    return sum(weight.nbytes for weight in copy.parameters() if weight.dtype != wave.weights)


@lru_cache(maxsize=64)
def _count(text: str, wave: Wave, layers: int) -> Bytes:
    with FakeTensorMode(), torch.no_grad():
        return run_wave(fake_model(text, layers, wave.weights).eval(), wave)


def run_wave(model: Any, wave: Wave) -> Bytes:
    """Run and count; the model's tensors may be fake or real."""
    counter = StorageCounter([*model.parameters(), *model.buffers()])
    with counter, wave.precision:
        if wave.in_place and is_static(model):
            return _decode_in_place(model, wave, counter)
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
        _draw(forward(model, token_N1, mask_NL, cache), wave)

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


def _draw(logits_NV: Tensor, wave: Wave) -> Tensor:
    uniform_N = torch.zeros(wave.rows, dtype=torch.float64)
    return sample_tokens(logits_NV, uniform_N, Sampling(top_p=0.5 if wave.filtered else 1.0))[0]


def _decode_in_place(model: Any, wave: Wave, counter: StorageCounter) -> Bytes:
    """Read the prompts and decode the last token.

    A graph keeps the memory of its step's temporary tensors, so drawing cannot use it again.
    """
    enable_packing(model)  # as the policy's is
    copy = decoding_copy(model, torch.device("cpu"))
    prompts = [[0] * wave.prompt] * wave.prompts
    rows = StaticRows(copy, prompts, torch.device("cpu"), new=wave.new)
    rows.repeat(Groups([wave.group] * wave.prompts))
    reading, kept, counter.peak = counter.peak, counter.now, counter.now
    token_N = _draw(rows.logits_NV, wave)
    drawing, counter.peak = counter.peak - kept, counter.now
    if wave.new > 1:
        rows.used = wave.cached
        rows.add(token_N)
    return Bytes(kept, max(reading, counter.peak + drawing))


def _prefill(model: Any, wave: Wave) -> list[Heads]:
    """Read the prompts; heads, channels and dtypes of keys and values in each layer's cache."""
    cache: Any = roomy_cache(model.config)
    mask_QL = torch.ones(wave.prompts, wave.prompt, dtype=torch.int64)
    forward(model, torch.zeros_like(mask_QL), mask_QL, cache)
    cache.batch_repeat_interleave(wave.group)
    kept = [(layer.keys, layer.values) for layer in cache.layers]
    return [(key.shape[1], key.shape[3], key.dtype, value.dtype) for key, value in kept]
