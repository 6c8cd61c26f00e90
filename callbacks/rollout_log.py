"""Every rollout in parquet, for whoever wants to read what the policy wrote."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from fgexpo.folders import run_folder
from fgexpo.types import RolloutBatch


class RolloutLog(Callback):
    """Writes graded rollouts, one file a rollout step or evaluation batch.

    Args:
        save: off by default, since it grows with the run.
        dirpath: where; by default ``rollouts`` in the logger's run folder.
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

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a test batch's rollouts."""
        self._write(trainer, batch, f"test-{dataloader_idx}-{batch_idx:04d}")

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
        from pyarrow import Table, parquet

        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}-rank={trainer.global_rank}.parquet"
        partial = path.with_suffix(".partial")
        parquet.write_table(Table.from_pydict(rollout_columns(batch)), partial)
        partial.replace(path)


def rollout_columns(batch: RolloutBatch) -> dict[str, list[Any]]:
    """One row a rollout: what was asked, what came back, and what it earned."""
    questions = [q for q in batch.source.questions for _ in range(batch.group_size)]
    return {
        "dataset": [batch.source.dataset] * len(questions),
        "question_id": [question.id for question in questions],
        "sample": list(range(batch.group_size)) * len(batch.source),
        "prompt": [question.prompt for question in questions],
        "gold": [question.answer for question in questions],
        "completion": batch.texts,
        "tokens": batch.completions.lengths_N.tolist(),
        "finish": list(batch.completions.finish),
        "correct": batch.correct_N.tolist(),
        "reward": batch.reward_N.tolist(),
        "advantage": batch.advantages_N.tolist(),
    }
