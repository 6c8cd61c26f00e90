"""Measure the base before its first update, so that every curve starts at step 0."""

from typing import Any

from lightning.pytorch import Callback, Trainer

from .validation_scores import ValidationScores


class ValidateFirst(Callback):
    """Runs one validation when a fresh run starts, or the one that a resumed run missed.

    A checkpoint is written before the validation of its step, which a kill or a signal may then
    prevent.

    Attributes:
        validated_at: rollout step of the last validation.
    """

    def __init__(self) -> None:
        self.validated_at = -1

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Validate as the training loop itself does between steps."""
        if not trainer.enable_validation or not self._is_due(trainer, pl_module):
            return
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.restarting = False  # start afresh: its state is from an earlier validation
        trainer.validating = True
        loop.run()
        trainer.training = True

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Remember the step of the latest validation."""
        self.validated_at = pl_module.rollout_step

    def state_dict(self) -> dict[str, Any]:
        """The last validation's step."""
        return {"validated_at": self.validated_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.validated_at = state_dict["validated_at"]

    def _is_due(self, trainer: Trainer, pl_module: Any) -> bool:
        step = pl_module.rollout_step
        if step == 0:
            return True
        if trainer.should_stop:
            # All steps are done. The last checkpoint may be older than the last validation, so only
            # the callback that records validations knows whether that one took place.
            written = [c for c in trainer.callbacks if isinstance(c, ValidationScores)]  # pyright: ignore[reportAttributeAccessIssue]
            return any(not scores.has(step) for scores in written)
        # Only a count of batches over the whole run says which steps are due.
        by_steps = trainer.check_val_every_n_epoch is None
        return by_steps and step % trainer.val_check_batch == 0 and self.validated_at < step
