"""Whether a run that is meant to repeat bit for bit can."""

from ..robustness.deterministic import Deterministic, check_workspace
from ..rollout import RolloutEngine

__all__ = ["Deterministic", "check_deterministic"]


def check_deterministic(deterministic: bool, engine: RolloutEngine) -> None:
    """Check the environment and the engine, if this is asked for.

    Raises:
        UserError: naming what prevents it.
    """
    if deterministic:
        check_workspace()
        engine.check_repeats()
