"""A KV cache with room for later tokens: each is written in place, without a copy.

Transformers' own cache is concatenated again for every token, which is quadratic in the length.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# A full layer grows by an eighth, but by at least this many tokens.
ROOM = 32


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer: the used part of a larger block of memory."""

    _memory: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add tokens, [N, h, l, d] each; return all of them, [N, h, L, d] each."""
        key_states, value_states = as_attended(key_states), as_attended(value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if self._memory is None or self._memory[0].shape[-2] < after:
            self._memory = tuple(  # pyright: ignore[reportAttributeAccessIssue]
                _longer(held, new, with_room(after))
                for held, new in ((self.keys, key_states), (self.values, value_states))
            )
        assert self._memory is not None
        keys, values = self._memory
        keys[:, :, before:after] = key_states
        values[:, :, before:after] = value_states
        self.keys, self.values = keys[:, :, :after], values[:, :, :after]
        return self.keys, self.values

    def reset(self) -> None:
        """Forget everything."""
        self._memory = None
        super().reset()

    def reorder_cache(self, beam_idx: Any) -> None:
        """Reorder the rows; new room is made at the next token."""
        self._memory = None
        super().reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row ``repeats`` times; new room is made at the next token."""
        self._memory = None
        super().batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some of the rows; new room is made at the next token."""
        self._memory = None
        super().batch_select_indices(indices)


def as_attended(states: Tensor) -> Tensor:
    """Keys or values as attention reads them: autocast rounds those of float32, as RoPE makes them.

    So a cache holds what is used, in half the memory.
    """
    kind = states.device.type
    if states.dtype == torch.float32 and torch.is_autocast_enabled(kind):
        return states.to(torch.get_autocast_dtype(kind))
    return states


def _longer(held: Tensor | None, new: Tensor, length: int) -> Tensor:
    rows, heads, _, width = new.shape
    memory = new.new_empty(rows, heads, length, width)
    if held is not None and held.numel():
        memory[:, :, : held.shape[-2]] = held
    return memory


def with_room(length: int) -> int:
    """Tokens that a layer has memory for after growing to this length."""
    return length + max(ROOM, length // 8)


def last_growth(first: int, last: int) -> int:
    """The length at which a layer grows for the last time, from full at ``first`` to ``last``."""
    grown = first + 1
    while with_room(grown) < last:
        grown = with_room(grown) + 1
    return grown


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for a model; layers with sliding-window attention keep their own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(kind) is DynamicLayer else kind for kind in cache.layers]
    return cache
