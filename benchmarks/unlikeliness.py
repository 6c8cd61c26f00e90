"""What the unlikeliness reward makes of a likely and of a rare right answer, enumerated exactly.

``python benchmarks/unlikeliness.py`` prints the table of docs/algorithms.md: the mean advantage of
each outcome of a policy with three, over all groups that it may sample.
"""

import math
from collections.abc import Iterator, Sequence

import torch

from fgexpo.advantages import AdvantageEstimator, Centred, GroupNormalised
from fgexpo.questions import Question
from fgexpo.rewards import Accuracy, Graded, Reward, Unlikeliness, Verdict

GROUP = 8
# Each outcome's probability, and whether it is right.
OUTCOMES = {"wrong": (0.5, False), "right, likely": (0.4, True), "right, rare": (0.1, True)}
REWARDS = {
    "accuracy": Accuracy(),
    "unlikeliness .25": Unlikeliness(0.25),
    "unlikeliness .5": Unlikeliness(0.5),
}
ESTIMATORS = {"GRPO": GroupNormalised(), "Dr. GRPO": Centred()}


def counts(total: int, kinds: int) -> Iterator[tuple[int, ...]]:
    """Every way to divide a number among some kinds."""
    if kinds == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in counts(total - first, kinds - 1):
            yield (first, *rest)


def means(
    reward: Reward,
    estimator: AdvantageEstimator,
    outcomes: Sequence[tuple[float, bool]],
    size: int,
) -> tuple[list[float], list[float]]:
    """Mean reward and mean advantage of a rollout, given its outcome, over all groups.

    Args:
        reward: of each rollout.
        estimator: rewards to advantages.
        outcomes: probability of each, and whether it is right.
        size: rollouts of a group.
    """
    question = Question("q", "", "")
    rewards, advantages = ([0.0] * len(outcomes) for _ in range(2))
    for many in counts(size, len(outcomes)):
        kinds = [kind for kind, count in enumerate(many) for _ in range(count)]
        chance = math.factorial(size) * math.prod(
            p**count / math.factorial(count) for (p, _), count in zip(outcomes, many, strict=True)
        )
        scores = reward.score(
            [
                Graded(question, "", 1, "stop", Verdict(right, ""), math.log(p))
                for p, right in (outcomes[kind] for kind in kinds)
            ]
        )
        judged = estimator(torch.tensor([scores], dtype=torch.float64))[0].tolist()
        for kind, score, advantage in zip(kinds, scores, judged, strict=True):
            # A given rollout has this outcome with probability p; there are as many rollouts.
            share = chance / (size * outcomes[kind][0])
            rewards[kind] += share * score
            advantages[kind] += share * advantage
    return rewards, advantages


def table() -> str:
    """The docs' table."""
    lines = [f"| advantages | reward | {' | '.join(OUTCOMES)} |", "|---|---|---|---|---|"]
    for name, estimator in ESTIMATORS.items():
        for label, reward in REWARDS.items():
            _, found = means(reward, estimator, list(OUTCOMES.values()), GROUP)
            lines.append(f"| {name} | {label} | {' | '.join(f'{x:+.3f}' for x in found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
