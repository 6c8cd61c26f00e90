"""FSDP2: every process holds a slice of each weight, and gathers a layer only while it is used."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from ..errors import UserError
from ..model.logprobs import LOGPROBS, compute_logprobs
from ..model.packing import decoder_layers
from .slices import Slices

# A sharded model's mark: one process holds all of it.
_ALONE = "sharded_on_one_process"


def shards(trainer: Trainer) -> bool:
    """Whether this trainer cuts the weights up over the processes."""
    return isinstance(trainer.strategy, ModelParallelStrategy)


def shard(model: Any, trainer: Trainer, offload: bool = False) -> None:
    """Shard a causal LM over the processes, decoder layer by decoder layer, in place.

    In bf16 precision, weights are gathered and layers computed in bf16; the slices, the summed
    gradients and the optimizer stay in the weights' own dtype. One process has nothing to gather:
    it keeps the bf16 weights from a forward pass to its backward pass, and casts them once.

    Args:
        model: from Hugging Face, with the same weights on every process.
        trainer: its strategy has a device mesh.
        offload: keep the slices in the host's memory while they are not used.

    Raises:
        UserError: for a model whose layers cannot be found.
    """
    layers = decoder_layers(model)
    if layers is None:
        raise UserError(
            f"trainer.strategy: fsdp2 cannot shard a {type(model).__name__}, whose decoder does "
            "not hold its layers as `layers`; use ddp"
        )
    half = str(trainer.precision).startswith("bf16")
    policy = (
        MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        if half
        else MixedPrecisionPolicy()
    )
    options: dict[str, Any] = {
        "mesh": trainer.strategy.device_mesh["data_parallel"],  # pyright: ignore[reportAttributeAccessIssue]
        "mp_policy": policy,
        "offload_policy": (
            CPUOffloadPolicy(pin_memory=torch.cuda.is_available()) if offload else OffloadPolicy()
        ),
        "reshard_after_forward": not _alone(trainer.strategy),
    }
    for layer in layers:
        fully_shard(layer, **options)
    fully_shard(model, **options)
    # Called through the root, so that embedding, last norm and LM head are gathered too.
    setattr(model, LOGPROBS, MethodType(compute_logprobs, model))
    register_fsdp_forward_method(model, LOGPROBS)
    setattr(model, _ALONE, _alone(trainer.strategy))
    if getattr(model, _ALONE):
        setattr(model, LOGPROBS, _then_at_rest(model, getattr(model, LOGPROBS)))


def _alone(strategy: Any) -> bool:
    return strategy.device_mesh["data_parallel"].size() == 1


def _then_at_rest(model: nn.Module, compute: Callable[..., Any]) -> Callable[..., Any]:
    """Free the cast weights after a pass that no backward pass follows, which would free them."""

    def computed(*arguments: Any) -> Any:
        found = compute(*arguments)
        if not torch.is_grad_enabled():
            for part in _parts(model):
                part.reshard()
        return found

    return computed


def is_sharded(model: nn.Module) -> bool:
    """Whether this process holds only slices of the weights."""
    return isinstance(model, FSDPModule)


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Keep all layers gathered, since processes may call them different numbers of times.

    All processes enter together.
    """
    parts = _parts(model)
    alone = getattr(model, _ALONE, False)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(not alone, recurse=False)
            part.reshard()


def _parts(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole weight; a sharded one is gathered, and all processes must take part."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """This process's slice of a weight, which is all of it unless it is sharded."""
    tensor = tensor.detach()
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor | Slices, weight: Tensor) -> Tensor:
    """A whole tensor that every process has, cut up as this weight is; nothing is sent.

    Of one that was saved in slices, only the rows of this process are read.
    """
    if isinstance(tensor, Slices):
        if isinstance(weight, DTensor) and weight.shape == tensor.shape:
            return tensor.cut_as(weight)
        return tensor.whole()
    if not isinstance(weight, DTensor):
        return tensor
    return distribute_tensor(
        tensor.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None
    )


def gathered(tensor: Tensor, keep: bool) -> Tensor:
    """The whole weight; a sharded one in host memory, and empty where it is not kept.

    All processes must take part. A shard that rests in the host's memory travels to the device.
    """
    if not isinstance(tensor, DTensor):
        return tensor.detach()
    whole = full_tensor(tensor.to(tensor.device_mesh.device_type))
    return whole.cpu() if keep else whole.new_empty(0, device="cpu")
