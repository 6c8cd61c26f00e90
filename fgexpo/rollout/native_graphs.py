"""CUDA graphs: a step whose kernels are recorded once and then started together.

Started one by one, the kernels of one token take the host longer than the GPU.
"""

from collections.abc import Callable
from functools import lru_cache

import torch

from ..errors import UserError
from ..outside import first_line

Step = Callable[[], None]
Recorder = Callable[[Step], Step]


def unrecorded(device: torch.device) -> Recorder:
    """Steps run as they are, on any device."""
    return lambda step: step


class CudaGraphs:
    """Records steps; their temporary tensors share memory, since they never run at the same time.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = _stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        """Record a step, which may run more than once; what comes back runs it again.

        The tensors that it reads and writes must live as long as that is used.

        Raises:
            UserError: when it does something that cannot be recorded, as waiting for the host.
        """
        now = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            step()  # libraries choose kernels and reserve their workspaces, which is not recorded
        now.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, as the watchdog's, may use the GPU meanwhile.
            with torch.cuda.graph(
                graph, self._pool, self._stream, capture_error_mode="thread_local"
            ):
                step()
        except RuntimeError as error:
            cause = error.__context__ or error  # to end a recording that has failed, fails too
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            raise UserError(
                "model.engine.graphs: this model's decoding cannot be recorded in a CUDA graph "
                f"({first_line(cause)}); set it to false"
            ) from error
        return graph.replay


@lru_cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """One per GPU: libraries keep a workspace for every stream."""
    return torch.cuda.Stream(device)
