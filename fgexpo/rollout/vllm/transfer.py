"""Ways to send a policy's weights to a server."""

# vLLM is an optional dependency.
# pyright: reportMissingImports=false

from abc import ABC, abstractmethod
from typing import Any

import torch.distributed as dist
from torch import nn


class WeightTransfer(ABC):
    """Sends every weight, whole, by its Hugging Face name; all processes take part."""

    @abstractmethod
    def send(self, policy: nn.Module, url: str) -> None:
        """Send the weights to the server at ``url``."""


class NCCLTransfer(WeightTransfer):
    """vLLM's own transfer by NCCL broadcast. Unverified: it needs GPUs on both sides.

    Args:
        address: this node's address, as the server's workers reach it.
        port: a free port on this node.
        workers: the server's processes, which is its tensor-parallel size.
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 29600, workers: int = 1) -> None:
        self.address = address
        self.port = port
        self.workers = workers
        self._engine: Any = None

    def send(self, policy: nn.Module, url: str) -> None:
        """See :class:`WeightTransfer`.

        Adapted and sharded policies are rejected before (``VLLMServer.check_weights``).
        """
        if self._engine is None:
            self._engine = self._open(policy, url)
        self._engine.send_weights()

    def _open(self, policy: nn.Module, url: str) -> Any:
        from vllm.distributed.weight_transfer.base import ModuleSource
        from vllm.distributed.weight_transfer.clients import HTTPVLLMWeightSyncClient
        from vllm.distributed.weight_transfer.nccl_engine import (
            NCCLTrainerInitInfo,
            NCCLTrainerWeightTransferEngine,
        )

        info = NCCLTrainerInitInfo(
            rank=dist.get_rank() if dist.is_initialized() else 0,
            master_address=self.address,
            master_port=self.port,
            world_size=1 + self.workers,
        )
        return NCCLTrainerWeightTransferEngine.trainer_init(
            info, client=HTTPVLLMWeightSyncClient(url), source=ModuleSource(policy)
        )
