"""What the first process finds out, known to all of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from ..errors import EnvironmentFailure, UserError
from ..heartbeat import EXCHANGE, phase

T = TypeVar("T")


def by_first(work: Callable[[], T]) -> T:
    """Let the first process do it; every process gets what it returned.

    All processes call this together. Without a process group it is a plain call.

    Raises:
        UserError: the first process's, on all of them.
        EnvironmentFailure: the same.
    """
    if not dist.is_initialized():
        return work()
    told: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            told[0] = work()
        except (UserError, EnvironmentFailure) as error:
            kind = UserError if isinstance(error, UserError) else EnvironmentFailure
            told[1] = kind(str(error))
    with phase(EXCHANGE):
        dist.broadcast_object_list(told, src=0)
    result, failed = told
    if failed is not None:
        raise failed
    return result
