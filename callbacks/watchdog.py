"""A hung or dead process ends the run within a minute, with a sentence that names it.

Without it, a run whose verifier hangs never ends, and one that loses a process may wait half an
hour in a collective.
"""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import ParallelStrategy
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from fgexpo.errors import UserError
from fgexpo.heartbeat import BETWEEN, PATIENT, beat, enter
from fgexpo.robustness.watchdog.store import STORE_TIMEOUT, TICK_SECONDS
from fgexpo.robustness.watchdog.thread import Monitor


class Watchdog(Callback):
    """Ends a stalled run on every process, and names the process that stalled it.

    Args:
        timeout: seconds that a phase of a step may last without progress; ten times as long
            between phases, when other callbacks work, and while a model's pass on a CPU uses the
            processor.
    """

    def __init__(self, timeout: float = 45.0) -> None:
        if timeout <= 2 * TICK_SECONDS:
            raise UserError(f"watchdog.timeout must be above {2 * TICK_SECONDS} s, got {timeout}")
        self.timeout = timeout
        self._monitor: Monitor | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Connect the processes and begin to watch."""
        enter(BETWEEN, PATIENT)
        self._monitor = Monitor(
            trainer.global_rank,
            trainer.world_size,
            self.timeout,
            _connect(trainer),
            # The processes that Lightning has started end with this one, even if they are frozen.
            children=getattr(trainer.strategy.launcher, "procs", []),
        )
        self._monitor.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count every batch as progress, since a module may not report its own."""
        beat()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count every validation batch as progress."""
        beat()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Tell the other processes why this one fails; if it lost another, name that one."""
        if self._monitor is None:
            return
        if trainer.world_size == 1 or isinstance(exception, SystemExit | KeyboardInterrupt):
            self._monitor.stop()
        elif self._monitor.fail(exception):
            # Exit now, so that this sentence is the last on the screen: the traceback of a lost
            # connection, or a clean-up that waits for dead processes, would not help.
            for logger in trainer.loggers:
                logger.finalize("failed")
            self._monitor.leave()

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop watching: training is over, and later work such as an export is not watched."""
        if self._monitor is not None:
            self._monitor.stop()

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Stop watching: the run has ended normally."""
        if self._monitor is not None:
            self._monitor.stop()


def _connect(trainer: Trainer) -> TCPStore | None:
    """Open a separate store: a thread that hangs may be using the process group's."""
    if trainer.world_size == 1:
        return None
    assert isinstance(trainer.strategy, ParallelStrategy)
    assert trainer.strategy.cluster_environment is not None
    host = trainer.strategy.cluster_environment.main_address

    def store(port: int, is_master: bool) -> TCPStore:
        return TCPStore(host, port, None, is_master, STORE_TIMEOUT, wait_for_workers=False)

    own = store(0, True) if trainer.is_global_zero else None
    port = trainer.strategy.broadcast(own.port if own else 0)
    return own or store(port, False)
