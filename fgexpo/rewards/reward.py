"""Rewards: a rollout earns a weighted sum of named parts. ``correct`` is separate from it.

AKL's accuracy and the curriculum's pass-rates read the verdicts, so a shaped reward cannot corrupt
them. A new reward is one small class: subclass :class:`Reward` and name it in YAML.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
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
        logp: log-prob of the whole completion under the policy that sampled it, at the sampling
            temperature; NaN where it is not known. Rollouts of a question stand together.
    """

    question: Question
    text: str
    length: int
    finish: FinishReason
    verdict: Verdict
    logp: float = math.nan


class Reward(ABC):
    """One named part of the reward.

    Args:
        weight: factor in the sum.
        name: its name in the tag ``rewards/<name>/mean``; by default the class's, in lower case;
            the second one of a class is then ``<name>_2``, and so on.
    """

    # A subclass need not call __init__.
    weight: float = 1.0
    name: str = ""

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


def tags(rewards: Sequence[Reward]) -> list[str]:
    """The name of each reward in its tag; no two are the same.

    Rewards without a name of their own are numbered by class, in the order of ``model.rewards``.

    Raises:
        UserError: for two rewards of one name.
    """
    counts: Counter[str] = Counter()
    names: list[str] = []
    for reward in rewards:
        name, plain = reward.name, type(reward).__name__.lower()
        if name in ("", plain):
            counts[plain] += 1
            name = plain if counts[plain] == 1 else f"{plain}_{counts[plain]}"
        if name in names:
            raise UserError(
                f"model.rewards: two rewards are named {name!r}, so one would be logged over the "
                "other; give each a name of its own"
            )
        names.append(name)
    return names


class Accuracy(Reward):
    """1 for a correct answer, 0 otherwise: the paper's verifiable reward."""

    def score(self, rollouts: Sequence[Graded]) -> list[float]:
        """The verdicts as floats."""
        return [float(rollout.verdict.correct) for rollout in rollouts]


def is_accuracy(rewards: Sequence[Reward]) -> bool:
    """Whether these rewards add up to 1 for a right answer and 0 otherwise."""
    return len(rewards) == 1 and type(rewards[0]) is Accuracy and rewards[0].weight == 1
