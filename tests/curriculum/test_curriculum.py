import math

import pytest
import torch
from near import same

from fgexpo.curriculum.gaussian import Gaussian, Uniform, effective_sample_size, gaussian_weights
from fgexpo.curriculum.pass_rates import PassRateTable, frontier_share


def test_gaussian_weights_by_hand():
    rates = torch.tensor([0.5, 0.0, 0.85], dtype=torch.float64)
    found = gaussian_weights(rates, mean=0.5, std=0.35)
    expected = [1.0, math.exp(-0.25 / 0.245), math.exp(-0.5)]
    same(found, expected)


def test_gaussian_peaks_at_its_mean():
    weights = gaussian_weights(torch.linspace(0, 1, 101), mean=0.3, std=0.1)
    assert int(weights.argmax()) == 30


def test_a_wide_gaussian_is_uniform():
    weights = gaussian_weights(torch.tensor([0.0, 1.0]), std=1e6)
    assert weights.tolist() == pytest.approx([1.0, 1.0])


def test_the_average_moves_by_one_minus_decay():
    table = PassRateTable(4, decay=0.9)
    table.update(torch.tensor([2, 0]), torch.tensor([1.0, 0.25]))
    assert table.pass_rates.tolist() == pytest.approx([0.475, 0.5, 0.55, 0.5])
    table.update(torch.tensor([2]), torch.tensor([1.0]))
    assert table.pass_rates[2].item() == pytest.approx(0.9 * 0.55 + 0.1)
    assert table.visits.tolist() == [1, 0, 2, 0]


def test_table_round_trip():
    table = PassRateTable(3)
    table.update(torch.tensor([1]), torch.tensor([0.0]))
    other = PassRateTable(3)
    other.load_state_dict(table.state_dict())
    assert other.pass_rates.tolist() == table.pass_rates.tolist()
    assert other.visits.tolist() == table.visits.tolist()
    table.update(torch.tensor([1]), torch.tensor([0.0]))
    assert other.pass_rates[1] != table.pass_rates[1], "the copy must not follow"
    with pytest.raises(ValueError, match="3 questions"):
        PassRateTable(2).load_state_dict(table.state_dict())


def test_slots():
    table = PassRateTable(3)
    table.update(torch.tensor([0]), torch.tensor([0.0]))
    assert torch.equal(
        Gaussian(0.4, 0.2).weights(table), gaussian_weights(table.pass_rates, 0.4, 0.2)
    )
    assert Uniform().weights(table).tolist() == [1.0, 1.0, 1.0]


def test_effective_sample_size():
    assert effective_sample_size(torch.ones(5)) == 5.0
    assert effective_sample_size(torch.tensor([1.0, 0.0, 0.0])) == 1.0
    assert effective_sample_size(torch.tensor([2.0, 1.0])) == pytest.approx(9 / 5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PassRateTable(3, decay=1.0),
        lambda: PassRateTable(3, initial=2),
        lambda: Gaussian(std=0),
    ],
)
def test_bad_settings(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_frontier_of_a_step_is_that_of_its_own_pass_rates(dtype):
    # Of groups of five: one and four right ones are on the frontier's ends, and count.
    assert frontier_share(torch.tensor([0, 1, 4, 5, 5], dtype=dtype) / 5) == 2 / 5
    assert frontier_share(torch.tensor([0, 1], dtype=dtype)) == 0
