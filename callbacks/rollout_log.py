"""Every rollout in parquet, to read what the policy wrote."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from fgexpo.errors import UserError
from fgexpo.files import run_folder
from fgexpo.parallel.collectives import on_first
from fgexpo.rollout.parquet import write_rollouts
from fgexpo.types import RolloutBatch
from fgexpo.update.batch import TrainingBatch

PREDICTED = "predict"


class RolloutLog(Callback):
    """Writes graded rollouts, one file per rollout step or validation batch.

    ``test`` writes its own, through :class:`fgexpo.callbacks.EvaluationReport`.

    Args:
        save: null for `predict` alone, of which nothing else would be left; elsewhere they grow
            with the run.
        dirpath: folder to write in; by default ``rollouts`` in the logger's run folder.
    """

    def __init__(self, save: bool | None = None, dirpath: str | None = None) -> None:
        self.save = save
        self.dirpath = dirpath
        self._folder = Path()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Agree on the folder."""
        self._folder = Path(self.dirpath) if self.dirpath else run_folder(trainer) / "rollouts"

    def saves(self, trainer: Trainer) -> bool:
        """Whether the rollouts of this trainer's work are written."""
        return trainer.state.fn == "predict" if self.save is None else self.save

    def pattern(self, trainer: Trainer) -> Path:
        """Where the files of a finished ``validate`` or ``predict`` are."""
        return self._folder / f"{PREDICTED if trainer.state.fn == 'predict' else 'val'}-*.parquet"

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Refuse a folder in which two predictions would be mixed.

        Raises:
            UserError: on all processes, when it holds an earlier one's rollouts.
        """
        if self.saves(trainer):
            on_first(trainer, self._check_folder)

    def _check_folder(self) -> None:
        if any(self._folder.glob(f"{PREDICTED}-*.parquet")):
            raise UserError(
                f"rollouts.dirpath: {str(self._folder)!r} holds the rollouts of an earlier "
                "`predict`; move them, or choose another folder with --rollouts.dirpath"
            )

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
        self._write(trainer, batch, f"{PREDICTED}-{dataloader_idx}-{batch_idx:04d}")

    def _write(self, trainer: Trainer, batch: Any, name: str) -> None:
        if not (self.saves(trainer) and isinstance(batch, RolloutBatch)):
            return
        advantages_N = batch.advantages_N if isinstance(batch, TrainingBatch) else None
        path = self._folder / f"{name}-rank={trainer.global_rank}.parquet"
        write_rollouts(batch, path, advantages_N)
