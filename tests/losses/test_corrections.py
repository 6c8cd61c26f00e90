"""Masks of what engine and trainer disagree on, and the shares of it that are logged."""

import math

import pytest
import torch
from helpers import Uneven, fit, weights
from near import same

from fgexpo.errors import UserError
from fgexpo.losses import (
    CISPO,
    GSPO,
    K1,
    K3,
    SAPO,
    Clipped,
    Estimated,
    InReward,
    Masked,
    MaskedByKL,
    Truncated,
    Unclipped,
    loss_denominator,
    loss_metrics,
    objective,
)
from fgexpo.losses.masked_by_kl import sequence_divergence

NAN, INF = math.nan, math.inf
# Ratios of trainer over engine: 1, 1/4, 8; then 2 and 3, and a token of padding.
RATIO = torch.tensor([[1.0, 0.25, 8.0], [2.0, 3.0, 1e9]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, True, False]])
ENGINE = torch.full((2, 3), -20.0, dtype=torch.float64)
TRAINER = ENGINE + RATIO.log()


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        (Masked("token"), [[1, 0, 0], [2, 3, 1]]),
        (Masked("token", reweigh=False), [[1, 0, 0], [1, 1, 1]]),
        (Masked("token", 0.2, 9.0), [[1, 0.25, 8], [2, 3, 1]]),
        (Masked("sequence"), [[2, 2, 2], [0, 0, 0]]),  # products of 2 and 6
        (Masked("sequence", 0.5, 7.0, reweigh=False), [[1, 1, 1], [1, 1, 1]]),
        (Masked("sequence", 0.5, 1.5), [[0, 0, 0], [0, 0, 0]]),
        # Means of minus the log-ratio: -log(2) / 3 and -log(6) / 2.
        (MaskedByKL(0.01, "k1"), [[1, 1, 1], [1, 1, 1]]),
        # Of r - log r - 1: (0 + .25 + log 4 - 1 + 8 - log 8 - 1) / 3 and (5 - log 6 - 2) / 2.
        (MaskedByKL(0.7, "k3"), [[0, 0, 0], [1, 1, 1]]),
        (MaskedByKL(0.5, "k3"), [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_weights_by_hand(correction, expected):
    found = correction.weights(TRAINER, ENGINE, MASK)
    counted = torch.tensor(expected, dtype=torch.float64)[MASK]
    same(found[MASK], counted)
    assert ((found == 0)[MASK] == (counted == 0)).all()


def test_a_bound_is_inside():
    zero, mask = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.bool)
    for level in ("token", "sequence"):
        assert Masked(level, 1.0, 1.0).weights(zero, zero, mask).tolist() == [[1.0, 1.0]]


def test_divergences_by_hand():
    found = {kind: sequence_divergence(TRAINER, ENGINE, MASK, kind) for kind in ("k1", "k3")}
    same(found["k1"], [-math.log(2) / 3, -math.log(6) / 2])
    same(found["k3"], [(6.25 - math.log(2)) / 3, (3 - math.log(6)) / 2])
    # What the trainer finds less likely is a positive divergence.
    assert (MaskedByKL(0.2, "k1").weights(ENGINE, TRAINER, MASK) == 0).all()


def test_what_is_left_out_still_counts_in_the_denominator_and_in_the_kl():
    logp = ENGINE.clone().requires_grad_()
    loss = Clipped(correction=Masked("token"), entropy_coef=0.5)
    weight = loss.correction.weights(TRAINER, ENGINE, MASK)
    x = (logp, logp.detach(), logp.detach() - 0.3, torch.tensor([1.0, -1.0]).double(), MASK)
    entropy = torch.ones_like(weight).requires_grad_()
    out = objective(loss, *x, kl_coef=0.0, weight_NT=weight, entropy_NT=entropy)
    same(out.policy_loss, (-1 + 2 + 3) / 5)
    same(out.kl, math.exp(-0.3) - 1 + 0.3)
    by_logp, by_entropy = torch.autograd.grad(out.loss, (logp, entropy))
    same(by_logp, torch.tensor([[-1, 0, 0], [2, 3, 0]]).double() / 5)
    same(by_entropy, -0.5 * MASK.double() / 5)


@pytest.mark.parametrize(
    ("correction", "tag", "shares"),
    [
        (Masked("token"), "sampling/masked_frac", {"token_mean": 2 / 5, "sequence_mean": 1 / 3}),
        (Masked("sequence"), "sampling/masked_frac", {"token_mean": 2 / 5, "sequence_mean": 1 / 2}),
        (MaskedByKL(0.7), "sampling/masked_frac", {"token_mean": 3 / 5, "sequence_mean": 1 / 2}),
        (
            Truncated(cap=1.9),
            "sampling/truncated_frac",
            {"token_mean": 3 / 5, "sequence_mean": 2 / 3},
        ),
    ],
)
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_the_share_is_exact_over_micro_batches(correction, tag, shares, aggregation):
    loss = Unclipped(correction=correction, aggregation=aggregation)
    weight = correction.weights(TRAINER, ENGINE, MASK)
    advantages = torch.ones(2, dtype=torch.float64)
    denominator = loss_denominator(MASK, aggregation, 3)
    for cuts in ([[0, 1]], [[0], [1]]):
        total = 0.0
        for rows in cuts:
            out = objective(
                loss,
                *(ENGINE[rows], ENGINE[rows], None, advantages[rows], MASK[rows]),
                kl_coef=0.0,
                denominator=denominator,
                weight_NT=weight[rows],
            )
            assert out.own.keys() == {tag, "unclipped/squared_ratio"}
            total += loss_metrics(out)[tag]
        same(total, shares[aggregation])


@pytest.mark.parametrize(
    ("make", "setting", "values"),
    [
        (Masked, "level", ("word", "off")),
        (Masked, "low", (0.0, -1.0, 1.5, NAN)),
        (Masked, "high", (0.5, NAN, INF)),
        (MaskedByKL, "limit", (0.0, -1.0, NAN, INF)),
        (MaskedByKL, "estimator", ("k2",)),
        (Truncated, "level", ("off",)),
    ],
)
def test_settings_out_of_range(make, setting, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"^model\.loss\.correction\.{setting} must be"):
            make(**{setting: value})


RUNS = {
    "gspo": GSPO(kl=K3(importance=True), correction=Masked("token", 0.7, 1.5)),
    "cispo": CISPO(1.01, kl=Estimated("k1", "k2"), correction=MaskedByKL(0.1)),
    "sapo": SAPO(kl=K1(importance=True), correction=Masked("sequence", 0.5, 20.0, reweigh=False)),
    "unclipped": Unclipped(kl=InReward(), correction=Truncated("sequence", 3.0)),
}
TAGS = {
    "gspo": set(),
    "cispo": {"cispo/capped"},
    "sapo": {"sapo/attenuated_positive", "sapo/attenuated_negative"},
    "unclipped": {"unclipped/squared_ratio", "reward/kl_cost"},
}


def test_two_steps_of_each(model_folder, tmp_path):
    """Every loss, with a KL and a correction: it runs, logs what it cuts, and moves otherwise."""
    ends = []
    for name, loss in RUNS.items():
        options = {"kl_coef": 0.2, "warmup_steps": 0, "engine": Uneven()}
        module, _, seen = fit(model_folder, tmp_path, 2, loss=loss, **options)
        last = seen.metrics[-1]
        share = "truncated" if name == "unclipped" else "masked"
        assert last.keys() >= {f"sampling/{share}_frac", "kl", *TAGS[name]}
        assert 0 < last[f"sampling/{share}_frac"] < 1, name
        assert last["kl"] != 0 and all(map(math.isfinite, last.values()))
        assert last["nonfinite/updates"] == 0
        ends.append(weights(module))
    for n, end in enumerate(ends):
        assert not any(torch.equal(end, other) for other in ends[:n])


def test_a_cap_that_a_correction_of_ones_own_does_not_read():
    with pytest.raises(UserError, match=r"correction_cap = 3\.0 is not read by .* Masked"):
        Clipped(correction=Masked(), correction_cap=3.0)
