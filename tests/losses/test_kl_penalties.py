"""KL penalties: which are unbiased by exact enumeration, and the KL in the reward."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch
from helpers import fit
from near import ROUNDING, logged, same, within

from fgexpo.advantages import Centred
from fgexpo.callbacks import KLController
from fgexpo.losses import (
    K1,
    K2,
    K3,
    Clipped,
    Estimated,
    InReward,
    Unclipped,
    importance_ratio,
    kl_estimate,
    objective,
)
from fgexpo.losses.in_reward import kl_cost

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import kl_gradients

ROOT = Path(__file__).parents[2]
# Value and gradient at the first update, then at the eighth: which of them are exact.
EXACT = {
    "`K1`": (True, False, False, False),
    "`K2`": (False, True, False, False),
    "`K3` (default)": (True, False, False, False),
    "`Estimated(k1, k2)`": (True, True, False, False),
    "`K1(importance)`": (True, True, True, True),
    "`K2(importance)`": (False, True, False, True),
    "`K3(importance)`": (True, True, True, True),
    "`Estimated(k1, k2, importance)`": (True, True, True, True),
    "`InReward`, with `Unclipped`": (True, True, False, False),
}


def test_which_are_unbiased():
    found = kl_gradients.errors()
    assert found.keys() == EXACT.keys()
    for name, exact in EXACT.items():
        for error, is_exact in zip(found[name], exact, strict=True):
            assert (error < ROUNDING) if is_exact else (error > 0.04), name


def test_the_table_in_docs_is_what_the_script_gives():
    page = (ROOT / "docs" / "algorithms.md").read_text().splitlines()
    head, line, *rows = kl_gradients.table()
    start = page.index(head)
    assert page[start + 1] == line and not page[start + 2 + len(rows)].startswith("|")
    for stated, row in zip(page[start + 2 :], rows, strict=False):
        name, *numbers = re.split(r" *\| *", stated)[1:-1]
        its_name, *others = re.split(r" *\| *", row)[1:-1]
        assert name == its_name
        for number, other in zip(numbers, others, strict=True):
            # A last digit may round otherwise; what is 0 is so on every processor.
            assert number == other or "0" not in (number, other)
            within(float(number), float(other), 0.0011)


def test_without_ratio_k3_follows_the_other_kl():
    """The mean gradient of K3 over the policy's own outcomes is that of KL(ref || policy)."""
    reference, old, _ = kl_gradients.policies()

    def swapped(logits):
        ref = reference.log_softmax(0)
        return ref.exp() @ (ref - logits.log_softmax(0))

    found = kl_gradients.gradient(lambda x: kl_gradients.in_loss(K3(), x, old, reference), old)
    same(found, kl_gradients.gradient(swapped, old))


def test_in_the_reward_a_token_answers_for_those_that_follow():
    """Completions of two tokens of three, enumerated: the gradient is that of the KL of wholes."""
    generator = torch.Generator().manual_seed(1)
    reference, old = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))

    def logp_NT(logits):
        """Of all nine; the first row is the first token's, the others the second's after it."""
        logp = logits.log_softmax(1)
        return torch.stack([logp[0, pairs[:, 0]], logp[1 + pairs[:, 0], pairs[:, 1]]], 1)

    def exact(logits):
        whole = logp_NT(logits).sum(1)
        return whole.exp() @ (whole - logp_NT(reference).sum(1))

    old_NT, ref_NT = logp_NT(old), logp_NT(reference)
    cost = kl_cost(old_NT, ref_NT, torch.ones(9, 2, dtype=torch.bool), 1.0)

    def charged(logits):
        ratio = (logp_NT(logits) - old_NT).exp()
        return old_NT.sum(1).exp() @ Unclipped().policy_loss(ratio, logp_NT(logits), -cost).sum(1)

    def token_by_token(logits):
        now = logp_NT(logits)
        penalty = K3(importance=True).penalty(now, ref_NT, (now - old_NT).exp())
        return old_NT.sum(1).exp() @ penalty.sum(1)

    expected = kl_gradients.gradient(exact, old)
    same(kl_gradients.gradient(charged, old), expected)
    in_loss = kl_gradients.gradient(token_by_token, old)
    same(in_loss[1:], expected[1:])  # the last token has none after it
    assert kl_gradients.relative_error(in_loss[0], expected[0]) > 0.05


def draw():
    generator = torch.Generator().manual_seed(0)
    logp, old, ref = torch.randn(3, 2, 3, generator=generator, dtype=torch.float64)
    return logp.requires_grad_(), old, ref, torch.tensor([[True, True, True], [True, False, False]])


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("gradient", ["k1", "k2", "k3"])
@pytest.mark.parametrize("value", ["k1", "k2", "k3"])
def test_each_choice_against_a_direct_formula(value, gradient, importance):
    logp, old, ref, _ = draw()
    ratio = (logp - old).exp()
    penalty = Estimated(value, gradient, importance).penalty(logp, ref, ratio)
    d, r = (logp - ref).detach(), ratio.detach() if importance else torch.ones(2, 3).double()
    values = {"k1": d, "k2": d**2 / 2, "k3": (-d).exp() + d - 1}
    slopes = {"k1": torch.ones_like(d), "k2": d, "k3": 1 - (-d).exp()}
    # The ratio's own derivative is the ratio; beside k2 it is held.
    through = values[gradient] if importance and gradient != "k2" else 0
    same(penalty, r * values[value])
    (found,) = torch.autograd.grad(penalty.sum(), logp)
    same(found, r * (slopes[gradient] + through))


