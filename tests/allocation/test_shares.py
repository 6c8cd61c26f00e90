"""What each allocation gives: exact budgets, the best shares, and what is refused."""

from itertools import product

import pytest
import torch
from helpers import make_module, make_trainer
from near import same

from fgexpo.advantages import AdvantageEstimator, GroupNormalised
from fgexpo.allocation import (
    Allocation,
    ByPosterior,
    Equal,
    Tally,
    UntilSuccess,
    checked_share,
    likely_signals,
    rollout_weights,
)
from fgexpo.errors import UserError
from fgexpo.groups import Groups


def tally(size, tried, right, rates=None, visits=None):
    known = () if rates is None else (torch.tensor(rates).double(), torch.tensor(visits))
    return Tally(size, torch.tensor(tried), torch.tensor(right), *known)


def no_signal(a, b, size):
    """E[p^n + (1-p)^n] over Beta(a, b), by the Gamma function."""

    def beta(x, y):
        x, y = (torch.tensor(float(z), dtype=torch.float64) for z in (x, y))
        return float(torch.exp(torch.lgamma(x) + torch.lgamma(y) - torch.lgamma(x + y)))

    return (beta(a + size, b) + beta(a, b + size)) / beta(a, b)


@pytest.mark.parametrize(("least", "most"), [(2, 8), (1, 5)])
def test_by_posterior_is_the_best_of_all_shares(least, most):
    right, wrong, budget = [1.0, 3.5, 1.2], [1.0, 2.0, 9.0], 12
    found = likely_signals(right, wrong, least, most, budget)
    assert sum(found) == budget

    def expected(sizes):
        return sum(1 - no_signal(*each) for each in zip(right, wrong, sizes, strict=True))

    shares = [s for s in product(range(least, most + 1), repeat=3) if sum(s) == budget]
    same(expected(found), max(map(expected, shares)))
    assert max(found) > min(found), "equal shares would be no test"


def test_by_posterior_gives_most_where_a_success_is_rare_but_possible():
    rule = ByPosterior()
    rates, visits = [0.5, 0.5, 0.1, 0.0, 1.0, 0.5], [0, 9, 9, 9, 9, 0]
    sizes = rule.share(tally(8, [0] * 6, [0] * 6, rates, visits)).tolist()
    assert sum(sizes) == 6 * 8
    assert sizes[2] > sizes[1], "half of the time a pair has a signal; one in ten is tried longer"
    assert sizes[3] == sizes[4], "the rule is symmetric"
    assert abs(sizes[0] - sizes[5]) <= 1, "nothing is known of either"
    again = tally(8, sizes, [0] * 6, rates, visits)
    assert not rule.share(again).any()


def test_until_success_by_hand():
    rule = UntilSuccess(round=2, most=6)
    assert rule.share(tally(4, [0, 0, 0], [0, 0, 0])).tolist() == [2, 2, 2]
    # Both kinds; none; all right.
    assert rule.share(tally(4, [2, 2, 2], [1, 0, 2])).tolist() == [0, 2, 2]
    assert rule.share(tally(4, [2, 4, 4], [1, 0, 4])).tolist() == [0, 2, 0], "two are left"
    assert rule.share(tally(4, [2, 6, 2], [1, 0, 1])).tolist() == [0, 0, 0], "unspent"
    alone = UntilSuccess(round=2, most=6, until="success")
    assert alone.share(tally(4, [2, 2, 2], [1, 0, 2])).tolist() == [0, 2, 0]


