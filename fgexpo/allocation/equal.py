"""Every question gets as many rollouts."""

from torch import Tensor

from ..types import Asked
from .base import Allocation, Tally


class Equal(Allocation):
    """``model.group_size`` rollouts of every question, as in GRPO (arXiv 2402.03300)."""

    def share(self, tally: Tally) -> Tensor:
        """All at once."""
        return tally.group_size - tally.tried_Q

    def smallest(self, group_size: int) -> int:
        """The same."""
        return group_size

    def metrics(self, asked: Asked, group_size: int) -> dict[str, float]:
        """There is nothing to say."""
        return {}
