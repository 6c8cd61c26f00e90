"""The reference becomes the policy now and then."""

import math
from collections.abc import Mapping
from typing import Any

from ..errors import UserError
from .reference import Reference
from .reference_update import ReferenceUpdate
from .step import Learner


class Reset(ReferenceUpdate):
    """Makes the policy the reference, every so many steps or when the KL has grown too large.

    ProRL (arXiv 2505.24864) resets the reference and starts the optimizer anew, when
    validation stalls; here the trigger is one that every process sees in the same step.

    Args:
        every_steps: rollout steps between resets; null for none by steps.
        above_kl: reset after a step whose KL per token, in nats, is above this; null for none by
            KL. The KL is the one that is logged, of the step's updates over all processes.
        reset_optimizer: forget the optimizer's moments too. The learning rate goes on as it was.

    Attributes:
        resets: how many there were.

    Raises:
        UserError: when nothing would ever trigger, or a setting is out of range.
    """

    def __init__(
        self,
        every_steps: int | None = None,
        above_kl: float | None = None,
        reset_optimizer: bool = True,
    ) -> None:
        if every_steps is None and above_kl is None:
            raise UserError(
                "model.reference_update: Reset needs every_steps or above_kl: with neither the "
                "reference never moves"
            )
        if every_steps is not None and every_steps < 1:
            raise UserError(
                f"model.reference_update.every_steps must be at least 1 or null, got {every_steps}"
            )
        if above_kl is not None and not 0 < above_kl < math.inf:
            raise UserError(
                f"model.reference_update.above_kl must be above 0 and finite, or null, "
                f"got {above_kl}"
            )
        self.every_steps = every_steps
        self.above_kl = above_kl
        self.reset_optimizer = reset_optimizer
        self.resets = 0

    def due(self, step: int, kl: float | None) -> bool:
        """Whether this step ends with a reset; a KL that is not finite says nothing."""
        by_steps = self.every_steps is not None and step % self.every_steps == 0
        by_kl = self.above_kl is not None and kl is not None and self.above_kl < kl < math.inf
        return by_steps or by_kl

    def after_step(
        self, reference: Reference, learner: Learner, step: int, kl: float | None
    ) -> dict[str, float]:
        """See :class:`ReferenceUpdate`."""
        if self.due(step, kl):
            reference.follow(learner.policy, 1.0)
            self.resets += 1
            if self.reset_optimizer:
                # Every optimizer makes its state anew at the next step where it finds none.
                learner.optimizers().optimizer.state.clear()
        return {"reference/resets": float(self.resets)}

    def state_dict(self) -> dict[str, int | float]:
        """How many resets there were."""
        return {"resets": self.resets}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it; another rule has left none."""
        self.resets = int(state.get("resets", 0))
