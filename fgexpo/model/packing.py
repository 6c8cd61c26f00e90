"""Sequences one after another in a single row: everything but attention runs without padding.

Attention cannot cross from one sequence into the next. It runs in buckets of similar length, each
padded on its own and passed to PyTorch's causal kernel, so that no [M, M] mask is ever made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .precision import precise
from .sequences import Sequences

ATTENTION = "fgexpo_packed"
# Upper limit on a bucket's padded size over its real size; some padding costs less than a call.
MAX_PADDING = 1.25


@dataclass(frozen=True)
class Bucket:
    """Neighbouring sequences of the row, which attention pads to the longest of them.

    Attributes:
        start: position in the row where the first begins.
        lengths: length of each, longest first.
        device: of the row.
    """

    start: int
    lengths: tuple[int, ...]
    device: torch.device

    @property
    def stop(self) -> int:
        """One after the last token."""
        return self.start + sum(self.lengths)

    @cached_property
    def place(self) -> Tensor | None:
        """Each token's place in the flattened padded rows; None if there is no padding."""
        longest = self.lengths[0]
        if self.lengths[-1] == longest:
            return None
        places = [torch.arange(length) + n * longest for n, length in enumerate(self.lengths)]
        return torch.cat(places).to(self.device)

    def pad(self, row_1hMd: Tensor) -> Tensor:
        """This bucket's share of the row, [n, h, longest, d]."""
        part_mhd = row_1hMd[0, :, self.start : self.stop].transpose(0, 1)
        if self.place is not None:
            padded = part_mhd.new_zeros(len(self.lengths) * self.lengths[0], *part_mhd.shape[1:])
            part_mhd = padded.index_copy(0, self.place, part_mhd)
        return part_mhd.unflatten(0, (len(self.lengths), self.lengths[0])).transpose(1, 2)

    def unpad(self, padded_nLhd: Tensor) -> Tensor:
        """Remove the padding again, [m, h, d]."""
        flat = padded_nLhd.flatten(0, 1)
        return flat if self.place is None else flat.index_select(0, self.place)

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]
    ) -> Tensor:
        """Attention of this bucket's tokens, [m, h, d], from the whole row's [1, h, M, d]."""
        q, k, v = (self.pad(row) for row in (query, key, value))
        options = options | {"is_causal": True}
        padded_nLhd, _ = sdpa_attention_forward(module, q, k, v, None, **options)
        return self.unpad(padded_nLhd)


class Segments:
    """What attention needs to know about a row; counts the layers that used it.

    Args:
        lengths: of the sequences, longest first.
        device: of the row.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.buckets: list[Bucket] = [
            Bucket(start, part, device) for start, part in _similar(tuple(lengths), MAX_PADDING)
        ]
        self.calls = 0


@dataclass(frozen=True)
class Packed:
    """Sequences in one row of M tokens, longest first.

    Attributes:
        tokens_1M: int64 [1, M].
        position_1M: of each token in its own sequence, [1, M].
        offset_N: where each sequence begins, in the order given, [N].
        segments: for attention.
    """

    tokens_1M: Tensor
    position_1M: Tensor
    offset_N: Tensor
    segments: Segments

    def places(self, row_M: Tensor, position_M: Tensor) -> Tensor:
        """Index in the row of a sequence's token at a position, [M]."""
        return self.offset_N[row_M] + position_M


def lay_out(sequences: Sequences) -> Packed:
    """Join N padded rows into one row without padding."""
    device = sequences.tokens_NL.device
    lengths_N = sequences.lengths_N
    order_N = torch.argsort(lengths_N, descending=True, stable=True)
    sorted_N = lengths_N[order_N]
    position_L = torch.arange(sequences.tokens_NL.shape[1], device=device)
    real_NL = position_L < sorted_N[:, None]
    offset_N = torch.empty_like(lengths_N)
    offset_N[order_N] = sorted_N.cumsum(0) - sorted_N
    return Packed(
        sequences.tokens_NL[order_N][real_NL][None],
        position_L.expand_as(real_NL)[real_NL][None],
        offset_N,
        Segments(sorted_N.tolist(), device),
    )