@pytest.mark.parametrize("until", ["both", "success"])
def test_until_success_spends_the_budget_unless_nobody_wants_it(until):
    rule, budget = UntilSuccess(round=2, most=7, until=until), 5 * 4
    generator, spent = torch.Generator().manual_seed(0), set()
    for _ in range(100):
        rates_Q = torch.rand(5, generator=generator)
        now = tally(4, [0] * 5, [0] * 5)
        while (added_Q := checked_share(rule, now)).any():
            right_Q = torch.binomial(added_Q.float(), rates_Q, generator=generator).long()
            now = now.add(added_Q, right_Q)
        total = int(now.tried_Q.sum())
        spent.add(total)
        assert total <= budget and int(now.tried_Q.max()) <= 7
        lacks_Q = now.right_Q == 0
        if until == "both":
            lacks_Q |= now.right_Q == now.tried_Q
        if total < budget:
            assert not (lacks_Q & (now.tried_Q < 7)).any()
    assert budget in spent and len(spent) > 1


def test_questions_weigh_alike():
    groups = Groups([2, 6, 4])
    weights_N = rollout_weights("question", groups, 4)
    assert weights_N is not None
    same(groups.sums(weights_N), torch.full((3,), 4.0, dtype=torch.float64))
    assert rollout_weights("rollout", groups, 4) is None
    assert rollout_weights("question", Groups([4, 4]), 4) is None


class Wrong(Allocation):
    def __init__(self, added):
        self.added = added

    def share(self, tally):
        return torch.tensor(self.added)


@pytest.mark.parametrize("added", [[2, 0], [2, -1], [4, 1], [1.0, 1.0], [1, 1, 1]])
def test_a_share_out_of_bounds_is_refused(added):
    with pytest.raises(UserError, match=r"model\.allocation Wrong must give each of 2 questions"):
        checked_share(Wrong(added), tally(2, [0, 0], [0, 0]))


class OverTheBatch(AdvantageEstimator):
    def __call__(self, rewards_QG):
        return (rewards_QG - rewards_QG.mean(1, keepdim=True)) / (1 + rewards_QG.std())


class AtLeastThree(GroupNormalised):
    def check(self, group_size):
        if group_size < 3:
            raise UserError("model.advantages needs three")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"allocation": lambda: UntilSuccess(round=0)}, r"round must be at least 1, got 0"),
        ({"allocation": lambda: UntilSuccess(until="never")}, r"until must be one of"),
        ({"allocation": lambda: UntilSuccess(weigh="token")}, r"weigh must be one of"),
        ({"allocation": lambda: ByPosterior(least=1)}, r"least must be at least 2, got 1"),
        ({"allocation": lambda: ByPosterior(memory=0)}, r"memory must be at least 1, got 0"),
        ({"allocation": lambda: ByPosterior(least=4)}, r"least = 4 .* model\.group_size = 4"),
        ({"allocation": lambda: ByPosterior(most=4)}, r"most = 4 .* model\.group_size = 4"),
        ({"allocation": lambda: UntilSuccess(round=4)}, r"round = 4 .* model\.group_size = 4"),
        ({"allocation": lambda: UntilSuccess(most=4)}, r"most = 4 .* model\.group_size = 4"),
        (
            {"allocation": lambda: UntilSuccess(round=1), "group_size": 1},
            r"UntilSuccess needs model\.group_size of at least 2",
        ),
        (
            {"allocation": UntilSuccess, "advantages": OverTheBatch()},
            r"allocation UntilSuccess makes .* model\.advantages OverTheBatch",
        ),
        ({"allocation": UntilSuccess, "advantages": AtLeastThree()}, r"needs three"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, options, message, model_folder):
    with pytest.raises(UserError, match=message):
        make_module(model_folder, **{**options, "allocation": options["allocation"]()})


# No data is the point.
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
def test_by_posterior_needs_a_curriculum(model_folder, tmp_path):
    module = make_module(model_folder, allocation=ByPosterior())
    with pytest.raises(UserError, match=r"ByPosterior needs data with a curriculum"):
        make_trainer(tmp_path, 1).fit(module, [1])


def test_equal_is_what_it_says():
    assert Equal().share(tally(4, [0, 0], [0, 0])).tolist() == [4, 4]
    assert Equal().smallest(4) == 4
