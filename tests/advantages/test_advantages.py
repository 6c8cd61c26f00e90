import math

import pytest
import torch
from near import same

from fgexpo.advantages import group_advantages

pytestmark = pytest.mark.usefixtures("in_float64")


def test_by_hand_with_the_papers_std():
    # rewards 1, 0, 0, 0: mean 1/4, variance (9 + 1 + 1 + 1) / 16 / 4 = 3/16.
    found = group_advantages(torch.tensor([[1.0, 0, 0, 0]]), eps=0.0)
    std = math.sqrt(3 / 16)
    expected = torch.tensor([[0.75 / std, -0.25 / std, -0.25 / std, -0.25 / std]])
    same(found, expected)


def test_unbiased_std_divides_by_one_less():
    biased = group_advantages(torch.tensor([[1.0, 0, 0, 0]]), eps=0.0)
    unbiased = group_advantages(torch.tensor([[1.0, 0, 0, 0]]), eps=0.0, unbiased=True)
    same(unbiased, biased * math.sqrt(3 / 4))


def test_eps_is_added_to_the_std():
    found = group_advantages(torch.tensor([[1.0, 0.0]]), eps=0.5)
    same(found, torch.tensor([[0.5, -0.5]]))


def test_equal_rewards_give_exact_zeros():
    # 0.1 is not representable: the mean of eight of them is off by a rounding error.
    found = group_advantages(torch.full((3, 7), 0.1))
    assert (found == 0).all()


def test_batch_scale_uses_the_std_of_all_rewards():
    rewards = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    found = group_advantages(rewards, eps=0.0, scale="batch")
    std = math.sqrt(3) / 4  # rewards 1, 0, 1, 1
    same(found, torch.tensor([[0.5, -0.5], [0.0, 0.0]]) / std)


def test_no_scale_only_centres():
    found = group_advantages(torch.tensor([[3.0, 1.0]]), scale="none")
    assert found.tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize(
    ("rewards", "options"),
    [
        (torch.zeros(3), {}),
        (torch.zeros(2, 2), {"scale": "token"}),
        (torch.zeros(2, 1), {"unbiased": True}),
    ],
)
def test_bad_input(rewards, options):
    with pytest.raises(ValueError):
        group_advantages(rewards, **options)
