"""Rollouts become graded rollouts. Nothing that is imported here imports torch."""

from functools import cache

from ..questions import Question, Verdict
from .exact_match import ExactMatch
from .gym_scorer import ReasoningGymScorer
from .maths.extract import last_boxed
from .maths.math_verifier import MathVerifier
from .overlong import Overlong
from .reward import Accuracy, Graded, Reward
from .unlikeliness import Unlikeliness
from .verifier import Verifier

__all__ = [
    "Accuracy",
    "ExactMatch",
    "Graded",
    "MathVerifier",
    "Overlong",
    "ReasoningGymScorer",
    "Reward",
    "Unlikeliness",
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
