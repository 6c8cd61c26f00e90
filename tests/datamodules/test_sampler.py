import itertools
from collections import Counter

import pytest
import torch
from torch.utils.data import WeightedRandomSampler

from fgexpo.curriculum.draw import draw_distinct
from fgexpo.datamodules import CurriculumSampler
from fgexpo.seeding import hash_seed


def make(weights, batch=2, steps=1, **options):
    return CurriculumSampler(torch.tensor(weights, dtype=torch.float64), batch, steps, 0, **options)


def test_is_a_weighted_random_sampler():
    assert isinstance(make([1, 1, 1]), WeightedRandomSampler)


def test_successive_sampling_against_its_exact_probabilities():
    weights = [4.0, 2.0, 1.0, 1.0]
    sampler = make(weights)
    count = 20_000
    found = Counter(tuple(sampler.draw(step)) for step in range(count))
    for first, second in itertools.permutations(range(4), 2):
        p = weights[first] / 8 * weights[second] / (8 - weights[first])
        # Five standard errors.
        assert abs(found[first, second] / count - p) < 5 * (p * (1 - p) / count) ** 0.5


def test_an_epoch_of_the_whole_pool_still_follows_the_weights():
    # Without replacement over the epoch it would be a permutation, on which weights do nothing.
    sampler = make([10.0] + [1.0] * 9, batch=2, steps=5)
    counts = Counter()
    for epoch in range(400):
        for step in range(5):
            counts.update(sampler.draw(epoch * 5 + step))
    assert counts[0] > 3 * max(counts[row] for row in range(1, 10))
    assert all(len(set(sampler.draw(step))) == 2 for step in range(100))


def test_draws_depend_on_seed_and_step_alone():
    one, two = make([1.0, 2, 3, 4]), make([1.0, 2, 3, 4])
    two.draw(3)
    assert one.draw(7) == two.draw(7)
    two.seed = 1
    assert [one.draw(step) for step in range(20)] != [two.draw(step) for step in range(20)]


def test_waves_of_a_step_do_not_meet_and_follow_the_weights():
    sampler = make([1.0] * 6 + [0.0, 0.0], batch=2)
    own_numbers = 0
    for step in range(50):
        asked = sampler.draw(step)
        for wave in (1, 2, 3):
            drawn = sampler.draw(step, wave, asked)
            assert sampler.draw(step, wave, asked) == drawn
            asked += drawn
        assert sorted(asked) == list(range(8))
        assert set(asked[6:]) == {6, 7}, "what weighs nothing comes last"
        own_numbers += sampler.draw(step, 1) != sampler.draw(step, 2)
    assert own_numbers > 25


def test_a_step_is_drawn_by_its_own_generator():
    weights = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    for step in range(20):
        generator = torch.Generator().manual_seed(hash_seed(0, "draw", step))
        expected = draw_distinct(weights, 2, generator).tolist()
        assert make(weights.tolist()).draw(step) == expected


def test_refreshed_weights_act_on_the_next_draw():
    sampler = make([1.0] * 50, batch=1, steps=100)
    seen = []
    for row in sampler:
        seen.append(row)
        sampler.step += 1
        sampler.refresh(torch.tensor([0.0] * 49 + [1.0]))
    assert seen[1:] == [49] * 99


def test_zero_weights_are_drawn_only_to_fill_a_step():
    sampler = make([0.0, 1.0, 0.0, 1.0], batch=3)
    for step in range(50):
        drawn = sampler.draw(step)
        assert {1, 3} < set(drawn) and set(drawn[:2]) == {1, 3}


def test_ranks_slice_one_draw():
    whole = make([1.0] * 20, batch=6, steps=2)
    parts = [make([1.0] * 20, batch=6, steps=2, rank=rank, world_size=3) for rank in range(3)]
    for step in range(5):
        shares = [part.draw(step)[part.own] for part in parts]
        assert [row for rows in zip(*shares, strict=True) for row in rows] == whole.draw(step)
    assert len(parts[0]) == 4


def test_an_epoch_is_resumed_in_its_middle():
    sampler = make([1.0] * 9, batch=1, steps=5)
    sampler.step = 7
    rows = []
    for row in sampler:
        rows.append(row)
        sampler.step += 1
    assert rows == [sampler.draw(step)[0] for step in (7, 8, 9)]


def test_running_ahead_is_an_error():
    iterator = iter(make([1.0] * 9, batch=1, steps=5))
    next(iterator)
    with pytest.raises(RuntimeError, match="was requested before step"):
        next(iterator)


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda: make([1.0], batch=2), "more than the 1 questions"),
        (lambda: make([1.0] * 9, batch=4, world_size=3), "not divisible by the 3 processes"),
        (lambda: make([1.0, -1.0, 1.0]), "negative or not finite"),
        (lambda: make([1.0, float("nan"), 1.0]), "negative or not finite"),
        (lambda: make([1.0, 1.0, 1.0]).refresh(torch.ones(2)), "shape"),
    ],
)
def test_bad_input(make_it, words):
    with pytest.raises(ValueError, match=words):
        make_it()
