"""Each estimator by hand: its advantages, which groups have a signal, and what it refuses."""

import math
import sys
from itertools import combinations
from pathlib import Path

import pytest
import torch
from near import same

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from objectives import ROWS

from fgexpo.advantages import (
    AdvantageEstimator,
    BatchNormalised,
    Centred,
    CompetenceExponent,
    Focal,
    GroupNormalised,
    Known,
    LeaveOneOut,
    MaxLikelihood,
    NegativeWeighted,
    PassAtK,
    ReinforcePlusPlus,
    every_count,
)
from fgexpo.groups import Groups

pytestmark = pytest.mark.usefixtures("in_float64")
ALL = [row.estimator for row in ROWS] + [
    NegativeWeighted(0.0),
    NegativeWeighted(1.0, 0.0),
    Focal(0.0),
    GroupNormalised(unbiased=True),
    BatchNormalised(unbiased=True),
]
ONE = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64)


def name(estimator):
    return f"{type(estimator).__name__} {vars(estimator)}"


# Accuracy and a punishment of length: one right of three; none; all; and one used up.
SHAPED = torch.tensor(
    [[0.6, -0.2, 0.0], [-0.5, -0.1, 0.0], [1.0, 0.5, 0.75], [0.0, -0.3, -0.3]],
    dtype=torch.float64,
)


def test_leave_one_out_is_the_reward_less_the_others_mean():
    same(LeaveOneOut()(torch.tensor([[3.0, 1.0, 0.5]])), torch.tensor([[2.25, -0.75, -1.5]]))
    assert LeaveOneOut()(torch.tensor([[5.0]])).tolist() == [[0.0]]


def test_reinforce_pp_divides_by_the_std_of_the_centred():
    rewards = torch.tensor([[1.0, 0.0], [5.0, 5.0]])
    # Centred: .5, -.5, 0, 0, whose variance is 1/8; that of the rewards is far larger.
    expected = torch.tensor([[0.5, -0.5], [0.0, 0.0]]) / (math.sqrt(1 / 8) + 1e-6)
    same(ReinforcePlusPlus()(rewards), expected)
    assert BatchNormalised()(rewards)[0, 0] < expected[0, 0] / 4


def test_pass_at_k_by_hand():
    """G = 4, k = 2, c = 1: a wrong one meets the right one in 1 of its 3 pairs."""
    same(PassAtK(2)(ONE), torch.tensor([[3.0, -1, -1, -1]]) / 4 * 2 * (2 / 3))
    # Three of six pairs have it: the std of pass@2 is 1/2.
    found = PassAtK(2, over_std=True)(ONE)
    same(found, torch.tensor([[3.0, -1, -1, -1]]) / 4 * (2 / 3) / (0.5 + 1e-6))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_pass_at_k_against_all_subsets(k):
    """Any rewards, ties among them."""
    rewards = torch.tensor([0.3, -1.0, 0.7, 0.3, 0.1])
    subsets = list(combinations(range(5), k))
    best = torch.tensor([max(rewards[list(subset)]) for subset in subsets])
    worth = torch.stack(
        [best[[n in subset for subset in subsets]].mean() for n in range(len(rewards))]
    )
    centred = worth - worth.mean()
    same(PassAtK(k)(rewards[None])[0], k * centred)
    found = PassAtK(k, over_std=True)(rewards[None])[0]
    same(found, centred / (best.std(correction=0) + 1e-6))


def test_special_cases_are_each_other():
    rewards = torch.cat([every_count(6), torch.tensor([[0.5, 1.0, -0.25, 0.0, 0.0, 2.0]])])
    same(PassAtK(1)(rewards), Centred()(rewards))
    same(PassAtK(1, over_std=True)(rewards), GroupNormalised()(rewards))
    same(Focal(0.0)(rewards), GroupNormalised()(rewards))
    same(CompetenceExponent(1.0, 1.0)(rewards), MaxLikelihood()(rewards))
    shares = (rewards > 0).double().mean(1) > 0
    same(CompetenceExponent(0.0, 0.0)(rewards)[shares], Centred()(rewards)[shares])


