"""An alarm: the engine samples by one implementation, the trainer learns by another.

Both have log-probs of the same tokens, which rounding alone should tell apart. A larger difference
is a fault (stale weights, say). Small ones are corrected by :mod:`fgexpo.losses.correction`.
"""

from ..errors import RunStopped

DIFFERENCE = "sampling/sampling_logp_difference/mean"
# A difference this many times the usual one is a jump, even below the limit.
JUMP = 8.0
MEMORY = 0.9
CAUSES = (
    "the weights were not handed over after the last update; the prefix cache was not reset; a "
    "tied LM head stayed as it was; the engine samples at another temperature than "
    "model.sampling.temperature, or with top_p or top_k; it does not compute what the model's own "
    "forward pass does; or it computes in another dtype (model.engine.dtype), for which "
    "model.engine.max_logp_difference may be raised"
)


class EngineMismatch(RunStopped):
    """The engine does not sample from the policy that is trained."""


class MismatchAlarm:
    """Stops the run when the engine's log-probs leave the trainer's.

    Attributes:
        usual: running mean of the difference; None before the first step.
    """

    def __init__(self) -> None:
        self.usual: float | None = None

    def check(self, difference: float, limit: float | None) -> None:
        """Compare one step's mean difference with the limit and with what is usual.

        Args:
            difference: mean over all sampled tokens of all processes.
            limit: what rounding can make; None leaves this check out.

        Raises:
            EngineMismatch: naming the likely causes.
        """
        if limit is None:
            return
        if not difference <= limit:
            raise EngineMismatch(
                f"{DIFFERENCE} is {difference:.3g}, and at most {limit:.3g} can be rounding. "
                f"Likely causes: {CAUSES}"
            )
        # Far below the limit, even large factors are noise.
        if self.usual is not None and difference > max(JUMP * self.usual, limit / 10):
            raise EngineMismatch(
                f"{DIFFERENCE} has jumped to {difference:.3g} from about {self.usual:.3g}. Likely "
                f"causes: {CAUSES}"
            )
        usual = difference if self.usual is None else self.usual
        self.usual = MEMORY * usual + (1 - MEMORY) * difference