def test_the_old_names_are_what_they_were():
    logp, old, ref, _ = draw()
    for name, penalty in {"k1": K1(), "k2": K2(), "k3": K3()}.items():
        found = penalty.penalty(logp, ref, (logp - old).exp())
        assert torch.equal(found, kl_estimate(logp, ref, name))
        assert type(Clipped(kl_estimator=name).penalty()) is type(penalty)


def test_a_penalty_has_each_tokens_own_ratio_beside_a_sequences():
    logp, old, ref, mask = draw()
    zero = torch.zeros(2, dtype=torch.float64)
    out = objective(
        Clipped(kl=K3(importance=True), ratio="sequence"),
        *(logp, old, ref, zero, mask),
        kl_coef=1.0,
    )
    ratio = importance_ratio(logp, old, mask)
    same(out.kl, (ratio * kl_estimate(logp, ref))[mask].mean())


def test_the_cost_by_hand():
    old = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, math.nan, math.nan]], dtype=torch.float64)
    ref = torch.tensor([[-1.5, -1.0, -5.0], [-3.0, 0.0, 0.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    same(kl_cost(old, ref, mask, 0.1), [0.15, 0.2])  # of 0.5 - 1 + 2, and of 2
    same(kl_cost(old, ref, mask, torch.tensor([1.0, 2.0])), [1.5, 4.0])
    by_token = torch.tensor([[0.0, 1.0, 0.5], [3.0, 9.0, 9.0]])
    same(kl_cost(old, ref, mask, by_token), [0.0, 6.0])


def test_in_the_reward_it_is_logged_and_no_part_of_the_loss():
    logp, old, ref, mask = draw()
    x = (logp, old, ref, torch.tensor([1.0, -1.0]).double(), mask)
    with_it = objective(Clipped(kl=InReward()), *x, kl_coef=0.5)
    without = objective(Clipped(), *x, kl_coef=0.0)
    assert with_it.loss == without.loss and with_it.kl == without.kl > 0
    found, expected = (torch.autograd.grad(out.loss, logp)[0] for out in (with_it, without))
    assert torch.equal(found, expected)


class ByToken(KLController):
    """A coefficient that rises along the completion."""

    def factor(self, batch, accuracy):
        return 1 + torch.arange(batch.completions.logp_NT.shape[1]).expand_as(
            batch.completions.logp_NT
        )


@pytest.mark.parametrize("rule", [None, ByToken])
def test_the_kl_in_the_reward_of_a_run(model_folder, tmp_path, rule):
    """Advantages are those of rewards less the cost, with the beta that a callback has just set."""
    options = {"kl_coef": 0.3, "warmup_steps": 0, "max_grad_norm": None, "advantages": Centred()}
    callbacks = [] if rule is None else [rule()]
    _, _, seen = fit(model_folder, tmp_path, 2, callbacks, loss=Clipped(kl=InReward()), **options)
    for step, (batch, beta, metrics) in enumerate(
        zip(seen.batches, seen.betas, seen.metrics, strict=True)
    ):
        gap = torch.where(batch.completions.mask_NT, batch.old_logp_NT - batch.ref_logp_NT, 0.0)
        cost = (beta * gap).sum(1)
        judged = (batch.reward_N - cost).view(-1, 4)
        judged = judged - judged.mean(1, keepdim=True)
        same(batch.advantages_N.view(-1, 4), judged, rel=1e-8)  # less a mean, of about 1
        logged(metrics["reward/kl_cost"], cost.mean())
        logged(metrics["reward"], batch.reward_N.mean())
        if step == 0:
            assert (cost == 0).all(), "the policy is the reference, to the last bit"
        else:
            assert cost.abs().max() > 1e-4 and metrics["kl"] > 0
            reward_QG = batch.reward_N.view(-1, 4)
            silent = (reward_QG == reward_QG[:, :1]).all(1)
            logged(metrics["frac_reward_zero_std"], silent.double().mean())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Estimated("k4"), r"model\.loss\.kl\.value must be one of"),
        (lambda: Estimated("k1", "k0"), r"model\.loss\.kl\.gradient must be one of"),
        (
            lambda: Clipped(kl=InReward(), kl_estimator="k1"),
            r"model\.loss\.kl is InReward and model\.loss\.kl_estimator is k1",
        ),
    ],
)
def test_settings_out_of_range(make, words):
    with pytest.raises(ValueError, match=words):
        make()
