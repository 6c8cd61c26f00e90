"""What every validation found, question by question, beside the logs."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from fgexpo.files import run_folder, write_json
from fgexpo.metrics import FIELDS

FOLDER = "scores"
_CORRECT = FIELDS.index("correct")


class ValidationScores(Callback):
    """Writes ``scores/step=N.json`` into the run's folder after each validation.

    Each holds the rollout step, the rollouts and optimizer updates so far, and of every evaluation
    set the correct samples of each question out of n, from which any pass@k follows.
    """

    def __init__(self) -> None:
        self._folder = Path()

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Agree on the folder."""
        if stage == "fit":
            self._folder = run_folder(trainer) / FOLDER

    def has(self, step: int) -> bool:
        """Whether the scores of a rollout step's validation are on disk."""
        return self._path(step).is_file()

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the scores just computed."""
        if not trainer.is_global_zero or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        step = pl_module.rollout_step
        loaders: Any = trainer.val_dataloaders
        samples = pl_module.evaluator.samples
        found = {
            loader.dataset.name: {
                loader.dataset.questions[row].id: int(fields[_CORRECT].sum())
                for row, fields in samples[loader.dataset.name].items()
            }
            for loader in (loaders if isinstance(loaders, list) else [loaders])
        }
        write_json(
            self._path(step),
            {
                "step": step,
                "rollouts": pl_module.counts.rollouts,
                "updates": trainer.global_step,
                "n": pl_module.evaluation.rollouts,
                "correct": found,
            },
        )

    def _path(self, step: int) -> Path:
        return self._folder / f"step={step:06d}.json"
