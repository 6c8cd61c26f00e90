"""A policy's weights as vLLM's trainer-side transfer reads them: what will come, then the weights.

The receiver makes room by names, dtypes and shapes that it is told before, so these must be what
comes, in the same order; vLLM checks that each time.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...heartbeat import beat
from ...parallel.whole_weights import full_weights

# Types (``model_type``) of dense models: vLLM keeps all their weights in one dtype.
ONE_DTYPE = ("llama", "mistral", "qwen2", "qwen3")


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
            ``bfloat16``: that of all of the server's weights, which would be rounded to it in the
            same way (:func:`dtype_to_send`); None for none.

    On a GPU all are made on the stream that is current now, whichever stream reads them.
    """

    def __init__(self, policy: nn.Module, dtype: str | None) -> None:
        self._policy = policy
        self._dtype: torch.dtype | None = getattr(torch, dtype) if dtype else None
        self._metadata: list[Meta] | None = None
        self._maker = torch.cuda.current_stream() if torch.cuda.is_available() else None

    def metadata(self) -> list[Meta]:
        """Name, dtype and shape of each weight; the first call gathers them once to see."""
        if self._metadata is None:
            self._metadata = [Meta(name, w.dtype, tuple(w.shape)) for name, w in self]
        return self._metadata

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        weights = full_weights(self._policy, self._dtype)
        for named in weights if self._maker is None else on_stream(self._maker, weights):
            beat()
            yield named


def on_stream(maker: Any, weights: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Make all weights on one CUDA stream; the stream that reads one waits for it.

    vLLM packs weights on one stream and then on another, and takes it that each is made where it
    is read. But a bucket of weights is gathered when the first of them is asked for, and is read
    on another stream after a change. Its memory must not be used again before it has been read.

    Args:
        maker: a ``torch.cuda.Stream``.
        weights: whose work is queued when the next one is asked for.
    """
    maker.wait_stream(torch.cuda.current_stream())
    while True:
        with torch.cuda.stream(maker):
            named = next(weights, None)
        if named is None:
            return
        reader = torch.cuda.current_stream()
        reader.wait_stream(maker)
        if named[1].device == maker.device:
            named[1].record_stream(reader)
        yield named


def dtype_to_send(policy: Any, served: str | None) -> str | None:
    """The dtype to round to for a server whose model has this dtype; None if it may keep others.

    A server does not say in which dtype it keeps each weight, and one of a mixture of experts may
    keep its router in float32. So only models of known types are rounded before they are sent.
    """
    return served if policy.config.model_type in ONE_DTYPE else None
