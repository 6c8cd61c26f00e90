"""Every rollout in parquet, to read what the policy wrote."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from fgexpo.files import run_folder
from fgexpo.rollout.parquet import write_rollouts
from fgexpo.types import RolloutBatch
from fgexpo.update.batch import TrainingBatch


class RolloutLog(Callback):
    """Writes graded rollouts, one file per rollout step or validation batch.

    ``test`` writes its own, through :class:`fgexpo.callbacks.EvaluationReport`.

    Args:
        save: off by default, since it grows with the run.
        dirpath: folder to write in; by default ``rollouts`` in the logger's run folder.
    """

    def __init__(self, save: bool = False, dirpath: str | None = None) -> None:
        self.save = save
        self.dirpath = dirpath
        self._folder = Path()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Agree on the folder."""
        self._folder = Path(self.dirpath) if self.dirpath else run_folder(trainer) / "rollouts"

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a training step's rollouts."""
        self._write(trainer, batch, f"train-step={pl_module.rollout_step - 1:06d}")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a validation batch's rollouts."""
        step = pl_module.rollout_step
        self._write(trainer, batch, f"val-step={step:06d}-{dataloader_idx}-{batch_idx:04d}")

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a prediction batch's rollouts."""
        self._write(trainer, batch, f"predict-{dataloader_idx}-{batch_idx:04d}")

    def _write(self, trainer: Trainer, batch: Any, name: str) -> None:
        if not (self.save and isinstance(batch, RolloutBatch)):
            return
        advantages_N = batch.advantages_N if isinstance(batch, TrainingBatch) else None
        path = self._folder / f"{name}-rank={trainer.global_rank}.parquet"
        write_rollouts(batch, path, advantages_N)
