"""Collectives through Lightning's strategy.

Process r of W holds every W-th question of a step, starting with the r-th. Gathering the processes'
rows therefore interleaves them, in the order that a single process would have had.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor

from ..errors import EnvironmentFailure, UserError
from ..heartbeat import EXCHANGE, phase
from ..outside import first_line


def gather_questions(trainer: Trainer, values: Tensor) -> Tensor:
    """All processes' questions in the order of the draw: [Q / W, ...] becomes [Q, ...]."""
    if trainer.world_size == 1:
        return values
    shares = [torch.empty_like(values) for _ in range(trainer.world_size)]
    with phase(EXCHANGE):
        torch.distributed.all_gather(shares, values.contiguous())
    return torch.stack(shares, 1).flatten(0, 1)


def mean_over_processes(
    trainer: Trainer, values: dict[str, float], device: Any
) -> dict[str, float]:
    """The mean of each value over the processes; one collective for all of them."""
    if trainer.world_size == 1 or not values:
        return values
    packed = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    with phase(EXCHANGE):
        reduced = trainer.strategy.reduce(packed, reduce_op="mean")
    return dict(zip(values, reduced.tolist(), strict=True))


def any_process(trainer: Trainer, flag: bool) -> bool:
    """Whether the flag is set on at least one process."""
    return bool(largest(trainer, int(flag)))


def largest(trainer: Trainer, number: int) -> int:
    """The largest of the processes' numbers."""
    if trainer.world_size == 1:
        return number
    packed = torch.tensor(number, device=trainer.strategy.root_device)
    with phase(EXCHANGE):
        return int(trainer.strategy.reduce(packed, reduce_op="max"))


def on_first(trainer: Trainer, work: Callable[[], None]) -> None:
    """Do something on the first process; when it fails, no process goes on to wait for it.

    Raises:
        UserError: the first process's, on all of them.
        EnvironmentFailure: the same.
        OSError: the same.
    """
    failed: UserError | EnvironmentFailure | OSError | None = None
    if trainer.is_global_zero:
        try:
            work()
        except (UserError, EnvironmentFailure, OSError) as error:
            failed = error
    told = trainer.strategy.broadcast(failed)
    if told is not None:
        raise told


def raise_together(trainer: Trainer, error: Exception | None) -> None:
    """Raise the first process's error on all, or nothing when none has one.

    Raises:
        UserError: some process's.
        EnvironmentFailure: the same; where the error is of another class, in its first line.
        OSError: the same.
    """
    said = error
    if error is not None and not isinstance(error, UserError | EnvironmentFailure | OSError):
        said = EnvironmentFailure(first_line(error))
    told: list[Exception | None] = [said] * trainer.world_size
    if trainer.world_size > 1:
        with phase(EXCHANGE):
            torch.distributed.all_gather_object(told, said)
    for other in (error, *told):
        if other is not None:
            raise other


def mean(trainer: Trainer, value: float) -> float:
    """The mean of the processes' values."""
    return mean_over_processes(trainer, {"": value}, trainer.strategy.root_device)[""]


def check_same_step(trainer: Trainer, rollout_step: int) -> None:
    """Check that all processes start at the same step.

    Raises:
        UserError: on all of them, naming this one's step and another's.
    """
    last, first = largest(trainer, rollout_step), -largest(trainer, -rollout_step)
    if first != last:
        raise UserError(
            f"--ckpt_path: rank {trainer.global_rank} begins after rollout step {rollout_step}, "
            f"but the processes begin after steps {first} to {last}; do all nodes see the same "
            "checkpoints?"
        )


def without_gradient_sync(trainer: Trainer) -> AbstractContextManager[Any]:
    """Let backward passes add to this process's gradients; under DDP without communication.

    FSDP2 still reduces each one: gradients kept until the last micro-batch would be unsharded.
    """
    strategy = trainer.strategy
    return (
        strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext()
    )
