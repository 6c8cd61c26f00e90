"""``--trainer.strategy=fsdp2``: Lightning's model-parallel strategy, purely data-parallel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.optim import Optimizer

from .sharding import full_tensor, like


class FSDP2(ModelParallelStrategy):
    """Every process is data-parallel; checkpoints are single files, in DDP's format.

    A run may therefore resume under DDP or with another number of processes, and ``export`` needs
    only one file.

    Args:
        **options: of the process group, as for :class:`ModelParallelStrategy`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False, **options)

    def setup_environment(self) -> None:
        """One mesh over all processes of all nodes."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    # Lightning's own loading bypasses the checkpoint reader, and loads weights before the module
    # has checked that they belong to its run.

    @property
    def lightning_restore_optimizer(self) -> bool:
        """True: see :meth:`load_optimizer_state_dict`."""
        return True

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> Any:
        """Read the file, on every process; its tensors stay on disk until they are used."""
        path = Path(self.broadcast(checkpoint_path))
        return self.checkpoint_io.load_checkpoint(path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take this process's slices out of whole weights."""
        assert self.model is not None
        options = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=options)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """An optimizer's state with whole tensors; all processes gather, the first one keeps."""

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
                    if isinstance(value, Tensor) and value.shape == weights[number].shape
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
