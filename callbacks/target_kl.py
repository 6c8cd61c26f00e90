"""A KL coefficient that holds the policy at a given distance from the reference."""

from typing import Any

from lightning.pytorch import Trainer

from fgexpo.errors import UserError
from fgexpo.kl import adapted_factor
from fgexpo.types import RolloutBatch

from .akl import KLController


class TargetKL(KLController):
    """Raises the coefficient while the KL is above its target, and lowers it while it is below.

    The proportional controller of Ziegler et al. (arXiv 1909.08593, section 2.2), stepped once per
    rollout step by the KL of that step's updates. It ignores accuracy.

    Args:
        target: KL per token, in nats.
        gain: five times the largest relative change of the coefficient per step.

    Attributes:
        value: the factor in force.

    Raises:
        UserError: for a target or gain that is not above 0.
    """

    def __init__(self, target: float = 0.02, gain: float = 0.1) -> None:
        if target <= 0 or gain <= 0:
            raise UserError(f"akl.target and akl.gain must be above 0, got {target} and {gain}")
        self.target = target
        self.gain = gain
        self.value = 1.0

    def factor(self, batch: RolloutBatch, accuracy: float) -> float:
        """The factor that earlier steps have led to."""
        return self.value

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the factor by this step's KL, which is the same on all processes."""
        kl = trainer.callback_metrics.get("kl")
        if kl is not None:  # all of this step's updates were skipped
            self.value = adapted_factor(self.value, float(kl), self.target, self.gain)

    def state_dict(self) -> dict[str, float]:
        """The factor in force."""
        return {"value": self.value}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore it."""
        self.value = state_dict["value"]
