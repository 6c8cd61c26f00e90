"""Gathers sharded weights in buckets: few collectives, and no more bytes than their reader keeps.

A collective for each weight of a large model is mostly latency, and a weight that an engine rounds
to bfloat16 need not travel in float32. Rounding a slice and then gathering it gives the same bits
as gathering it and then rounding.
"""

from collections.abc import Iterable, Iterator
from math import ceil, prod

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from .sharding import full_tensor

# Whole weights gathered at once; a larger weight is gathered alone. A GPU's collectives need size,
# while a CPU copies what does not fit its caches at half the speed.
BUCKET_BYTES = {"cuda": 2**28, "cpu": 2**23}
# torch 2.13 has renamed it.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


def gather_named(
    weights: Iterable[tuple[str, Tensor]],
    dtype: torch.dtype | None = None,
    bucket_bytes: int | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Whole weights, in the order given; all processes must iterate over all of them.

    Args:
        weights: sharded or whole, in the same order on every process.
        dtype: wider floats are rounded to it before they travel; None for the weights' own.
        bucket_bytes: how much is gathered at once; None for what suits the device.
    """
    bucket: list[tuple[str, DTensor]] = []
    for name, weight in weights:
        weight = weight.detach()
        if isinstance(weight, DTensor) and _in_rows(weight):
            if bucket and not _fits(bucket, weight, dtype, bucket_bytes):
                yield from _gather(bucket, dtype)
                bucket = []
            bucket.append((name, weight))
        else:
            yield from _gather(bucket, dtype)
            bucket = []
            yield name, full_tensor(weight.to(_narrower(weight, dtype)))
    yield from _gather(bucket, dtype)


def _narrower(weight: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """The dtype that a weight travels in."""
    if dtype is None or not weight.is_floating_point() or weight.dtype.itemsize <= dtype.itemsize:
        return weight.dtype
    return dtype


def _in_rows(weight: DTensor) -> bool:
    """Whether the processes hold its rows in turn, as FSDP2 cuts weights up."""
    return weight.device_mesh.ndim == 1 and weight.placements == (Shard(0),)


def _fits(
    bucket: list[tuple[str, DTensor]],
    weight: DTensor,
    dtype: torch.dtype | None,
    bucket_bytes: int | None,
) -> bool:
    first, itemsize = bucket[0][1], _narrower(weight, dtype).itemsize
    limit = bucket_bytes or BUCKET_BYTES.get(weight.device_mesh.device_type, BUCKET_BYTES["cpu"])
    return (
        first.device_mesh == weight.device_mesh
        and _narrower(first, dtype) == _narrower(weight, dtype)
        and itemsize * sum(held.numel() for _, held in [*bucket, ("", weight)]) <= limit
    )


def _gather(
    bucket: list[tuple[str, DTensor]], dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """One collective for all of a bucket."""
    if not bucket:
        return
    mesh = bucket[0][1].device_mesh
    processes = mesh.size()
    # Slices are padded to the longest: the last ones have fewer rows, or none.
    rows = [ceil(weight.shape[0] / processes) for _, weight in bucket]
    sizes = [
        count * prod(weight.shape[1:]) for count, (_, weight) in zip(rows, bucket, strict=True)
    ]
    local = bucket[0][1].to_local()
    own_X = local.new_zeros(sum(sizes), dtype=_narrower(local, dtype))
    for part, (_, weight) in zip(own_X.split(sizes), bucket, strict=True):
        held = weight.to_local().flatten()
        part[: len(held)].copy_(held)
    all_WX = own_X.new_empty(processes, len(own_X))
    _all_gather(all_WX.view(-1), own_X, mesh.get_group())
    for part, count, (name, weight) in zip(all_WX.split(sizes, 1), rows, bucket, strict=True):
        whole = part.reshape(processes * count, *weight.shape[1:])
        yield name, whole[: weight.shape[0]]
