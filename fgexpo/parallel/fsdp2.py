"""``--trainer.strategy=fsdp2``: Lightning's model-parallel strategy, purely data-parallel."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.optim import Optimizer

from .sharding import full_tensor, like
from .slices import Slices


class FSDP2(ModelParallelStrategy):
    """Every process is data-parallel; checkpoints are single files, in DDP's format.

    A run may therefore resume under DDP or with another number of processes, and ``export`` needs
    only one file. So it may from the folders that :meth:`hand_to` makes possible.

    Args:
        **options: of the process group, as for :class:`ModelParallelStrategy`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False, **options)
        self._take: Callable[[dict[str, Any], Path], None] | None = None

    def setup_environment(self) -> None:
        """One mesh over all processes of all nodes."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @contextmanager
    def hand_to(self, take: Callable[[dict[str, Any], Path], None]) -> Iterator[None]:
        """In this block, a save gives the state to ``take``, in slices, instead of a file."""
        self._take = take
        try:
            yield
        finally:
            self._take = None

    @property
    def hands_slices(self) -> bool:
        """Whether the state that a checkpoint is being made of stays in slices."""
        return self._take is not None

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole weights, on the first process alone; or each process's slices."""
        assert self.model is not None
        if self._take is not None:
            return get_model_state_dict(self.model)
        return super().lightning_module_state_dict()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """Write a file, on the first process; or hand the state over, on all."""
        if self._take is not None:
            self._take(checkpoint, Path(self.broadcast(filepath)))
        else:
            super().save_checkpoint(checkpoint, filepath, storage_options)

    # Lightning's own loading bypasses the checkpoint reader, and loads weights before the module
    # has checked that they belong to its run.

    @property
    def lightning_restore_optimizer(self) -> bool:
        """True: see :meth:`load_optimizer_state_dict`."""
        return True

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        """Read it, on every process; a folder's tensors stay on disk until they are used."""
        path = Path(self.broadcast(checkpoint_path))
        io: Any = self.checkpoint_io
        if path.is_dir():
            return io.load_checkpoint(path, weights_only=weights_only, whole=False)
        return self.checkpoint_io.load_checkpoint(path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's slices out of the saved weights."""
        assert self.model is not None
        saved = checkpoint["state_dict"]
        if not any(isinstance(value, Slices) for value in saved.values()):
            options = StateDictOptions(full_state_dict=True, strict=strict)
            set_model_state_dict(self.model, saved, options=options)
            return
        own: dict[str, Any] = get_model_state_dict(self.model)
        cut: dict[str, Any] = {
            # What belongs to no weight is named by the check of names that follows.
            name: like(value, own[name]) if name in own else torch.empty(0)
            for name, value in saved.items()
        }
        set_model_state_dict(self.model, cut, options=StateDictOptions(strict=strict))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """An optimizer's state with whole tensors; all processes gather, the first one keeps.

        Or with each process's slices.
        """
        if self._take is not None:
            return optimizer.state_dict()

        def gather(tensor: Tensor) -> Tensor:
            whole = full_tensor(tensor)
            return whole.cpu() if self.is_global_zero else whole.new_empty(0, device="cpu")

        return apply_to_collection(optimizer.state_dict(), Tensor, gather)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Cut whole tensors up in the same way as the weights they belong to."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            state = {
                number: {
                    name: like(value, weights[number])
                    if isinstance(value, Tensor | Slices) and value.shape == weights[number].shape
                    else value
                    for name, value in values.items()
                }
                for number, values in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": state})
            _optimizers_to_device([optimizer], self.root_device)


StrategyRegistry.register(
    "fsdp2", FSDP2, description="FSDP2: weights, gradients and optimizer sharded over all processes"
)
