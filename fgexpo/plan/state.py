"""Bytes that stay from step to step: weights, gradients, optimizer, reference. Exact."""

import importlib
from collections import Counter
from dataclasses import dataclass
from math import prod

import torch

from ..errors import UserError
from .adapters import adapter_sizes
from .job import Job, Optimizer
from .shape import Shape, Size, elements, shard

FULL = torch.float32.itemsize


@dataclass(frozen=True)
class State:
    """Bytes per process, from the second update on.

    Attributes:
        weights: of the policy, adapters included. Under FSDP2 rank 0's shard.
        gradients: all of them. They are freed only at the start of the next update, so they also
            take memory during generation and scoring.
        optimizer: the optimizer's state on the device.
        optimizer_host: the part of it that stays in host memory: AdamW's ``step`` counters, one
            fp32 scalar per parameter, unless it is ``capturable`` or ``fused``.
        buckets: DDP's flat copies of the gradients, unless gradients are views of them.
        step: temporaries of the optimizer's step. An estimate.
        reference: the copy, on either device; with LoRA the adapters kept for it, if it moves.
        guessed: the optimizer could not run on shapes alone; two fp32 copies are assumed.
    """

    weights: int
    gradients: int
    optimizer: int
    optimizer_host: int
    buckets: int
    step: int
    reference: int
    guessed: bool = False


def state_of(job: Job, shape: Shape) -> State:
    """Count the bytes of one process."""
    share = job.processes if job.strategy == "fsdp2" else 1
    base = shard(shape.sizes, share)
    trained = base
    weights = elements(base) * job.dtype.itemsize
    if job.adapters is not None:
        trained = shard(adapter_sizes(job.config, job.adapters), share)
        weights += elements(trained) * job.dtype.itemsize
    gradients = elements(trained) * job.dtype.itemsize
    device, host, guessed = optimizer_state(job.optimizer, trained, job.dtype)
    copied = 0
    if job.reference and (job.adapters is None or job.moves):
        copied = elements(trained) * job.dtype.itemsize
    return State(
        weights=weights,
        gradients=gradients,
        optimizer=device,
        optimizer_host=host,
        buckets=gradients if job.strategy == "ddp" and not job.bucket_view else 0,
        step=step_temporaries(job, trained),
        reference=copied,
        guessed=guessed,
    )


def step_temporaries(job: Job, trained: tuple[Size, ...]) -> int:
    """Bytes of AdamW's temporaries between second moments and denominators.

    On a GPU torch handles all parameters at once (``foreach``), in one copy, unless told not to.
    Elsewhere, and under FSDP2's sharded parameters, it handles one at a time, in two copies.
    """
    options = job.optimizer.arguments
    if options.get("fused"):
        return 0
    foreach = options.get("foreach")
    if foreach or (foreach is None and not job.cpu and job.strategy != "fsdp2"):
        return elements(trained) * FULL
    return 2 * max(map(prod, trained)) * FULL


def optimizer_state(
    optimizer: Optimizer, sizes: tuple[Size, ...], dtype: torch.dtype
) -> tuple[int, int, bool]:
    """Bytes of an optimizer's state on the device and on the host, after one real step.

    The step runs on meta tensors: state on the parameter's device counts as the device's, state on
    the CPU as the host's. Parameters of the same size have the same state.

    Args:
        optimizer: its class and arguments.
        sizes: sizes of this process's parameters.
        dtype: the parameters' dtype.

    Returns:
        Device bytes, host bytes, and whether these are a guess because the optimizer needs values.

    Raises:
        UserError: when there is no such class.
    """
    kind = optimizer_class(optimizer.class_path)
    # A fused step exists only for real devices; its state is the same, all on the device.
    wanted = {key: value for key, value in optimizer.arguments.items() if key != "fused"}
    on_device = on_host = 0
    for size, number in Counter(sizes).items():
        parameter = torch.nn.Parameter(torch.empty(size, dtype=dtype, device="meta"))
        parameter.grad = torch.empty_like(parameter)
        try:
            made = kind([parameter], **wanted)
            made.step()
        except (RuntimeError, NotImplementedError, TypeError):
            return 2 * elements(sizes) * FULL, 0, True
        for tensor in made.state[parameter].values():
            if isinstance(tensor, torch.Tensor):
                if tensor.is_meta or optimizer.arguments.get("fused"):
                    on_device += number * tensor.nbytes
                else:
                    on_host += number * tensor.nbytes
    return on_device, on_host, False


def optimizer_class(class_path: str) -> type[torch.optim.Optimizer]:
    """The class of a path.

    Raises:
        UserError: when there is none.
    """
    module, _, name = class_path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"model.optimizer: class {class_path!r} does not exist") from error
