"""Checkpoints counted in rollout steps."""

import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint

from fgexpo.errors import UserError


class RolloutCheckpoint(Checkpoint):
    """Saves every k rollout steps and at the end, keeps the newest few, and a ``last.ckpt``.

    Args:
        every_steps: rollout steps between saves.
        keep: how many numbered checkpoints stay; null keeps all.
        dirpath: where; by default ``checkpoints`` in the logger's run folder.
    """

    def __init__(
        self, every_steps: int = 50, keep: int | None = 2, dirpath: str | None = None
    ) -> None:
        if every_steps < 1:
            raise UserError(f"checkpoint.every_steps must be at least 1, got {every_steps}")
        if keep is not None and keep < 1:
            raise UserError(f"checkpoint.keep must be at least 1 or null, got {keep}")
        self.every_steps = every_steps
        self.keep = keep
        self.dirpath = dirpath
        self._saved_at = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when the count says so."""
        if pl_module.rollout_step % self.every_steps == 0:
            self._save(trainer, pl_module.rollout_step)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the end of the run, unless it has just been saved."""
        if pl_module.rollout_step != self._saved_at:
            self._save(trainer, pl_module.rollout_step)

    def folder(self, trainer: Trainer) -> Path:
        """Where the checkpoints of this run lie."""
        if self.dirpath is not None:
            return Path(self.dirpath)
        return Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints"

    def _save(self, trainer: Trainer, step: int) -> None:
        folder = self.folder(trainer)
        path = folder / f"step={step:06d}.ckpt"
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = step
        if not trainer.is_global_zero:
            return
        # A second name for the same file, given last: whatever last.ckpt names is complete.
        link = folder / f".last.{os.getpid()}.partial"
        link.unlink(missing_ok=True)
        os.link(path, link)
        os.replace(link, folder / "last.ckpt")
        if self.keep is not None:
            for old in sorted(folder.glob("step=*.ckpt"))[: -self.keep]:
                old.unlink()