def test_likelihood_focal_and_weights_by_hand():
    same(MaxLikelihood()(ONE), torch.tensor([[3.0, -1, -1, -1]]))
    same(Focal(2.0)(ONE), GroupNormalised()(ONE) * 9 / 16)
    assert NegativeWeighted()(ONE).tolist() == [[0.1, -1, -1, -1]]
    assert NegativeWeighted(0.0)(ONE).tolist() == [[0, -1, -1, -1]]
    assert NegativeWeighted(1.0, 0.0)(ONE).tolist() == [[1, 0, 0, 0]]


def test_competence_reads_each_questions_own_pass_rate():
    """a = 1 at 0, 3/4 at 1/2, 1/2 at 1; groups of two sizes, with m = 1/4 and 1/2."""
    rewards = torch.tensor([1.0, 0, 0, 0, 1, 0, 1, 0, 0, 0])
    known = Known(torch.tensor([0.0, 1.0, 0.5]))
    found = CompetenceExponent().judge(rewards, Groups([4, 2, 4]), known)
    first = torch.tensor([0.75, -0.25, -0.25, -0.25])
    second = torch.tensor([0.5, -0.5])
    same(found, torch.cat([first * 4, second * math.sqrt(2), first * 4**0.75]))


def test_competence_without_pass_rates():
    words = r"model\.advantages CompetenceExponent reads the questions' pass-rates"
    with pytest.raises(ValueError, match=words):
        CompetenceExponent().judge(torch.tensor([1.0, 0.0]), Groups([2]), Known())


def test_shaped_rewards():
    """A share counts rewards above 0, so a mean near 0 or below it neither explodes nor flips."""
    centred, zero = Centred()(SHAPED), torch.zeros(3)
    likely = MaxLikelihood()(SHAPED)
    same(likely, torch.stack([3 * centred[0], zero, centred[2], zero]))
    damping = torch.tensor([[2 / 3], [1.0], [0.0], [1.0]])
    same(Focal()(SHAPED), GroupNormalised()(SHAPED) * damping)
    same(CompetenceExponent(0.5)(SHAPED)[0], centred[0] * math.sqrt(3))
    same(
        NegativeWeighted(0.5)(SHAPED),
        torch.tensor([[0.3, -1.2, -1], [-1.5, -1.1, -1], [0.5, 0.25, 0.375], [-1, -1.3, -1.3]]),
    )


