"""The reference is a moving average of the policy."""

from ..errors import UserError
from .reference import Reference
from .reference_update import ReferenceUpdate
from .step import Learner


class Averaged(ReferenceUpdate):
    """After every rollout step, ``reference <- decay reference + (1 - decay) policy``.

    The reference follows at a distance of about ``1 / (1 - decay)`` steps (as the moving anchor of
    WARP, arXiv 2406.16768). With LoRA each adapter's two matrices are averaged, so
    that the reference stays an adapter of the same rank; their product is then not the average of
    the products.

    Args:
        decay: weight of the old reference, in (0, 1). At 0 it would be ``Reset(every_steps=1)``.

    Raises:
        UserError: for a decay out of range.
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 < decay < 1:
            raise UserError(f"model.reference_update.decay must be in (0, 1), got {decay}")
        self.decay = decay

    def after_step(
        self, reference: Reference, learner: Learner, step: int, kl: float | None
    ) -> dict[str, float]:
        """See :class:`ReferenceUpdate`."""
        reference.follow(learner.policy, 1 - self.decay)
        return {}
