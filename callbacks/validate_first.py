"""Measure the base before its first update, so that every curve starts at step 0."""

from typing import Any

from lightning.pytorch import Callback, Trainer


class ValidateFirst(Callback):
    """Runs one validation when a fresh run starts; a resumed one has had it."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Validate as the training loop itself does between steps."""
        if pl_module.rollout_step > 0 or not trainer.enable_validation:
            return
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True