def packed_hidden(decoder: Any, packed: Packed) -> Tensor:
    """Last hidden states of a row, [M, H].

    Raises:
        RuntimeError: when the decoder does not pass the row's segments to its attention.
    """
    hidden_1MH = decoder(
        input_ids=packed.tokens_1M,
        position_ids=packed.position_1M,
        # Transformers uses a 4-d mask as it is; from positions alone it would make an [M, M] one.
        attention_mask=packed.tokens_1M.new_zeros(1, 1, 1, 1, dtype=torch.bool),
        use_cache=False,
        segments=packed.segments,
    ).last_hidden_state
    layers = decoder.config.num_hidden_layers
    if packed.segments.calls != layers:
        raise RuntimeError(
            f"{type(decoder).__name__}: {packed.segments.calls} of {layers} attention layers were "
            "told where sequences begin; padding-free rows do not work with this model"
        )
    return hidden_1MH[0]


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    segments: Segments | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Transformers' interface to attention: PyTorch's kernels, bucket by bucket if there are any.

    Args:
        module: the attention layer.
        query: [1, h, M, d] with ``segments``.
        key: the same with its own number of heads.
        value: the same.
        attention_mask: for rows without ``segments``.
        segments: of a row.
        **options: of the kernels.

    Returns:
        [1, M, h, d], and no weights.
    """
    if segments is None:
        plain = attention_mask is None or attention_mask.dtype == torch.bool
        plain = plain and not options.get("dropout") and options.get("position_bias") is None
        if plain and query.shape[2] == 1 and query.shape[1] > key.shape[1]:
            return one_token(query, key, value, attention_mask, options.get("scaling")), None
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    segments.calls += 1
    found = [bucket.attend(module, query, key, value, options) for bucket in segments.buckets]
    return (found[0] if len(found) == 1 else torch.cat(found))[None], None


def one_token(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    """Attention of the newest token: query heads take the place of positions of their key head.

    All of them see the same keys, so no head needs its own copy.

    Args:
        query: [n, h, 1, d].
        key: [n, fewer heads, L, d].
        value: the same.
        mask: which keys a row sees, bool [n, 1, 1, L]; None for all.
        scaling: of the products; None for ``d ** -0.5``.

    Returns:
        [n, 1, h, d].
    """
    rows, heads, _, width = query.shape
    query = query.view(rows, key.shape[1], -1, width)
    if query.device.type == "cpu" and query.dtype == precise(query.dtype):
        # For this few queries, the blocks of PyTorch's fused kernel cost more than they save.
        scaled = query * (width**-0.5 if scaling is None else scaling)
        logits = torch.matmul(scaled, key.transpose(-1, -2))
        if mask is not None:
            logits = logits.masked_fill_(~mask, -torch.inf)
        found = torch.matmul(logits.softmax(-1), value)
    else:
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return found.reshape(rows, 1, heads, -1)


AttentionInterface.register(ATTENTION, packed_attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def enable_packing(model: Any) -> bool:
    """Let a model read padding-free rows, if its attention is PyTorch's and full in all layers.

    Returns:
        Whether it can now. Padded rows, as in generation, work as before.
    """
    config = text_config(model)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if config._attn_implementation == "sdpa" and kinds == {"full_attention"} and not window:
        model.set_attn_implementation(ATTENTION)
    return is_packed(model)


def is_packed(model: Any) -> bool:
    """Whether a model reads padding-free rows."""
    return text_config(model)._attn_implementation == ATTENTION


def text_config(model: Any) -> Any:
    """The settings of a model's decoder, which a model of images and text keeps beside others."""
    return model.config.get_text_config()


def decoder_layers(model: Any) -> nn.ModuleList | None:
    """The layers that a model's decoder holds as ``layers``; None if it calls them otherwise."""
    layers = getattr(model.get_decoder(), "layers", None)
    return layers if isinstance(layers, nn.ModuleList) else None


def _similar(lengths: tuple[int, ...], limit: float) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Cut sorted lengths into runs whose padding to their longest stays within ``limit``."""
    first = start = total = 0
    for n, length in enumerate(lengths):
        if (n + 1 - first) * lengths[first] > limit * (total + length):
            yield start, lengths[first:n]
            first, start, total = n, start + total, 0
        total += length
    yield start, lengths[first:]
