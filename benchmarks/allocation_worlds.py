"""Groups with a signal at one budget, simulated: what knowing pass-rates or stopping early buys.

``python benchmarks/allocation_worlds.py`` prints the table of docs/algorithms.md in seconds. Each
step asks 64 questions of a pool for 8 rollouts each on average; their pass-rates stay as they are.
"""

import statistics

import torch
from torch import Tensor

from fgexpo.allocation import Allocation, ByPosterior, Equal, Tally, UntilSuccess, checked_share
from fgexpo.curriculum import PassRateTable

QUESTIONS, SIZE, STEPS = 64, 8, 200
ALLOCATIONS: dict[str, tuple[Allocation, int]] = {
    "`Equal`": (Equal(), 0),
    "`ByPosterior`, after 1 visit": (ByPosterior(), 1),
    "`ByPosterior`, after 8 visits": (ByPosterior(), 8),
    "`UntilSuccess`, success": (UntilSuccess(until="success"), 0),
    "`UntilSuccess`, both": (UntilSuccess(), 0),
}


def pools(generator: torch.Generator) -> dict[str, Tensor]:
    """Pass-rates of a step's questions, float64 [Q]."""
    spread_Q = torch.rand(QUESTIONS, generator=generator, dtype=torch.float64)
    hard_Q = spread_Q.clone()
    hard_Q[: QUESTIONS * 3 // 4] = 0.02
    return {"uniform": spread_Q, "three in four at .02": hard_Q}


def simulate(
    allocation: Allocation, visits: int, rates_Q: Tensor, generator: torch.Generator
) -> Tally:
    """A step, after so many visits of each question with equal groups at decay .5."""
    table, index_Q = PassRateTable(QUESTIONS, decay=0.5), torch.arange(QUESTIONS)
    for _ in range(visits):
        right_Q = torch.binomial(torch.full_like(rates_Q, SIZE), rates_Q, generator=generator)
        table.update(index_Q, right_Q / SIZE)
    nothing_Q = torch.zeros(QUESTIONS, dtype=torch.int64)
    tally = Tally(SIZE, nothing_Q, nothing_Q, table.pass_rates, table.visits)
    while tally.left and (added_Q := checked_share(allocation, tally)).any():
        right_Q = torch.binomial(added_Q.double(), rates_Q, generator=generator).long()
        tally = tally.add(added_Q, right_Q)
    return tally


def main() -> None:
    """Print a Markdown table: the share of groups with a signal, and of the budget unspent."""
    print("| allocation | " + " | ".join(pools(torch.Generator())) + " |")
    print("|---|---|---|")
    for name, (allocation, visits) in ALLOCATIONS.items():
        generator = torch.Generator().manual_seed(0)
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(STEPS):
            for pool, rates_Q in pools(generator).items():
                end = simulate(allocation, visits, rates_Q, generator)
                mixed_Q = (end.right_Q > 0) & (end.right_Q < end.tried_Q)
                share = float(mixed_Q.double().mean())
                found.setdefault(pool, []).append((share, end.left / (QUESTIONS * SIZE)))
        cells = [
            "; ".join(f"{statistics.mean(each):.2f}" for each in zip(*steps, strict=True))
            for steps in found.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
