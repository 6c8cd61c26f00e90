"""Stop on request without losing work: finish the rollout step, save, exit.

A signal may reach any process at any moment. Its handler only sets a flag. At the end of the batch,
which all processes reach, they exchange flags and stop together.
"""

import os
import signal
import subprocess
import time
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info

from fgexpo.errors import UserError
from fgexpo.parallel.collectives import largest

from .rollout_checkpoint import RolloutCheckpoint

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
TIME_IS_UP = 100  # above every signal number
# A launcher may forward a signal that the process group has already received.
_ECHO_SECONDS = 0.1


class Left(SystemExit):
    """Raised on all processes when they stop before the end."""


class GracefulStop(Callback):
    """Saves and stops on SIGTERM, SIGINT, SLURM's SIGUSR1, or before a wall-clock limit.

    The exit status is 0 when the run was saved. A second signal stops at once.

    Args:
        max_minutes: wall-clock limit, counted from when this object is made; the run stops when
            another step as long as the longest so far would not fit. Null for none.
        requeue: under SLURM, put the job back into the queue after SIGUSR1. It should start with
            ``--ckpt_path=last``.
    """

    def __init__(self, max_minutes: float | None = None, requeue: bool = True) -> None:
        if max_minutes is not None and max_minutes <= 0:
            raise UserError(f"stop.max_minutes must be above 0 or null, got {max_minutes}")
        self.max_minutes = max_minutes
        self.requeue = requeue
        self._started = time.monotonic()
        self._step_started = self._started
        self._longest = 0.0
        self._received = 0
        self._received_when = 0.0
        self._exit: Left | None = None
        self._val_batches: int | float = 1.0

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Take over the signals from Lightning, whose handlers may call a collective.

        Lightning restores the earlier handlers at the end of the fit.
        """
        self._received, self._longest, self._exit = 0, 0.0, None
        self._step_started = time.monotonic()
        for number in SIGNALS:
            signal.signal(number, self._take_note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after this step if any process was asked to."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._step_started)
        self._step_started = now
        self._exit = self._save_if_asked(trainer, pl_module)
        if self._exit is not None:
            # Lightning still logs this step; a validation would take too long now.
            trainer.should_stop = True
            self._val_batches, trainer.limit_val_batches = trainer.limit_val_batches, 0

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop before anything mistakes this for the end of the run."""
        if self._exit is not None:
            trainer.limit_val_batches = self._val_batches
            raise self._exit

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop a long validation too; the step before it is complete."""
        leaving = self._save_if_asked(trainer, pl_module) if trainer.state.fn == "fit" else None
        if leaving is not None:
            raise leaving

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._received:
            self._received, self._received_when = number, now
            _say(f"{signal.Signals(number).name}: finishing this rollout step, then saving")
        elif now - self._received_when > _ECHO_SECONDS:
            _say(f"{signal.Signals(number).name} again: stopping at once")
            os._exit(128 + number)

    def _save_if_asked(self, trainer: Trainer, pl_module: Any) -> Left | None:
        reason = largest(trainer, self._received or (TIME_IS_UP if self._time_is_up() else 0))
        if not reason:
            return None
        saved = None
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, RolloutCheckpoint):
                saved = callback.save(trainer, pl_module)
                callback.finish(trainer)
        why = "stop.max_minutes" if reason == TIME_IS_UP else signal.Signals(reason).name
        where = "nothing is saved, since this run keeps no checkpoints; the next run starts over"
        if saved is not None:
            where = f"saved in {saved}; resume with --ckpt_path=last"
        rank_zero_info(f"{why}: stopped after rollout step {pl_module.rollout_step}, {where}")
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # the state is saved; no need to hurry
        if reason == signal.SIGUSR1 and self.requeue and trainer.is_global_zero:
            _requeue()
        return Left(0 if saved is not None else 128 + reason)

    def _time_is_up(self) -> bool:
        if self.max_minutes is None:
            return False
        return time.monotonic() - self._started + self._longest >= self.max_minutes * 60


def _say(text: str) -> None:
    # The signal may come while print() is in the middle of a line.
    os.write(2, f"\n{text}\n".encode())


def _requeue() -> None:
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        rank_zero_info(f"SIGUSR1: the job could not be requeued, {error}")