def test_a_format_reward_that_wrong_rollouts_earn():
    rewards = torch.tensor([[1.1, 0.1, 0.0, 0.1]])
    same(MaxLikelihood(0.1)(rewards), Centred()(rewards) * 4)
    same(MaxLikelihood()(rewards), Centred()(rewards) * 4 / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", ALL, ids=name)
def test_a_signal_is_an_advantage_that_is_not_zero(estimator, dtype):
    """At every number of right rollouts, and under shaped rewards, in any company."""
    shaped = torch.tensor([[0.7, -0.1, 0.3, 0.0, 0.7, 0.1], [0.1] * 6, [-0.5, -0.1, 0, 0, 0, 0]])
    rewards = torch.cat([every_count(6), shaped]).to(dtype)
    known = Known(torch.linspace(0, 1, len(rewards)))
    found = estimator.judge(rewards.flatten(), Groups([6] * len(rewards)), known)
    moved = (found.view_as(rewards) != 0).any(1)
    assert found.dtype == dtype and found.isfinite().all()
    assert estimator.has_signal(rewards).tolist() == moved.tolist()
    for q, row in enumerate(rewards):
        alone = estimator.judge(row, Groups([6]), Known(known.pass_rate_Q[q : q + 1]))
        assert bool((alone != 0).any()) == moved[q] == bool(estimator.has_signal(row[None]))


def test_which_groups_have_a_signal():
    found = {name(each): each.has_signal(every_count(6)).tolist() for each in ALL}
    mixed = [False, *[True] * 5, False]
    odd = {
        name(PassAtK(2)): [False, True, True, True, True, False, False],
        name(PassAtK(4)): [False, True, True, False, False, False, False],
        name(PassAtK(4, True)): [False, True, True, False, False, False, False],
        name(NegativeWeighted()): [True] * 7,
        name(NegativeWeighted(0.0)): [*[True] * 6, False],
        name(NegativeWeighted(1.0, 0.0)): [False, *[True] * 6],
    }
    assert found == {each: odd.get(each, mixed) for each in found} and odd.keys() < found.keys()


@pytest.mark.parametrize("estimator", ALL, ids=name)
def test_groups_of_two_sizes(estimator):
    """What looks at one question sees it alone; the others see all rewards."""
    sizes, values = [5, 8, 5], every_count(18)[7].roll(4) - 0.1 * every_count(18)[3]
    known = Known(torch.tensor([0.1, 0.5, 0.8]))
    groups = Groups(sizes)
    found = estimator.judge(values, groups, known)
    if isinstance(estimator, BatchNormalised):
        expected = Centred().judge(values, groups, known)
        expected /= values.std(correction=int(estimator.unbiased)) + 1e-6
    elif isinstance(estimator, ReinforcePlusPlus):
        expected = Centred().judge(values, groups, known)
        expected /= expected.std(correction=0) + 1e-6
    else:
        parts = zip(values.split(sizes), known.pass_rate_Q.split(1), strict=True)
        expected = torch.cat(
            [estimator.judge(own, Groups([len(own)]), Known(rate)) for own, rate in parts]
        )
    same(found, expected)


@pytest.mark.parametrize("estimator", ALL, ids=name)
def test_groups_of_one_size_are_judged_as_before(estimator):
    rewards = torch.cat([every_count(6), every_count(6)[2:4] * 0.7]).float()
    found = estimator.judge(rewards.flatten(), Groups([6] * 9), Known(torch.zeros(9)))
    assert torch.equal(found, estimator(rewards).flatten())


class Whole(AdvantageEstimator):
    """Against the mean of the whole batch."""

    def __call__(self, rewards_QG):
        return rewards_QG - rewards_QG.mean()


class WholeByJudge(Whole):
    def judge(self, rewards_N, groups, known):
        return rewards_N - rewards_N.mean()


def test_who_may_judge_groups_of_different_sizes():
    """An outside estimator that looks over the batch would be wrong with them, and is noticed."""
    assert all(each.by_group(6) for each in ALL)
    assert not Whole().by_group(6) and WholeByJudge().by_group(6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PassAtK(0), r"model\.advantages\.k must be at least 1, got 0"),
        (
            lambda: PassAtK(4).check(4),
            r"\.k = 4 must be below the fewest rollouts .*, 4 \(model\.group_size",
        ),
        (lambda: Focal(-0.1), r"\.gamma must be finite and at least 0, got -0\.1"),
        (lambda: Focal(math.nan), r"\.gamma must be finite .* got nan"),
        (lambda: Focal(math.inf), r"\.gamma must be finite .* got inf"),
        (lambda: NegativeWeighted(-1.0), r"\.weight must be finite and at least 0, got -1"),
        (lambda: NegativeWeighted(1.0, math.nan), r"\.negative must be finite .* got nan"),
        (lambda: NegativeWeighted(0.0, 0.0), r"\.weight and .*\.negative are both 0"),
        (lambda: MaxLikelihood(math.nan), r"\.right_above must be finite, got nan"),
        (lambda: CompetenceExponent(0.4), r"high_a = 0\.5 and low_a = 0\.4"),
        (lambda: CompetenceExponent(3.0), r"and that at most 2\.0, got .* low_a = 3\.0"),
        (lambda: CompetenceExponent(math.nan), r"low_a = nan"),
        (lambda: CompetenceExponent(1.0, -0.1), r"high_a = -0\.1"),
    ],
)
def test_settings_out_of_range(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_subset_as_large_as_the_group():
    with pytest.raises(ValueError, match="below G = 4, got 4"):
        PassAtK(4)(ONE)
