"""Bytes of activations: the real model and LM head run on fake tensors, forward and backward.

Parameters and their gradients exist before and are not counted; a second, transient gradient that
is added to the first one is counted. The operations are a CPU's, whose attention keeps what a
GPU's fused kernels keep. Rows that share prompts are laid out as in a real pass; the indices and
the one mask of that layout itself are not counted, what every layer makes of them is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ..model import head_slices, lm_head
from ..model.head_slices import OnePass, Slices
from ..model.packing import Packed, Segments, enable_packing, is_packed, packed_hidden
from .adapters import Adapters, fake_model
from .count_bytes import Bytes, StorageCounter, at_depth
from .rows import Shared, held
from .shape import to_text


@dataclass(frozen=True)
class Work:
    """One forward pass of a micro-batch, and optionally its backward pass.

    Attributes:
        tokens: T, of all sequences together. Where rows are whole, all of them reach the LM head.
        longest: tokens of the longest sequence.
        shared: rows that share prompts, whose completions alone reach the LM head; null for whole
            rows. A model that needs padded rows has them whole anyway.
        weights: dtype of the weights that the layers see.
        autocast: bf16 matrix products; without autocast's cache, as Lightning runs it, so that
            every layer keeps a bf16 copy of its weights until its backward pass.
        backward: true for an update, false for scoring.
        first: no gradient exists before this backward pass, so those that it makes are counted.
        entropy: also computed, as in scoring and in a step's first update.
        checkpointing: a layer's activations are recomputed in the backward pass.
        adapters: LoRA's; null where all weights are trained.
        device: ``cpu`` or ``cuda``, which decides how many logits are computed at a time.
    """

    tokens: int
    longest: int
    shared: Shared | None = None
    weights: torch.dtype = torch.float32
    autocast: bool = False
    backward: bool = True
    first: bool = False
    entropy: bool = False
    checkpointing: bool = False
    adapters: Adapters | None = None
    device: str = "cuda"


def count(config: Any, work: Work) -> Bytes:
    """Bytes of one micro-batch; ``kept`` is measured after the decoder's forward pass."""
    text = to_text(config)
    return at_depth(lambda layers: _count(text, work, layers), config)


@lru_cache(maxsize=64)
def _count(text: str, work: Work, layers: int) -> Bytes:
    with FakeTensorMode(), _head_as_on(work.device):
        model = fake_model(text, layers, work.weights, work.adapters)
        return run(prepare(model, work), work)


def prepare(model: Any, work: Work) -> Any:
    """The model as an update finds it, with gradients of an earlier micro-batch."""
    model.train(work.backward)
    enable_packing(model)
    if work.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for parameter in model.parameters():
        if work.backward and parameter.requires_grad and not work.first:
            parameter.grad = torch.zeros_like(parameter)
    return model


def run(model: Any, work: Work) -> Bytes:
    """Run and count a model from :func:`prepare`, whose tensors may be fake or real."""
    packed = _layout(model, work)
    counter = StorageCounter(
        [*model.parameters(), *model.buffers(), *([] if packed is None else held(packed))]
        + [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    )
    precision = torch.autocast("cpu", torch.bfloat16, enabled=work.autocast, cache_enabled=False)
    with counter, torch.set_grad_enabled(work.backward), precision:
        hidden_TH = _hidden(model, work, packed)
        kept = counter.now
        target_T = torch.zeros(len(hidden_TH), dtype=torch.int64)
        head = model.get_output_embeddings()
        logp_T, _ = lm_head.head_logprobs(head, hidden_TH, target_T, entropy=work.entropy)
        if work.backward:
            logp_T.sum().backward()
    return Bytes(kept, counter.peak)


def _layout(model: Any, work: Work) -> Packed | None:
    """The row of a packed model; None for padded rows."""
    if not is_packed(model):
        return None
    if work.shared is not None:
        return work.shared.laid_out()
    row_1M = torch.zeros(1, work.tokens, dtype=torch.int64)
    lengths = spread(work.tokens, work.longest)
    offset_N = torch.zeros(len(lengths), dtype=torch.int64)
    return Packed(row_1M, row_1M, offset_N, Segments(lengths, row_1M.device))


def _hidden(model: Any, work: Work, packed: Packed | None) -> Tensor:
    """Hidden states of all tokens, or of shared prompts' completions, the input of log-probs."""
    decoder = model.get_decoder()
    if packed is None:
        tokens = work.tokens if work.shared is None else work.shared.tokens
        longest = spread(tokens, work.longest)[0]
        tokens_NL = torch.zeros(ceil(tokens / longest), longest, dtype=torch.int64)
        return decoder(input_ids=tokens_NL, use_cache=False)[0].flatten(0, 1)[:tokens]
    wanted = work.tokens if work.shared is None else sum(work.shared.completions)
    hidden_MH = packed_hidden(decoder, packed)
    return hidden_MH[torch.arange(wanted) % len(hidden_MH)]


def spread(tokens: int, longest: int) -> list[int]:
    """Lengths of sequences that make up a micro-batch, longest first.

    They range from the longest down to half of it, which pads about as much as attention ever
    does.
    """
    number = max(1, ceil(tokens / (0.75 * longest)))
    if number == 1:
        return [tokens]
    wanted = [1 - 0.5 * n / (number - 1) for n in range(number)]
    lengths = [int(tokens * share / sum(wanted)) for share in wanted]
    for n in range(tokens - sum(lengths)):
        lengths[-1 - n] += 1
    return sorted(lengths, reverse=True)


class _OnePass(OnePass):
    """The memory of a GPU's kernels, which keep a column or two and write over the logits."""

    def kernels(self) -> Any:
        """Stand-ins that compute nothing."""
        return SimpleNamespace(
            summarise=lambda *given: (self.new_column(), self.new_column() if given[-1] else None),
            gradient_=lambda logits_Mv, *given: logits_Mv,
        )


@contextmanager
def _head_as_on(device: str) -> Iterator[None]:
    """Take the LM head's logits as on the real device, although fake tensors are on the CPU."""
    chunks, choose = head_slices.LOGITS_PER_CHUNK, lm_head.slices
    before = dict(chunks)
    chunks["cpu"] = chunks[device]

    def slices(hidden: Tensor, weight_VH: Tensor, temperature: float) -> Slices:
        one_pass = device == "cuda" and hidden.dtype in head_slices.HALF
        return (_OnePass if one_pass else Slices)(hidden, weight_VH, temperature)

    lm_head.slices = slices
    try:
        yield
    finally:
        chunks.update(before)
        lm_head.slices = choose
