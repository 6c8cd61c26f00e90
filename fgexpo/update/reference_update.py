"""The slot ``model.reference_update``: where the reference goes after a rollout step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from .reference import Reference
from .step import Learner


class ReferenceUpdate(ABC):
    """Moves the reference, by a rule that comes to the same on all processes.

    The KL term then holds the policy near a recent policy, not near the base, so that a long run
    can leave the base behind (ProRL, arXiv 2505.24864).
    """

    @abstractmethod
    def after_step(
        self, reference: Reference, learner: Learner, step: int, kl: float | None
    ) -> dict[str, float]:
        """Move it, or leave it; give back scalars to log.

        Args:
            reference: to be moved by :meth:`.Reference.follow`.
            learner: its policy is that after the step's updates.
            step: number of the step just made, from 1.
            kl: the step's KL per token, in nats, over all processes; None if no update was made.
        """

    def state_dict(self) -> dict[str, int | float]:
        """The state that the rule needs after a restart."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Restore what :meth:`state_dict` returned."""
