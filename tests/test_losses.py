import math

import pytest
import torch

from fgexpo.losses import LossSettings, grpo_loss, kl_estimate

CLIP = {"clip_low": 0.2, "clip_high": 0.28}


def by_loops(logp, old, ref, advantages, mask, beta, low, high, dual, aggregation, denominator):
    """Token by token in plain Python: the independent implementation."""
    sequences, tokens = [], []
    for n in range(len(advantages)):
        row = []
        for t in range(len(mask[n])):
            if not mask[n][t]:
                continue
            a, ratio = advantages[n], math.exp(logp[n][t] - old[n][t])
            objective = min(ratio * a, max(1 - low, min(1 + high, ratio)) * a)
            if dual is not None and a < 0:
                objective = max(objective, dual * a)
            k3 = 0.0
            if ref is not None:
                d = ref[n][t] - logp[n][t]
                k3 = math.exp(d) - d - 1
            row.append(-objective + beta[n] * k3)
        tokens += row
        sequences.append(sum(row) / len(row))
    if aggregation == "token_mean":
        return sum(tokens) / (denominator or len(tokens))
    if aggregation == "sequence_mean":
        return sum(sequences) / (denominator or len(sequences))
    return sum(tokens) / denominator


def example(seed=0, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    shape = (5, 7)
    logp = -torch.rand(shape, generator=generator, dtype=torch.float64) * 3
    old = logp + torch.randn(shape, generator=generator, dtype=torch.float64) * spread
    ref = logp + torch.randn(shape, generator=generator, dtype=torch.float64)
    advantages = torch.tensor([1.5, -0.5, 0.0, -2.0, 0.7], dtype=torch.float64)
    lengths = torch.tensor([7, 3, 5, 1, 6])
    return logp, old, ref, advantages, torch.arange(7) < lengths[:, None]


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
@pytest.mark.parametrize("dual", [None, 1.5])
@pytest.mark.parametrize("with_ref", [True, False])
def test_against_loops(aggregation, dual, with_ref):
    logp, old, ref, advantages, mask = example()
    beta = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    denominator = 5 * 32.0 if aggregation == "dr_grpo" else None
    reference = ref if with_ref else None
    found = grpo_loss(
        logp,
        old,
        reference,
        advantages,
        mask,
        kl_coef=beta,
        dual_clip=dual,
        aggregation=aggregation,
        denominator=denominator,
        **CLIP,
    )
    lists = [x.tolist() for x in (logp, old)]
    expected = by_loops(
        *lists,
        ref.tolist() if with_ref else None,
        advantages.tolist(),
        mask.tolist(),
        beta.tolist(),
        0.2,
        0.28,
        dual,
        aggregation,
        denominator,
    )
    assert found.loss.item() == pytest.approx(expected, abs=1e-12)


def test_one_float_or_one_value_a_rollout_are_the_same():
    logp, old, ref, advantages, mask = example()
    options = {"clip_low": 0.2, "clip_high": 0.28}
    scalar = grpo_loss(logp, old, ref, advantages, mask, kl_coef=0.3, **options)
    vector = grpo_loss(logp, old, ref, advantages, mask, kl_coef=torch.full((5,), 0.3), **options)
    assert scalar.loss.item() == pytest.approx(vector.loss.item(), abs=1e-7)


def test_the_default_dr_grpo_denominator_is_the_padded_size():
    logp, old, _, advantages, mask = example()
    options = {"kl_coef": 0.0, "aggregation": "dr_grpo", **CLIP}
    own = grpo_loss(logp, old, None, advantages, mask, **options)
    given = grpo_loss(logp, old, None, advantages, mask, denominator=35.0, **options)
    assert own.loss == given.loss


def test_gradient_of_the_unclipped_token_is_minus_advantage():
    # At ratio 1 the surrogate's gradient with respect to logp is -A / denominator.
    logp = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    out = grpo_loss(
        logp,
        logp.detach(),
        None,
        torch.tensor([0.5]),
        torch.tensor([[True, True]]),
        kl_coef=0.0,
        **CLIP,
    )
    out.loss.backward()
    assert logp.grad.tolist() == [[-0.25, -0.25]]


@pytest.mark.parametrize(
    ("advantage", "ratio", "cut"),
    [(1.0, 1.5, True), (1.0, 0.5, False), (-1.0, 0.5, True), (-1.0, 1.5, False)],
)
def test_the_clip_stops_the_gradient_only_where_it_should(advantage, ratio, cut):
    logp = torch.tensor([[math.log(ratio)]], requires_grad=True)
    out = grpo_loss(
        logp,
        torch.zeros(1, 1),
        None,
        torch.tensor([advantage]),
        torch.tensor([[True]]),
        kl_coef=0.0,
        **CLIP,
    )
    out.loss.backward()
    assert (logp.grad.item() == 0) == cut
    assert out.clip_fraction.item() == float(cut)
    assert out.clip_low_fraction.item() == float(cut and advantage < 0)
    assert out.clip_high_fraction.item() == float(cut and advantage > 0)


def test_the_dual_clip_caps_a_negative_advantage():
    logp = torch.tensor([[math.log(50.0)]], requires_grad=True)
    out = grpo_loss(
        logp,
        torch.zeros(1, 1),
        None,
        torch.tensor([-2.0]),
        torch.tensor([[True]]),
        kl_coef=0.0,
        dual_clip=10.0,
        **CLIP,
    )
    out.loss.backward()
    assert out.loss.item() == 20.0
    assert logp.grad.item() == 0


def test_padding_is_ignored_even_when_it_is_nan():
    logp, old, ref, advantages, mask = example()
    clean = logp.clone().requires_grad_()
    dirty = torch.where(mask, logp, torch.nan).requires_grad_()
    options = {"kl_coef": 0.1, **CLIP}
    first = grpo_loss(clean, old, ref, advantages, mask, **options)
    second = grpo_loss(dirty, torch.where(mask, old, torch.nan), ref, advantages, mask, **options)
    first.loss.backward()
    second.loss.backward()
    assert first.loss == second.loss
    assert torch.equal(clean.grad, dirty.grad)


def test_kl_estimators_by_hand():
    logp, ref = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])
    assert kl_estimate(logp, ref, "k1").item() == pytest.approx(math.log(2))
    assert kl_estimate(logp, ref, "k2").item() == pytest.approx(math.log(2) ** 2 / 2)
    assert kl_estimate(logp, ref, "k3").item() == pytest.approx(0.5 + math.log(2) - 1)


def test_k3_is_an_unbiased_estimate_of_the_kl():
    # Exact expectation over a three-token vocabulary, no sampling.
    policy, reference = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.4, 0.4, 0.2])
    exact = (policy * (policy / reference).log()).sum()
    estimate = (policy * kl_estimate(policy.log()[None], reference.log()[None])[0]).sum()
    assert estimate.item() == pytest.approx(exact.item(), abs=1e-6)


def test_k3_keeps_its_digits_near_zero():
    logp = torch.tensor([[-1.0]])
    found = kl_estimate(logp, logp - 1e-3, "k3").item()
    assert found == pytest.approx(5e-7, rel=1e-2) and found >= 0


@pytest.mark.parametrize(
    "options",
    [
        {"clip_low": 1.0},
        {"clip_high": 0.0},
        {"dual_clip": 1.0},
        {"kl_estimator": "k4"},
        {"aggregation": "mean"},
    ],
)
def test_bad_settings(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LossSettings(**options)
