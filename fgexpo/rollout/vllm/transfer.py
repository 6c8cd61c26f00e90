"""Ways to send a policy's weights to servers."""

# vLLM is an optional dependency.
# pyright: reportMissingImports=false

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from ...errors import UserError
from ...parallel.first_process import by_first
from .fleet import Fleet
from .receivers import Receivers, own_address
from .server_facts import ServerFacts, ask
from .weight_stream import WeightStream, dtype_to_send


def as_urls(url: Sequence[str] | str) -> list[str]:
    """One address or several, as a list without slashes at the end.

    Raises:
        UserError: for none, one given twice, or something that is no address.
    """
    urls = [one.rstrip("/") for one in ([url] if isinstance(url, str) else url)]
    wrong = [one for one in urls if not one.startswith(("http://", "https://"))]
    if wrong:
        raise UserError(f"model.engine.url must begin with http:// or https://, got {wrong[0]!r}")
    if not urls or len(set(urls)) < len(urls):
        raise UserError(f"model.engine.url must name at least one server, each once, got {urls}")
    return urls


class WeightTransfer(ABC):
    """Sends every weight, whole, by its Hugging Face name; all processes take part.

    Attributes:
        nccl: the servers must have vLLM's own transfer, by NCCL.
    """

    nccl: bool = False

    @abstractmethod
    def send(self, policy: nn.Module, urls: Sequence[str]) -> None:
        """Send the weights to the servers at ``urls``, which are the same in each call."""


class NCCLTransfer(WeightTransfer):
    """vLLM's own transfer by NCCL broadcast, to all servers at once.

    Weights that are sharded (FSDP2) are gathered in buckets, and LoRA adapters are merged. Dense
    models of known types are sent in the dtype of the server's weights, all others in their own.
    Unverified: it needs GPUs on both sides.

    Args:
        address: this node's address, as the servers reach it; null for the one from which this
            node reaches the first server.
        port: a free port on this node.
        workers: processes of each server, which are its tensor-parallel times its data-parallel
            size; null to ask the servers.
        timeout: seconds that sending all weights may take.
    """

    nccl = True

    def __init__(
        self,
        address: str | None = None,
        port: int = 29600,
        workers: int | None = None,
        timeout: float = 300.0,
    ) -> None:
        if workers is not None and workers < 1:
            raise UserError(f"model.engine.transfer.workers must be at least 1, got {workers}")
        self.address = address
        self.port = port
        self.workers = workers
        self.timeout = timeout
        self._engine: Any = None

    def send(self, policy: nn.Module, urls: Sequence[str] | str) -> None:
        """See :class:`WeightTransfer`."""
        if self._engine is None:
            with isolate_rng():  # vLLM may draw while it is imported
                self._engine = self._open(policy, as_urls(urls))
        if torch.cuda.is_available():
            # vLLM reads the weights on streams of its own, which do not wait for the optimizer's.
            torch.cuda.current_stream().synchronize()
        self._engine.send_weights()

    def _open(self, policy: nn.Module, urls: list[str]) -> Any:
        try:
            from vllm.distributed.weight_transfer.nccl_engine import (
                NCCLTrainerInitInfo,
                NCCLTrainerWeightTransferEngine,
            )
        except ImportError as error:
            raise UserError(
                "model.engine.transfer: NCCLTransfer needs vLLM 0.32 where the policy is trained "
                f"too ({error}); install fgexpo[vllm], or give a transfer of your own"
            ) from error

        fleet = Fleet(urls, self.timeout, "model.engine.transfer.timeout")
        facts = by_first(lambda: fleet.each("said what it is", ask))
        workers = [self._workers_of(server) for server in facts]
        client = Receivers(fleet, workers)
        info = NCCLTrainerInitInfo(
            rank=dist.get_rank() if dist.is_initialized() else 0,
            master_address=self.address or own_address(urls[0]),
            master_port=self.port,
            world_size=1 + sum(workers),
        )
        source = WeightStream(policy, dtype_to_send(policy, facts[0].dtype))
        engine = NCCLTrainerWeightTransferEngine.trainer_init(info, client=client, source=source)
        client.abort = lambda: engine.model_update_group.destroy()
        return engine

    def _workers_of(self, server: ServerFacts) -> int:
        workers = self.workers or server.workers
        if workers is None:
            raise UserError(
                f"model.engine.transfer.workers must be given: {server.url} (vLLM "
                f"{server.version}) does not say how many processes it has"
            )
        return workers
