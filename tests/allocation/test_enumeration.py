"""By enumeration: which pass-rates are unbiased, and what each allocation optimises."""

from itertools import product
from math import prod
from pathlib import Path

import pytest
import torch
from near import same

from benchmarks.allocation import ALLOCATIONS, factor, final_counts, informative, tables
from fgexpo.advantages import Centred, GroupNormalised
from fgexpo.allocation import Equal, Tally, UntilSuccess
from fgexpo.groups import Groups

RATES = (0.2, 0.7)


def outcomes(rule, size, most):
    """Every way in which two questions can go: its probability, their groups, the verdicts."""
    for tapes in product(product([0, 1], repeat=most), repeat=2):
        now = Tally(size, torch.zeros(2).long(), torch.zeros(2).long())
        first = None
        while (added_Q := rule.share(now)).any():
            after = (now.tried_Q + added_Q).tolist()
            right = [sum(tape[:n]) for tape, n in zip(tapes, after, strict=True)]
            now = now.add(added_Q, torch.tensor(right) - now.right_Q)
            first = first or after
        sizes = now.tried_Q.tolist()
        seen = [r for tape, n in zip(tapes, sizes, strict=True) for r in tape[:n]]
        chance = prod(p if r else 1 - p for p, tape in zip(RATES, tapes, strict=True) for r in tape)
        yield chance, Groups(sizes, first), torch.tensor(seen, dtype=torch.float64)


@pytest.mark.parametrize("until", ["both", "success"])
def test_only_the_first_round_is_unbiased(until):
    """With two questions that share a budget of six rollouts."""
    every = list(outcomes(UntilSuccess(round=1, most=4, until=until), 3, 4))
    assert {sum(groups.sizes) for _, groups, _ in every} >= {6}
    same(sum(chance for chance, _, _ in every), 1.0)
    planned = sum(chance * groups.planned_means(seen) for chance, groups, seen in every)
    same(planned, RATES)
    whole = sum(chance * groups.means(seen) for chance, groups, seen in every)
    assert whole[0] > RATES[0] + 0.03, whole


@pytest.mark.parametrize("until", ["both", "success"])
@pytest.mark.parametrize("weigh", ["question", "rollout"])
@pytest.mark.parametrize("estimator", [GroupNormalised(), Centred()])
def test_the_factor_is_that_of_the_gradient(until, weigh, estimator):
    """Against autograd through the expectation over every tape of an enumerable policy."""
    most, rule = 5, UntilSuccess(round=2, most=5, until=until)
    logits = torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(0)
    p = logp[:1].exp().sum()  # of three outcomes, the first alone is right
    total = torch.zeros((), dtype=torch.float64)
    for tape in product(range(3), repeat=most):
        right = [float(outcome == 0) for outcome in tape]
        now = Tally(most, torch.tensor([0]), torch.tensor([0]))
        while int(added_Q := rule.share(now)):
            tried = int(now.tried_Q + added_Q)
            now = now.add(added_Q, torch.tensor([int(sum(right[:tried]))]) - now.right_Q)
        n = int(now.tried_Q)
        advantages = estimator(torch.tensor([right[:n]], dtype=torch.float64))[0]
        scores = advantages @ logp[list(tape[:n])] / (n if weigh == "question" else 1)
        total = total + logp[list(tape)].sum().exp().detach() * scores
    (update,) = torch.autograd.grad(total, logits, retain_graph=True)
    (gradient,) = torch.autograd.grad(p, logits)
    counts, _ = final_counts(rule, most, float(p.detach()))
    same(update, factor(counts, float(p.detach()), estimator, weigh) * gradient)


def test_equal_groups_optimise_what_they_did():
    """Dr. GRPO's constant, (G - 1) / G because the mean holds the rollout itself."""
    for p in (0.01, 0.3, 0.9):
        counts, _ = final_counts(Equal(), 8, p)
        same(factor(counts, p, Centred()), 7 / 8)
        same(informative(counts), 1 - p**8 - (1 - p) ** 8)


def test_a_question_without_signal_weighs_nothing():
    _, both, _ = ALLOCATIONS.values()
    counts, _ = final_counts(*both, 0.01)
    same(informative(counts), 1 - 0.01**16 - 0.99**16)
    silent = {key: chance for key, chance in counts.items() if key[0] in (0, key[1])}
    assert factor(silent, 0.01, GroupNormalised()) == 0.0


def test_the_documentation_has_these_tables():
    text = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()
    for line in tables():
        assert line in text, line
