"""While a run is set up, a process that dies takes the others along."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import ParallelStrategy

from fgexpo.parallel.lifelines import Lifelines


class SetupWatch(Callback):
    """Watches from the first moment at which processes can agree until training begins.

    In training :class:`fgexpo.callbacks.Watchdog` does it; an evaluation is watched to its end.
    """

    def __init__(self) -> None:
        self._lines: Lifelines | None = None

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Connect the processes."""
        strategy = trainer.strategy
        if trainer.world_size == 1 or not isinstance(strategy, ParallelStrategy):
            return
        assert strategy.cluster_environment is not None
        self._lines = Lifelines(
            trainer.global_rank,
            trainer.world_size,
            "set-up" if stage == "fit" else stage,
            strategy.cluster_environment.main_address,
            strategy.broadcast,
        )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Leave it to the watchdog."""
        self._stop()

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Stop: the run has ended normally."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Let the others know that this process ends."""
        self._stop(goodbye=isinstance(exception, SystemExit | KeyboardInterrupt))

    def _stop(self, goodbye: bool = True) -> None:
        if self._lines is not None:
            self._lines.stop(goodbye)
            self._lines = None
