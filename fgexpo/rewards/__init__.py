"""Verifiers and rewards; nothing here imports torch unless rewards are asked for."""

from functools import cache
from typing import TYPE_CHECKING, Any

from ..questions import Question
from .extract import last_boxed
from .verifier import MathVerifier, Verdict, Verifier

if TYPE_CHECKING:
    from .overlong import Overlong
    from .reward import Accuracy, Graded, Reward

__all__ = [
    "Accuracy",
    "Graded",
    "MathVerifier",
    "Overlong",
    "Reward",
    "Verdict",
    "Verifier",
    "grade",
    "last_boxed",
]


def grade(gold: str, completion: str) -> float:
    r"""Grade one completion: 1.0 if its last ``\boxed{}`` equals the gold answer, else 0.0.

    A hostile answer costs at most about two seconds and counts as wrong.
    """
    return float(_verifier().verify([Question("", "", gold)], [completion])[0].correct)


@cache
def _verifier() -> MathVerifier:
    return MathVerifier()


def __getattr__(name: str) -> Any:
    # rewards.reward needs fgexpo.types and so torch, which the worker processes must not load.
    if name in ("Accuracy", "Graded", "Reward"):
        from . import reward

        return getattr(reward, name)
    if name == "Overlong":
        from .overlong import Overlong

        return Overlong
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
