"""Out-of-memory errors that name the settings to lower."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from ..errors import EnvironmentFailure

# PyTorch's CPU allocator raises a plain RuntimeError.
_CPU = re.compile(r"DefaultCPUAllocator: (not enough memory|can't allocate memory)")


class OutOfMemory(EnvironmentFailure):
    """Memory ran out; the message names the work and the settings to lower."""


@contextmanager
def explain_memory(doing: str, *settings: str) -> Iterator[None]:
    """Turn an allocator's error in the block into one that names the work and the settings.

    Raises:
        OutOfMemory: from the allocator's own error.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"out of memory while {doing}; lower {' or '.join(settings)} ({_first_line(error)})"
        ) from error


def explain_micro_batches(doing: str, tokens: int) -> AbstractContextManager[None]:
    """The same for work that runs micro-batch by micro-batch."""
    return explain_memory(
        f"{doing} micro-batches of up to {tokens} tokens",
        "model.micro_batch_tokens",
        "model.sampling.max_new_tokens",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error comes from an allocator, on a GPU or the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(
        _CPU.search(str(error)) and not isinstance(error, OutOfMemory)
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
