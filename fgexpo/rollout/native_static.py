"""Rows whose cache stays where it is, so that the step to the next token can be recorded.

Keys and values of all tokens to come are reserved at the start. A step reads the first rows and the
first places of that memory: one of few numbers of rows, and one of few lengths, so that few steps
are recorded. Rows that have ended fill up the number of rows, places without a token are masked.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from ..groups import Groups
from ..model.packing import ATTENTION, text_config
from .native_cache import RoomyLayer, roomy_cache
from .native_graphs import Recorder, Step, unrecorded
from .native_rows import KEPT_ROWS, forward, left_padded

# Lengths are multiples of this, which every attention kernel reads well.
BLOCK = 64
# The shortest length and the smallest number of rows for which a step is recorded.
SHORTEST, FEWEST = 256, 8


class StaticLayer(CacheLayerMixin):
    """Keys and values of one layer in memory of fixed size.

    Args:
        keys: [N, h, L, d].
        values: [N, h, L, d'].
        place_1: where the next token is written, int64 [1].
    """

    def __init__(self, keys: Tensor, values: Tensor, place_1: Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._place_1 = keys, values, place_1
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the memory is there."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write a token, [N, h, 1, d]; return all places, also those without a token."""
        assert self.keys is not None and self.values is not None
        self.keys.index_copy_(2, self._place_1, key_states.to(self.keys.dtype))
        self.values.index_copy_(2, self._place_1, value_states.to(self.values.dtype))
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All places, from the first."""
        return self.get_max_length(), 0

    def get_seq_length(self) -> int:
        """All places: which of them have a token is the mask's business."""
        return self.get_max_length()

    def get_max_length(self) -> int:
        """L."""
        assert self.keys is not None
        return self.keys.shape[2]


class StaticRows:
    """Prompts that have been read; each row then grows by one token at a time.

    Args:
        policy: the causal LM, or its :func:`~.native_weights.decoding_copy`.
        prompts: token ids of Q prompts.
        device: of the policy.
        new: the most tokens that will be drawn for a row.
        recorder: makes what turns a step into one that runs it faster, for a device.

    Attributes:
        logits_NV: of each row's next token, [N, V]; N is Q at first.
        used: places that have a token, or padding before it.
        check_every: tokens after which it pays to look which rows have ended.
    """

    check_every = 8

    def __init__(
        self,
        policy: Any,
        prompts: list[list[int]],
        device: torch.device,
        *,
        new: int,
        recorder: Callable[[torch.device], Recorder] = unrecorded,
    ) -> None:
        tokens_QL, self._mask_NL = left_padded(prompts, device)
        self._policy, self._record = policy, recorder(device)
        self._read = roomy_cache(policy.config)
        self.logits_NV = forward(policy, tokens_QL, self._mask_NL, self._read)
        self.used = tokens_QL.shape[1]
        # The last token drawn is never read.
        self._length = -(-(self.used + new - 1) // BLOCK) * BLOCK
        self._place_1 = torch.zeros(1, dtype=torch.int64, device=device)
        self._steps: dict[tuple[int, int], Step] = {}

    def repeat(self, groups: Groups) -> None:
        """Reserve the memory, with as many copies of each row as its prompt has rollouts."""
        row_N = torch.tensor(groups.each(range(len(groups))), device=self._mask_NL.device)
        self._layers: list[tuple[Tensor, Tensor]] = []
        while self._read.layers:  # one after another, so that what was read is freed
            layer: Any = self._read.layers.pop(0)
            held = self._reserve(layer.keys, row_N), self._reserve(layer.values, row_N)
            self._layers.append(held)
        mask_NL = self._mask_NL.new_zeros(len(row_N), self._length, dtype=torch.bool)
        mask_NL[:, : self.used] = self._mask_NL[row_N]
        self._mask_NL, self._logits_NV = mask_NL, self.logits_NV[row_N]
        self._position_N1 = mask_NL.sum(1, keepdim=True) - 1
        self._token_N1 = torch.zeros_like(self._position_N1)
        self._show(len(row_N))

    def keep(self, rows: Tensor) -> None:
        """Keep some of the rows, before the next token is added."""
        moved = [self._mask_NL, self._position_N1]
        moved += [held[:, :, : self.used] for layer in self._layers for held in layer]
        for held in moved:
            held[: len(rows)] = held.index_select(0, rows)
        self._show(len(rows))

    def fewer(self, live: int) -> int:
        """How many rows to keep of which so many are live: all, or one of few numbers."""
        count, now = rows_for(live), len(self.logits_NV)
        return count if count <= KEPT_ROWS * now else now

    def add(self, token_N: Tensor) -> None:
        """Add a token to each row, int64 [N]."""
        rows = len(token_N)
        self._token_N1[:rows, 0] = token_N
        self._position_N1[:rows] += 1
        self._place_1.fill_(self.used)
        self._mask_NL[:rows, self.used] = True
        self.used += 1
        shape = rows, min(length_for(self.used), self._length)
        if shape not in self._steps:
            self._steps[shape] = self._record(self._step(*shape))
        self._steps[shape]()

    def _show(self, rows: int) -> None:
        self.logits_NV = self._logits_NV[:rows]

    def _reserve(self, read_QhLd: Tensor, row_N: Tensor) -> Tensor:
        _, heads, used, width = read_QhLd.shape
        # Zeros: what is masked has the weight 0, and 0 times what memory holds may be no number.
        held = read_QhLd.new_zeros(len(row_N), heads, self._length, width)
        held[:, :, :used] = read_QhLd.index_select(0, row_N)
        return held

    def _step(self, rows: int, length: int) -> Step:
        """What computes the logits of these rows' next token from what lies in this object."""
        layers: list[Any] = [
            StaticLayer(keys[:rows, :, :length], values[:rows, :, :length], self._place_1)
            for keys, values in self._layers
        ]
        cache = Cache(layers=layers)
        logits_NV = self._logits_NV[:rows]
        arguments = {
            "input_ids": self._token_N1[:rows],
            "position_ids": self._position_N1[:rows],
            # Transformers uses a mask of four dimensions as it is.
            "attention_mask": self._mask_NL[:rows, None, None, :length],
        }

        def step() -> None:
            found = self._policy(
                **arguments, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            logits_NV.copy_(found.logits[:, -1])

        return step


def is_static(policy: Any) -> bool:
    """Whether a model's cache may stay in place, and its steps never wait for the host."""
    config = text_config(policy)
    plain = all(isinstance(layer, RoomyLayer) for layer in roomy_cache(policy.config).layers)
    return (
        plain
        and config._attn_implementation in ("sdpa", ATTENTION)
        # Transformers' word for a forward pass that does not hang on the numbers in it.
        and getattr(policy, "_can_compile_fullgraph", False)
        and not any(
            "dynamic" in kind or kind == "longrope"  # which read the largest position
            for kind in _rope_types(getattr(config, "rope_parameters", None) or {})
        )
    )


def _rope_types(given: dict[str, Any]) -> list[str]:
    """Kinds of rotary embedding, of all layers or by kind of layer."""
    parts = [given, *(part for part in given.values() if isinstance(part, dict))]
    return [part["rope_type"] for part in parts if isinstance(part.get("rope_type"), str)]


def rows_for(live: int) -> int:
    """The smallest of 8, 12, 16, 24, 32, 48, 64 ... that is no smaller."""
    count = FEWEST
    while count < live:
        power_of_two = count & (count - 1) == 0
        count = count * 3 // 2 if power_of_two else count // 3 * 4
    return count


def length_for(used: int) -> int:
    """The smallest of 256, 384, 576, 832 ... that is no smaller; at most a third is unused."""
    length = SHORTEST
    while length < used:
        length = length * 3 // 2 // BLOCK * BLOCK
    return length
