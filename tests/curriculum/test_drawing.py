"""Draws without replacement against the probabilities of drawing one after the other."""

from itertools import permutations

import pytest
import torch
from near import within

from fgexpo.curriculum.draw import draw_distinct
from fgexpo.curriculum.pass_rates import FRONTIER, PassRateTable

WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0, 4.0], dtype=torch.float64)


def test_pairs_come_as_often_as_when_drawn_one_after_the_other():
    generator = torch.Generator().manual_seed(0)
    number, total = 20_000, float(WEIGHTS.sum())
    counts = dict.fromkeys(permutations((0, 1, 3, 4), 2), 0)
    for _ in range(number):
        counts[tuple(draw_distinct(WEIGHTS, 2, generator).tolist())] += 1
    for (a, b), count in counts.items():
        expected = float(WEIGHTS[a] / total * WEIGHTS[b] / (total - WEIGHTS[a]))
        error = (expected * (1 - expected) / number) ** 0.5
        within(count / number, expected, 4 * error)


def test_heavy_rows_do_not_hold_up_the_others():
    weights = torch.full((50,), torch.finfo(torch.float64).tiny, dtype=torch.float64)
    weights[7] = 1.0
    drawn = draw_distinct(weights, 50, torch.Generator().manual_seed(0)).tolist()
    assert drawn[0] == 7 and sorted(drawn) == list(range(50))


def test_rows_without_weight_are_never_drawn():
    drawn = draw_distinct(WEIGHTS, 4, torch.Generator().manual_seed(0)).tolist()
    assert sorted(drawn) == [0, 1, 3, 4]
    with pytest.raises(ValueError, match="5 distinct rows of 4"):
        draw_distinct(WEIGHTS, 5, torch.Generator().manual_seed(0))


def test_the_generator_decides():
    def draw(seed):
        return draw_distinct(WEIGHTS, 3, torch.Generator().manual_seed(seed)).tolist()

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(20)}) > 3


def first_version(weights, count, generator):
    """How rows were drawn when the studies were made."""
    weights, drawn = weights.clone(), {}
    while len(drawn) < count:
        running = weights.cumsum(0)
        uniform = torch.rand(count - len(drawn), dtype=torch.float64, generator=generator)
        rows = torch.searchsorted(running, uniform * running[-1], right=True)
        rows = rows.clamp_max(len(weights) - 1)
        drawn.update(dict.fromkeys(rows[weights[rows] > 0].tolist()))
        weights[rows] = 0
    return list(drawn)


@pytest.mark.parametrize(("size", "count"), [(40, 39), (1680, 32), (20_011, 256)])
def test_a_seed_draws_what_it_always_drew(size, count):
    for seed in range(5):
        generators = [torch.Generator().manual_seed(seed) for _ in range(2)]
        weights = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
        weights[seed] = 0.0
        before = weights.clone()
        drawn = draw_distinct(weights, count, generators[0]).tolist()
        assert drawn == first_version(weights, count, generators[1])
        assert torch.equal(weights, before), "the caller's weights are its own"


def test_statistics_of_a_pool_are_the_same_to_the_last_bit():
    table = PassRateTable(20_011)
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        index = torch.randperm(len(table), generator=generator)[:256]
        table.update(index, torch.randint(0, 9, (256,), generator=generator) / 8)
    seen, rates = table.visits > 0, table.pass_rates
    frontier = (rates >= FRONTIER[0]) & (rates <= FRONTIER[1]) & seen
    assert table.metrics() == {
        "frac_seen": int(seen.sum()) / len(table),
        "frac_frontier": int(frontier.sum()) / int(seen.sum()),
        "mean_pass_rate": float((rates * seen).sum()) / int(seen.sum()),
    }
