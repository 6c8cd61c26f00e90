"""What the callbacks that write to TensorBoard share."""

from abc import abstractmethod
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger


def tensorboard_loggers(trainer: Trainer) -> list[TensorBoardLogger]:
    """The loggers to write panels to: on the first process only, and TensorBoard's only."""
    if not trainer.is_global_zero:
        return []
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


class WrittenOnce(Callback):
    """Writes when a run starts, and not again when it resumes in the same folder.

    Only for runs with a KL coefficient: a supervised run has neither AKL nor a curriculum to show.
    """

    def __init__(self) -> None:
        self._folders: list[str] = []

    @abstractmethod
    def write(self, writer: Any, trainer: Any, pl_module: Any) -> None:
        """Write to what :meth:`places` gives."""

    def places(self, trainer: Trainer) -> list[tuple[str, Any]]:
        """Where to write, by name: TensorBoard's ``SummaryWriter`` unless a subclass says more."""
        return [(logger.log_dir, logger.experiment) for logger in tensorboard_loggers(trainer)]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Write to the folders that do not have it yet."""
        if not hasattr(pl_module, "kl_coef"):
            return
        for place, writer in self.places(trainer):
            if place not in self._folders:
                self.write(writer, trainer, pl_module)
                self._folders.append(place)

    def state_dict(self) -> dict[str, Any]:
        """The folders that have it."""
        return {"folders": list(self._folders)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self._folders = list(state_dict["folders"])
