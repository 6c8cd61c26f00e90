"""What a run has cost so far: rollouts and tokens, trained on or not."""

from ..types import Asked


class Counts:
    """Rollouts and completion tokens over all processes, the x-axes of fair comparisons.

    Attributes:
        rollouts: asked for so far.
        tokens: of their completions.
    """

    def __init__(self) -> None:
        self.rollouts = self.tokens = 0

    def add(self, asked: Asked) -> dict[str, int]:
        """Count a step; return the sums by tag."""
        self.rollouts += asked.rollouts
        self.tokens += asked.tokens
        return self.state_dict()

    def state_dict(self) -> dict[str, int]:
        """Both sums by tag."""
        return {"num_tokens": self.tokens, "num_rollouts": self.rollouts}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore both; what is missing is 0."""
        self.tokens = state.get("num_tokens", 0)
        self.rollouts = state.get("num_rollouts", 0)
