"""Checkpoints counted in rollout steps and minutes."""

import os
import re
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint

from fgexpo.errors import UserError
from fgexpo.files import PARTIAL, Lock, beside, exchange, put_back, remove, run_folder, sync_folder
from fgexpo.heartbeat import PATIENT, phase
from fgexpo.parallel.collectives import any_process, on_first
from fgexpo.parallel.fsdp2 import FSDP2
from fgexpo.robustness.checkpoint import PATTERN, by_age, commit_folder
from fgexpo.robustness.order import ORDER, Order, order_of
from fgexpo.robustness.resume import lock_of
from fgexpo.robustness.sharded import ShardedSaver

STALE_SECONDS = 600.0
# Ours are named after their process and a random word.
_OURS = re.compile(r"\.\d+-[0-9a-f]{8}" + re.escape(PARTIAL) + "$")


class RolloutCheckpoint(Checkpoint):
    """Saves every k rollout steps, every m minutes and at the end; keeps the newest few.

    ``last.ckpt`` points to the newest one and is updated once that one is complete. The folder is
    locked while the run trains, so that no other run prunes it or writes into it.

    Args:
        every_steps: rollout steps between saves; null for none by steps.
        every_minutes: minutes between saves, counted from the last one; null for none by time.
        keep: how many numbered checkpoints stay; null keeps all.
        dirpath: folder to save in; by default ``checkpoints`` in the logger's run folder.
        sharded: under fsdp2, every process writes its own part of a folder while training goes on;
            else the first process writes one file and all wait for it.
    """

    def __init__(
        self,
        every_steps: int | None = 50,
        every_minutes: float | None = 30.0,
        keep: int | None = 2,
        dirpath: str | None = None,
        sharded: bool = False,
    ) -> None:
        if every_steps is not None and every_steps < 1:
            raise UserError(f"checkpoint.every_steps must be at least 1 or null, got {every_steps}")
        if every_minutes is not None and every_minutes <= 0:
            raise UserError(f"checkpoint.every_minutes must be above 0, got {every_minutes}")
        if keep is not None and keep < 1:
            raise UserError(f"checkpoint.keep must be at least 1 or null, got {keep}")
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self.keep = keep
        self.dirpath = dirpath
        self.sharded = sharded
        self.folder = Path()
        self._saver = ShardedSaver(self._committed)
        self._saved_at = -1
        self._saved = Path()
        self._saved_when = time.monotonic()
        self._number = 0
        self._lock: Lock | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Agree on the folder, lock it, and remove what a killed run left half-written.

        Raises:
            EnvironmentFailure: on all processes, when another run saves into the folder.
            UserError: for sharded checkpoints without fsdp2, or on disks that are not shared.
        """
        root = run_folder(trainer) / "checkpoints"
        self.folder = root if self.dirpath is None else Path(self.dirpath)
        if stage == "fit":
            if self.sharded and not isinstance(trainer.strategy, FSDP2):
                raise UserError(
                    "checkpoint.sharded: true needs trainer.strategy: fsdp2, whose processes hold "
                    f"slices to write, and this run's is {type(trainer.strategy).__name__}; set it "
                    "to false or the strategy to fsdp2"
                )
            on_first(trainer, self._move_in)
            self._check_shared(trainer)

    def _check_shared(self, trainer: Trainer) -> None:
        lacks = self.sharded and not lock_of(self.folder).file.exists()
        if any_process(trainer, lacks):
            raise UserError(
                "checkpoint.sharded: true needs one folder for all processes, and "
                f"{str(self.folder)!r} is not the same on all nodes; set checkpoint.dirpath to a "
                "folder on a shared disk"
            )

    def _move_in(self) -> None:
        self._lock = lock_of(self.folder)
        self._lock.take()
        put_back(self.folder, PATTERN)
        for partial in self.folder.glob(f".*{PARTIAL}"):
            # A younger one of an older version may belong to a run that knows no lock.
            if _OURS.search(partial.name) or time.time() - _changed(partial) > STALE_SECONDS:
                remove(partial)

    def _largest_number(self, resumed: Path | None) -> int:
        """Of all saves among which ``--ckpt_path=last`` may choose."""
        found = set(self.folder.glob(PATTERN))
        if self.dirpath is None:
            # The other starts of this run: beside this one, with or without a folder in between.
            place, above = self.folder.parent, self.folder.parents[1:3]
            for inner, folder in zip(("", f"{place.name}/"), above, strict=False):
                found.update(folder.glob(f"*/{inner}{self.folder.name}/{PATTERN}"))
        if resumed is not None:
            found.add(resumed)
        orders = (order_of(path) for path in found)
        return max((order.number for order in orders if order is not None), default=0)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock; a resumed run's state is already saved."""
        self._saved_when = time.monotonic()
        self._saved_at = -1
        if trainer.ckpt_path is not None:
            self._saved_at, self._saved = pl_module.rollout_step, Path(trainer.ckpt_path)
        if trainer.is_global_zero:
            self._number = self._largest_number(
                None if trainer.ckpt_path is None else Path(trainer.ckpt_path)
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when enough steps or minutes have passed."""
        self._saver.look(trainer)
        by_steps = self.every_steps and pl_module.rollout_step % self.every_steps == 0
        if by_steps or self._time_is_up(trainer):
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save the end of the run."""
        self.save(trainer, pl_module)
        self.finish(trainer)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Leave the folder to others."""
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write what is in flight to its end, and leave the folder to others."""
        self._saver.close()
        self._leave()

    def _leave(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Add this save's place in the order, which is kept beside the state."""
        checkpoint[ORDER] = asdict(Order(self._number, pl_module.rollout_step))

    def save(self, trainer: Trainer, pl_module: Any) -> Path:
        """Save the current step, unless it is already saved; all processes take part.

        A sharded save is complete after :meth:`finish`.
        """
        if pl_module.rollout_step == self._saved_at:
            return self._saved
        path = self.folder / f"step={pl_module.rollout_step:06d}.ckpt"
        self._number += 1
        if self.sharded:
            self._begin(trainer, path)
        else:
            self._save_file(trainer, path, Order(self._number, pl_module.rollout_step))
        self._saved_at, self._saved = pl_module.rollout_step, path
        self._saved_when = time.monotonic()
        return path

    def _save_file(self, trainer: Trainer, path: Path, order: Order) -> None:
        if any_process(trainer, trainer.is_global_zero and path.is_dir()):
            # A sharded one of the same step, of a run that was left: it goes once this is complete.
            place = Path(trainer.strategy.broadcast(beside(path)))
            try:
                self._write(trainer, place / path.name, order)
                if trainer.is_global_zero:
                    exchange(place / path.name, path)
            finally:
                if trainer.is_global_zero:
                    shutil.rmtree(place, ignore_errors=True)
        else:
            self._write(trainer, path, order)
        if trainer.is_global_zero:
            self._committed(path)

    def _write(self, trainer: Trainer, path: Path, order: Order) -> None:
        """A file, or a folder if the strategy is one that writes folders."""
        with phase("save", PATIENT):
            trainer.save_checkpoint(path, weights_only=False)
        if trainer.is_global_zero and path.is_dir():
            commit_folder(path, order.text())

    def _begin(self, trainer: Trainer, path: Path) -> None:
        self._saver.finish(trainer)
        assert isinstance(trainer.strategy, FSDP2)
        with (
            phase("save", PATIENT),
            trainer.strategy.hand_to(lambda state, path: self._saver.begin(trainer, state, path)),
        ):
            trainer.save_checkpoint(path, weights_only=False)

    def finish(self, trainer: Trainer) -> None:
        """Wait until the save in flight, if there is one, is complete; all processes take part."""
        self._saver.finish(trainer)

    def _committed(self, path: Path) -> None:
        """A checkpoint is complete; on the first process alone."""
        self._point_to(path)
        self._retain(path)

    def _time_is_up(self, trainer: Trainer) -> bool:
        if self.every_minutes is None:
            return False
        minutes = (time.monotonic() - self._saved_when) / 60
        # The first process's clock counts for all.
        return any_process(trainer, trainer.is_global_zero and minutes >= self.every_minutes)

    def _point_to(self, path: Path) -> None:
        link = self.folder / f".last.{os.getpid()}{PARTIAL}"
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
        os.replace(link, self.folder / "last.ckpt")
        sync_folder(self.folder)

    def _retain(self, newest: Path) -> None:
        if self.keep is None:
            return
        # The one just written is never among them; whatever is neither file nor folder is not ours.
        others = [
            path
            for path in self.folder.glob(PATTERN)
            if path != newest and not path.is_symlink() and (path.is_file() or path.is_dir())
        ]
        kept = self.keep - 1
        for old in by_age(others)[: len(others) - kept]:
            remove(old)


def _changed(path: Path) -> float:
    return path.lstat().st_mtime
