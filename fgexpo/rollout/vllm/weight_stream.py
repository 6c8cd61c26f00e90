"""A policy's weights as vLLM's trainer-side transfer reads them: what will come, then the weights.

The receiver makes room by names, dtypes and shapes that it is told before, so these must be what
comes, in the same order; vLLM checks that each time.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...heartbeat import beat
from ...parallel.whole_weights import full_weights


class Meta(NamedTuple):
    """What vLLM's ``ParamMeta`` says of a weight."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class WeightStream:
    """vLLM's ``WeightSource``, whole and merged, by Hugging Face name; all processes iterate.

    Args:
        policy: whose weights, as they are at the time of each iteration.
        dtype: to which wider weights are rounded before they are gathered and sent, such as
            ``bfloat16``: the server's, which would round them in the same way; None for none.
    """

    def __init__(self, policy: nn.Module, dtype: str | None) -> None:
        self._policy = policy
        self._dtype: torch.dtype | None = getattr(torch, dtype) if dtype else None
        self._metadata: list[Meta] | None = None

    def metadata(self) -> list[Meta]:
        """Name, dtype and shape of each weight; the first call gathers them once to see."""
        if self._metadata is None:
            self._metadata = [Meta(name, w.dtype, tuple(w.shape)) for name, w in self]
        return self._metadata

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for named in full_weights(self._policy, self._dtype):
            beat()
            yield named
