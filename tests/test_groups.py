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


def test_only_planned_rollouts_make_a_pass_rate():
    groups = Groups([3, 1, 2], planned=[1, 1, 2])
    right_N = torch.tensor([0.0, 1, 1, 1, 0, 1], dtype=torch.float64)
    assert groups.planned_means(right_N).tolist() == [0, 1, 0.5]
    assert Groups([3, 1, 2]).planned_means(right_N).tolist() == groups.means(right_N).tolist()


def test_groups_are_chosen_and_joined():
    first, second = Groups([3, 1], planned=[2, 1], widest=4), Groups([2], widest=6)
    both = Groups.join([first, second])
    assert (both.sizes, both.planned, both.widest) == ([3, 1, 2], [2, 1, 2], 6)
    some = both.select([2, 0])
    assert (some.sizes, some.planned, some.widest) == ([2, 3], [2, 2], 6)
    assert Groups.join([Groups([2]), Groups([2])]).widest is None
    assert some.rows == [slice(0, 2), slice(2, 5)]
    assert some.each("ab") == list("aabbb") and some.samples() == [0, 1, 0, 1, 2]
    assert (str(some), str(Groups([2, 2]))) == ("2 x up to 3", "2 x 2")


def test_groups_of_one_size_are_judged_in_one_call():
    class Whole(AdvantageEstimator):
        """Against the mean of the whole batch."""

        def __call__(self, rewards_QG):
            return rewards_QG - rewards_QG.mean()

    rewards_N = torch.tensor([1.0, 0, 0, 0, 1, 1], dtype=torch.float64)
    found = Whole().judge(rewards_N, Groups([3, 3]), Known())
    same(found, rewards_N - 0.5)
