"""What each estimator optimises: its expected update is w(p) grad p, with w(p) as docs state it."""

import math
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from near import same

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from objectives import (
    ROWS,
    Setting,
    advantages_by_count,
    expected_update,
    pass_rate,
    policy_with,
    table,
)

from fgexpo import advantages
from fgexpo.advantages import AdvantageEstimator, Known, PassAtK
from fgexpo.groups import Groups

DOCUMENT = Path(__file__).parents[2] / "docs" / "algorithms.md"
RIGHT = [n % 4 == 0 for n in range(20)]
# Groups of one size and of two; what the curriculum knows is not the pass-rate.
SETTINGS = [(8, 8, 0.5), (5, 7, 0.3), (6, 5, 0.9)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize(("size", "other_size", "other_p"), SETTINGS)
def test_the_expected_update(row, size, other_size, other_p):
    worth = None
    for p in (0.01, 0.1, 0.5, 0.9):
        setting = Setting(p, size, 0.35, other_p, other_size)
        # It does not depend on p.
        worth = advantages_by_count(row.estimator, setting) if worth is None else worth
        logits = policy_with(p, RIGHT)
        (gradient,) = torch.autograd.grad(pass_rate(logits, RIGHT), logits)
        same(expected_update(logits, RIGHT, worth), row.factor(setting) * gradient, 1e-10)


def test_every_estimator_has_its_row():
    classes = (getattr(advantages, name) for name in advantages.__all__)
    estimators = {
        each
        for each in classes
        if isinstance(each, type)
        and issubclass(each, AdvantageEstimator)
        and not getattr(each, "__abstractmethods__", None)
    }
    assert {type(row.estimator) for row in ROWS} == estimators and len(estimators) == 10


def patterns(size):
    return product((0.0, 1.0), repeat=size)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_sum_over_counts_is_the_sum_over_outcomes(row):
    """Every group of outcomes, beside every group of the other question, one by one."""
    size = 5 if "PassAtK(4" in row.name else 3
    right = [True, False, False] if size == 5 else [True, False, True, False, False]
    setting = Setting(0.2, size, 0.35, 0.7, size)
    others = {other: math.prod(0.7 if x else 0.3 for x in other) for other in patterns(size)}
    if "beside" not in row.name:
        others = {(1.0, *[0.0] * (size - 1)): 1.0}  # it does not matter how the other fares
    logits = policy_with(setting.p, right)
    logp = logits.log_softmax(0)
    known = Known(torch.tensor([setting.known, setting.other_p], dtype=torch.float64))
    mean = torch.zeros((), dtype=torch.float64)
    for outcomes in product(range(len(right)), repeat=size):
        drawn = logp[list(outcomes)]
        own = [float(right[outcome]) for outcome in outcomes]
        for other, chance in others.items():
            rewards_N = torch.tensor([*own, *other], dtype=torch.float64)
            found = row.estimator.judge(rewards_N, Groups([size, size]), known)[:size]
            mean = mean + chance * float(drawn.detach().sum().exp()) * (found * drawn).mean()
    (brute,) = torch.autograd.grad(mean, logits)
    same(expected_update(logits, right, advantages_by_count(row.estimator, setting)), brute, 1e-10)


def test_pass_at_k_with_any_rewards_maximises_the_best_of_k():
    """(1 - k/G) times the gradient of the mean of the best of k, over all outcomes."""
    size, reward = 4, torch.tensor([0.3, -1.0, 0.9, 0.25, 0.3], dtype=torch.float64)
    logits = torch.tensor([0.1, -0.4, -1.0, 0.7, 0.2], dtype=torch.float64).requires_grad_()
    logp = logits.log_softmax(0)
    groups = torch.cartesian_prod(*[torch.arange(5)] * size)
    likely = logp[groups].sum(1).detach().exp()
    for k in (1, 2, 3):
        found = PassAtK(k)(reward[groups])
        update = torch.autograd.grad(
            (likely * (found * logp[groups]).mean(1)).sum(), logits, retain_graph=True
        )[0]
        subsets = torch.cartesian_prod(*[torch.arange(5)] * k).view(-1, k)
        best = (logp[subsets].sum(1).exp() * reward[subsets].amax(1)).sum()
        gradient = torch.autograd.grad(best, logits, retain_graph=True)[0]
        same(update, (1 - k / size) * gradient, 1e-10)


def test_the_documents_table_is_what_the_script_prints():
    assert "\n".join(table()) in DOCUMENT.read_text()
