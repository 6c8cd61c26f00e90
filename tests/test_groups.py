import torch
from near import same

from fgexpo.advantages import AdvantageEstimator, Centred, Known
from fgexpo.groups import Groups


def test_groups_of_different_sizes_by_hand():
    groups = Groups([2, 1, 3, 2])
    values_N = torch.tensor([1.0, 3, 5, 1, 2, 6, 4, 8], dtype=torch.float64)
    assert (len(groups), groups.rollouts, groups.size) == (4, 8, None)
    assert groups.sums(values_N).tolist() == [4, 5, 9, 12]
    assert groups.means(values_N).tolist() == [2, 5, 3, 6]
    assert groups.repeat(torch.tensor([7, 8, 9, 0])).tolist() == [7, 7, 8, 9, 9, 9, 0, 0]
    found = Centred().judge(values_N, groups, Known())
    same(found, torch.tensor([-1.0, 1, 0, -2, -1, 3, -2, 2], dtype=torch.float64))


def test_groups_of_one_size_are_judged_in_one_call():
    class Whole(AdvantageEstimator):
        """Against the mean of the whole batch."""

        def __call__(self, rewards_QG):
            return rewards_QG - rewards_QG.mean()

    rewards_N = torch.tensor([1.0, 0, 0, 0, 1, 1], dtype=torch.float64)
    found = Whole().judge(rewards_N, Groups([3, 3]), Known())
    same(found, rewards_N - 0.5)
