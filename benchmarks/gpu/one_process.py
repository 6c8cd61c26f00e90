"""A process group of this process alone, which FSDP2 needs on one GPU too."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh


@contextmanager
def alone(device: str) -> Iterator[Any]:
    """What ``fgexpo.parallel.sharding.shard`` asks of a trainer in bf16 on one GPU."""
    # There may be no network at all.
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "nccl" if device == "cuda" else "gloo"
    store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh(device, (1,), mesh_dim_names=("data_parallel",))
        strategy = SimpleNamespace(device_mesh={"data_parallel": mesh})
        yield SimpleNamespace(strategy=strategy, precision="bf16-mixed", world_size=1)
    finally:
        dist.destroy_process_group()
