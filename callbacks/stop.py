"""A run's length in rollout steps or rollouts; Lightning's max_steps counts optimizer steps."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_info

from fgexpo.errors import UserError


class StopAfter(Callback):
    """Ends training after a number of rollout steps.

    Args:
        steps: rollout steps of the whole run, including those before it was resumed.
    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise UserError(f"steps must be at least 1, got {steps}")
        self.steps = steps

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Say so if a finished run is resumed, which then does nothing."""
        if pl_module.rollout_step >= self.steps:
            rank_zero_info(f"the run has made its {self.steps} rollout steps already")
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop once the module has counted enough."""
        if pl_module.rollout_step >= self.steps:
            trainer.should_stop = True


class StopAtBudget(Callback):
    """Ends training after the step that uses up a budget of rollouts.

    Steps that refill their batch spend more than others; equal budgets compare them fairly.

    Args:
        rollouts: of the whole run, over all processes, including those before it was resumed.
    """

    def __init__(self, rollouts: int) -> None:
        if rollouts < 1:
            raise UserError(f"budget must be at least 1, got {rollouts}")
        self.rollouts = rollouts

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Say so if a finished run is resumed, which then does nothing."""
        if pl_module.counts.rollouts >= self.rollouts:
            rank_zero_info(f"the run has already spent its {self.rollouts} rollouts")
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop once the budget is spent."""
        if pl_module.counts.rollouts >= self.rollouts:
            trainer.should_stop = True
