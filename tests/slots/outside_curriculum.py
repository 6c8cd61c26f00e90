"""A curriculum: questions that were asked least come first."""

from torch import Tensor

from fgexpo.curriculum import Curriculum, PassRateTable


class LeastAsked(Curriculum):
    """Weights fall with the number of visits."""

    def weights(self, table: PassRateTable) -> Tensor:
        """One over visits squared, each counted one more."""
        return (1.0 + table.visits.double()) ** -2
