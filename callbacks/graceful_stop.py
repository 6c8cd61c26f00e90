"""Leave when asked to, with nothing lost: finish the rollout step, save, exit.

A signal may reach any one process, at any moment. Its handler only takes a note; the processes
compare notes at the end of the batch, where all of them come by, and leave together.
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
TIME_IS_UP = 100  # beyond any signal
# A launcher may pass the same signal on that the process group has had already.
_ECHO_SECONDS = 0.1


class Left(SystemExit):
    """Raised on all processes when they leave before the end."""


class GracefulStop(Callback):
    """Saves and leaves on SIGTERM, SIGINT, SLURM's SIGUSR1, or before a wall-clock limit.

    The exit status is 0 when the run was saved. A second signal leaves at once.

    Args:
        max_minutes: wall-clock limit, counted from here; the run leaves when another step as long
            as the longest so far would not fit. Null for none.
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
        """Take the signals over from Lightning, whose handlers talk to the other processes.

        Lightning puts back what was there before, at the end of the fit.
        """
        self._received, self._longest, self._exit = 0, 0.0, None
        self._step_started = time.monotonic()
        for number in SIGNALS:
            signal.signal(number, self._take_note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Leave after this step if anybody was asked to."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._step_started)
        self._step_started = now
        self._exit = self._save_if_asked(trainer, pl_module)
        if self._exit is not None:
            # Lightning still logs this step; a validation would take too long now.
            trainer.should_stop = True
            self._val_batches, trainer.limit_val_batches = trainer.limit_val_batches, 0

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave before anything takes this for the end of the run."""
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
        """Leave a long validation too; the step before it is complete."""
        leaving = self._save_if_asked(trainer, pl_module) if trainer.state.fn == "fit" else None
        if leaving is not None:
            raise leaving

    def _take_note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._received:
            self._received, self._received_when = number, now
            _say(f"{signal.Signals(number).name}: finishing this rollout step, then saving")
        elif now - self._received_when > _ECHO_SECONDS:
            _say(f"{signal.Signals(number).name} again: leaving at once")
            os._exit(128 + number)

    def _save_if_asked(self, trainer: Trainer, pl_module: Any) -> Left | None:
        reason = largest(trainer, self._received or (TIME_IS_UP if self._time_is_up() else 0))
        if not reason:
            return None
        saved = None
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, RolloutCheckpoint):
                saved = callback.save(trainer, pl_module)
        why = "stop.max_minutes" if reason == TIME_IS_UP else signal.Signals(reason).name
        where = "nothing is saved, since this run keeps no checkpoints; it starts over next time"
        if saved is not None:
            where = f"saved in {saved}; --ckpt_path=last goes on from there"
        rank_zero_info(f"{why}: left after rollout step {pl_module.rollout_step}, {where}")
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # nothing is left to be hurried
        if reason == signal.SIGUSR1 and self.requeue and trainer.is_global_zero:
            _requeue()
        return Left(0 if saved is not None else 128 + reason)

    def _time_is_up(self) -> bool:
        if self.max_minutes is None:
            return False
        return time.monotonic() - self._started + self._longest >= self.max_minutes * 60


def _say(text: str) -> None:
    # print() may be in the middle of a line when the signal comes.
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
