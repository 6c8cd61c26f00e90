"""Rewards: a rollout earns a weighted sum of named parts. ``correct`` is separate from it.

AKL's accuracy and the curriculum's pass-rates read the verdicts, so a shaped reward cannot corrupt
them. A new reward is one small class: subclass :class:`Reward` and name it in YAML.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ..questions import FinishReason, Question, Verdict


@dataclass(frozen=True, slots=True)
class Graded:
    """One rollout as a reward sees it.

    Attributes:
        question: what was asked.
        text: the decoded completion.
        length: its tokens.
        finish: why it ended.
        verdict: the verifier's decision.
    """

    question: Question
    text: str
    length: int
    finish: FinishReason
    verdict: Verdict


class Reward(ABC):
    """One named part of the reward.

    Args:
        weight: factor in the sum.
        name: its name in the tag ``rewards/<name>/mean``; by default the class's, in lower case.
    """

    def __init__(self, weight: float = 1.0, name: str | None = None) -> None:
        self.weight = weight
        self.name = name or type(self).__name__.lower()

    def check(self, max_new_tokens: int) -> None:  # noqa: B027
        """Check that the reward can be earned within this many tokens.

        Raises:
            UserError: naming both settings.
        """

    @abstractmethod
    def score(self, rollouts: Sequence[Graded]) -> list[float]:
        """Score each rollout of a batch, unweighted."""


class Accuracy(Reward):
    """1 for a correct answer, 0 otherwise: the paper's verifiable reward."""

    def score(self, rollouts: Sequence[Graded]) -> list[float]:
        """The verdicts as floats."""
        return [float(rollout.verdict.correct) for rollout in rollouts]
