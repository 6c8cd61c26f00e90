"""A penalty on completions that come close to the token limit."""

from collections.abc import Sequence

from ..errors import UserError
from .reward import Graded, Reward


class Overlong(Reward):
    """Soft overlong punishment: 0, then down to -1 over the last tokens before the limit.

    Equation (13) of DAPO (arXiv 2503.14476): 0 up to ``max_tokens - buffer`` tokens, then linearly
    down to -1 at ``max_tokens``, and -1 beyond. Tokens include the stop token. DAPO's other reward
    is 1 or -1, while :class:`Accuracy` is 1 or 0, so a weight of 0.5 gives DAPO's proportions.

    Args:
        max_tokens: length of the full punishment; at most ``model.sampling.max_new_tokens``.
        buffer: tokens before it over which the punishment grows.
        weight: factor in the sum of rewards; must not be negative.
        name: its name in the tag ``rewards/<name>/mean``.

    Raises:
        UserError: on a buffer outside (0, max_tokens], or a weight that would reward length.
    """

    def __init__(
        self, max_tokens: int, buffer: int, weight: float = 1.0, name: str | None = None
    ) -> None:
        if max_tokens < 1:
            raise UserError(f"Overlong.max_tokens must be at least 1, got {max_tokens}")
        if not 0 < buffer <= max_tokens:
            raise UserError(
                f"Overlong.buffer must be above 0 and at most max_tokens = {max_tokens}, "
                f"got {buffer}"
            )
        if weight < 0:
            raise UserError(f"Overlong.weight must not be negative, got {weight}")
        super().__init__(weight, name)
        self.max_tokens = max_tokens
        self.buffer = buffer

    def check(self, max_new_tokens: int) -> None:
        """Check that completions can reach the length of the full punishment.

        Raises:
            UserError: naming both settings.
        """
        if self.max_tokens > max_new_tokens:
            raise UserError(
                f"model.rewards: Overlong.max_tokens = {self.max_tokens} is above "
                f"model.sampling.max_new_tokens = {max_new_tokens}, so that no completion would "
                f"get its full punishment; set it to at most {max_new_tokens}"
            )

    def score(self, rollouts: Sequence[Graded]) -> list[float]:
        """The punishment of each rollout's length, in [-1, 0]."""
        free = self.max_tokens - self.buffer
        return [max(-1.0, min(0.0, (free - each.length) / self.buffer)) for each in rollouts]
