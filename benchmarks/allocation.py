"""What each allocation optimises, by exact enumeration of one question's rollouts.

The question has a pass-rate p and stops by the allocation's own ``share``; the budget is plentiful.
``python benchmarks/allocation.py`` prints the tables of docs/algorithms.md.
"""

from collections import defaultdict
from collections.abc import Iterator
from math import comb

import torch

from fgexpo.advantages import AdvantageEstimator, Centred, GroupNormalised
from fgexpo.allocation import Allocation, Equal, Tally, UntilSuccess
from fgexpo.groups import Groups

PASS_RATES = (0.01, 0.1, 0.5, 0.9, 0.99)
MOST = 16
Counts = dict[tuple[int, int], float]  # probability of (right, rollouts)
ALLOCATIONS: dict[str, tuple[Allocation, int]] = {
    "`Equal`, 8": (Equal(), 8),
    "`UntilSuccess`, both": (UntilSuccess(round=2, most=MOST), MOST),
    "`UntilSuccess`, success": (UntilSuccess(round=2, most=MOST, until="success"), MOST),
}


def final_counts(allocation: Allocation, budget: int, p: float) -> tuple[Counts, Counts]:
    """Probabilities of (right, rollouts): when the question stops, and after its first round."""
    going: Counts = {(0, 0): 1.0}
    done: Counts = defaultdict(float)
    first: Counts = {}
    while going:
        after: Counts = defaultdict(float)
        for (right, tried), chance in going.items():
            tally = Tally(budget, torch.tensor([tried]), torch.tensor([right]))
            added = int(allocation.share(tally))
            if added == 0:
                done[right, tried] += chance
            for more in range(added + 1) if added else ():
                share = comb(added, more) * p**more * (1 - p) ** (added - more)
                after[right + more, tried + added] += chance * share
        first = first or dict(after)
        going = after
    return dict(done), first


def mean_rate(counts: Counts) -> float:
    """Expected share of right rollouts."""
    return sum(chance * right / tried for (right, tried), chance in counts.items())


def mean_rollouts(counts: Counts) -> float:
    """Expected number of rollouts."""
    return sum(chance * tried for (_, tried), chance in counts.items())


def informative(counts: Counts) -> float:
    """Probability of both a right and a wrong rollout."""
    return sum(chance for (right, tried), chance in counts.items() if 0 < right < tried)


def factor(
    counts: Counts, p: float, advantages: AdvantageEstimator, weigh: str = "question"
) -> float:
    """w(p), the factor of grad p in the expected update of a question.

    A rollout's score is (r - p) / (p (1 - p)) grad p; the update is the mean of advantage times
    score over the question's rollouts, or their sum where every ``rollout`` weighs alike.
    """
    total = 0.0
    for (right, tried), chance in counts.items():
        rewards_N = torch.tensor([1.0] * right + [0.0] * (tried - right), dtype=torch.float64)
        advantages_N = Groups([tried]).by_size(advantages, rewards_N)
        update = float((advantages_N * (rewards_N - p)).sum()) / (p * (1 - p))
        total += chance * update / (tried if weigh == "question" else 1)
    return total


def tables() -> Iterator[str]:
    """Lines of Markdown."""
    heads = " | ".join(f"p = {p:g}" for p in PASS_RATES)

    def table(title: str, rows: dict[str, list[str]]) -> Iterator[str]:
        yield f"| {title} | {heads} |"
        yield "|---" * (len(PASS_RATES) + 1) + "|"
        for name, cells in rows.items():
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""

    found = {
        name: [final_counts(*given, p) for p in PASS_RATES] for name, given in ALLOCATIONS.items()
    }
    yield from table(
        "rollouts; informative",
        {
            name: [f"{mean_rollouts(done):.1f}; {informative(done):.2f}" for done, _ in each]
            for name, each in found.items()
        },
    )
    yield from table(
        "mean of c / n; of the first round's",
        {
            name: [f"{mean_rate(done):.3f}; {mean_rate(first):.3f}" for done, first in each]
            for name, each in found.items()
        },
    )
    rows: dict[str, list[str]] = {}
    for estimator in (GroupNormalised(), Centred()):
        for name, each in found.items():
            for weigh in ("question", "rollout")[: 1 if "Equal" in name else 2]:
                pairs = list(zip(PASS_RATES, each, strict=True))
                w = [factor(done, p, estimator, weigh) for p, (done, _) in pairs]
                middle = w[PASS_RATES.index(0.5)]
                title = f"`{type(estimator).__name__}`, {name}, by {weigh}"
                rows[title] = [f"{x / middle:.2f}" for x in w]
    yield from table("w(p) / w(.5)", rows)


if __name__ == "__main__":
    print("\n".join(tables()))
