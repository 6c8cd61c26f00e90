"""A KV cache with room for the tokens to come: each is written in place, nothing is copied for it.

Transformers' own cache is put together anew for every token, which is quadratic in the length.
"""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

# Tokens that a layer gets room for when it is full: an eighth more, and at least these.
ROOM = 32


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer: the first part of memory that is longer than they are."""

    _memory: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add tokens, [N, h, l, d] each; all there are now, [N, h, L, d] each."""
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
        """The rows in another order, with new room at the next token."""
        self._memory = None
        super().reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row ``repeats`` times, with new room at the next token."""
        self._memory = None
        super().batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Some of the rows, with new room at the next token."""
        self._memory = None
        super().batch_select_indices(indices)


def _longer(held: Tensor | None, new: Tensor, length: int) -> Tensor:
    rows, heads, _, width = new.shape
    memory = new.new_empty(rows, heads, length, width)
    if held is not None and held.numel():
        memory[:, :, : held.shape[-2]] = held
    return memory


def with_room(length: int) -> int:
    """Tokens that a layer has memory for once it had to grow to this length."""
    return length + max(ROOM, length // 8)


def last_growth(first: int, last: int) -> int:
    """At which length a layer grows for the last time, from full at ``first`` to ``last``."""
    grown = first + 1
    while with_room(grown) < last:
        grown = with_room(grown) + 1
    return grown


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for a model; layers that look back over a window alone keep their own kind."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(kind) is DynamicLayer else kind for kind in cache.layers]
    return cache
