import math

import pytest
import torch
from near import same

from fgexpo.losses import LossSettings, grpo_loss
from fgexpo.losses.aggregation import loss_denominator
from fgexpo.losses.kl import kl_estimate

pytestmark = pytest.mark.usefixtures("in_float64")
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
    same(found.loss, expected, rel=1e-12)


def test_one_float_or_one_value_a_rollout_are_the_same():
    logp, old, ref, advantages, mask = example()
    options = {"clip_low": 0.2, "clip_high": 0.28}
    scalar = grpo_loss(logp, old, ref, advantages, mask, kl_coef=0.3, **options)
    vector = grpo_loss(logp, old, ref, advantages, mask, kl_coef=torch.full((5,), 0.3), **options)
    same(scalar.loss, vector.loss)


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
    same(estimate, exact)


def test_k3_keeps_its_digits_near_zero():
    logp = torch.tensor([[-1.0]])
    found = kl_estimate(logp, logp - 1e-3, "k3").item()
    assert found == pytest.approx(5e-7, rel=1e-2) and found >= 0


def sequences_by_loops(x, settings, denominator):
    """GSPO's objective, KL and entropy row by row in plain Python, to be minimised."""
    low, high, dual, aggregation, coef = settings
    total, cut, tokens, rows = 0.0, 0.0, 0, 0
    for n, a in enumerate(x["advantages"]):
        places = [t for t, counts in enumerate(x["mask"][n]) if counts]
        logs = [x["logp"][n][t] - x["old"][n][t] for t in places]
        s = math.exp(sum(logs) / len(logs))
        objective = min(s * a, max(1 - low, min(1 + high, s)) * a)
        if dual is not None and a < 0:
            objective = max(objective, dual * a)
        losses, k3 = [], []
        for t in places:
            d = x["ref"][n][t] - x["logp"][n][t]
            k3.append(math.exp(d) - d - 1)
            losses.append(-objective * x["weight"][n][t] + x["beta"][n] * k3[-1])
            losses[-1] -= coef * x["entropy"][n][t]
        is_cut = (a > 0 and s > 1 + high) or (a < 0 and s < 1 - low)
        share = 1 / len(places) if aggregation == "sequence_mean" else 1
        total += share * sum(losses)
        cut += share * len(places) * is_cut
        tokens, rows = tokens + len(places), rows + 1
    own = {"token_mean": tokens, "sequence_mean": rows, "dr_grpo": rows * 7}[aggregation]
    return total / (denominator or own), cut / (denominator or own)


def sequence_example(seed=0):
    logp, old, ref, advantages, mask = example(seed, spread=0.5)
    generator = torch.Generator().manual_seed(seed + 1)
    found = {"logp": logp, "old": old, "ref": ref, "advantages": advantages, "mask": mask}
    found["weight"] = 2 * torch.rand(logp.shape, generator=generator, dtype=torch.float64)
    found["entropy"] = torch.rand(logp.shape, generator=generator, dtype=torch.float64)
    found["beta"] = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64)
    return found


def sequence_loss(x, settings, denominator=None, rows=slice(None)):
    low, high, dual, aggregation, coef = settings
    return grpo_loss(
        *(x[name][rows] for name in ("logp", "old", "ref", "advantages", "mask")),
        kl_coef=x["beta"][rows],
        clip_low=low,
        clip_high=high,
        dual_clip=dual,
        aggregation=aggregation,
        denominator=denominator,
        weight_NT=x["weight"][rows],
        ratio="sequence",
        entropy_NT=x["entropy"][rows],
        entropy_coef=coef,
    )


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
@pytest.mark.parametrize(("low", "high", "dual"), [(0.9, 9.0, None), (3e-4, 4e-4, 1.05)])
def test_a_sequence_ratio_against_loops(aggregation, low, high, dual):
    """Value and clip fraction, and the gradient by finite differences of the loops."""
    x = sequence_example()
    settings = (low, high, dual, aggregation, 0.2)
    logp = x["logp"].clone().requires_grad_()
    entropy = x["entropy"].clone().requires_grad_()
    found = sequence_loss({**x, "logp": logp, "entropy": entropy}, settings)
    lists = {name: value.tolist() for name, value in x.items()}
    loss, cut = sequences_by_loops(lists, settings, None)
    same(found.loss, loss, rel=1e-12)
    same(found.clip_fraction, cut)
    assert (cut > 0) == (low < 0.1)
    found.loss.backward()
    for name, gradient in {"logp": logp.grad, "entropy": entropy.grad}.items():
        slopes = []
        for n, t in x["mask"].nonzero().tolist():
            sides = []
            for step in (1e-6, -1e-6):
                moved = [list(row) for row in lists[name]]
                moved[n][t] += step
                sides.append(sequences_by_loops({**lists, name: moved}, settings, None)[0])
            slopes.append((sides[0] - sides[1]) / 2e-6)
        same(gradient[x["mask"]], slopes, rel=1e-8)  # of finite differences
        assert (gradient[~x["mask"]] == 0).all()


def test_a_sequence_is_cut_as_a_whole_or_not_at_all():
    # Mean log-ratios: log 1.5 over three tokens, of which one alone is within; 0 over two that
    # would both be cut.
    logs = [[2 * math.log(1.5), math.log(1.5), 0.0], [1.0, -1.0, 9.0]]
    mask = torch.tensor([[True, True, True], [True, True, False]])
    for aggregation, share in {"token_mean": 3 / 5, "sequence_mean": 1 / 2}.items():
        logp = torch.tensor(logs, requires_grad=True)
        out = grpo_loss(
            logp,
            torch.zeros(2, 3),
            None,
            torch.tensor([1.0, 1.0]),
            mask,
            kl_coef=0.0,
            aggregation=aggregation,
            ratio="sequence",
            **CLIP,
        )
        out.loss.backward()
        assert out.clip_high_fraction.item() == pytest.approx(share)
        assert out.clip_low_fraction.item() == 0
        # At a ratio of 1 the gradient is -A, shared by the tokens of the sequence.
        each = 1 / 5 if aggregation == "token_mean" else 1 / 2 / 2
        expected = torch.tensor([[0.0, 0.0, 0.0], [-each, -each, 0.0]])
        same(logp.grad, expected)


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
@pytest.mark.parametrize("low", [3e-4, 0.9])
def test_the_cut_into_micro_batches_changes_nothing(aggregation, low):
    settings = (low, 10 * low, 1.5, aggregation, 0.2)
    gradients = []
    for cuts in ([[0, 1, 2, 3, 4]], [[3], [0, 4], [1, 2]]):
        x = sequence_example(3)
        x["logp"].requires_grad_()
        denominator = loss_denominator(x["mask"], aggregation, 7)
        for rows in cuts:
            sequence_loss(x, settings, denominator, rows).loss.backward()
        gradients.append(x["logp"].grad)
    same(gradients[0], gradients[1], rel=1e-12)
    assert gradients[0].abs().max() > 0.01


def test_padding_is_ignored_by_a_sequence_ratio_even_when_it_is_nan():
    clean, dirty = sequence_example(), sequence_example()
    spoilt = ("logp", "old", "ref", "entropy", "weight")
    dirty |= {name: torch.where(dirty["mask"], dirty[name], torch.nan) for name in spoilt}
    losses = []
    for x in (clean, dirty):
        x["logp"].requires_grad_()
        x["entropy"].requires_grad_()
        losses.append(sequence_loss(x, (0.2, 0.28, None, "sequence_mean", 0.1)).loss)
        losses[-1].backward()
    assert losses[0] == losses[1]
    assert torch.equal(clean["logp"].grad, dirty["logp"].grad)
    assert torch.equal(clean["entropy"].grad, dirty["entropy"].grad)


def test_the_entropy_bonus_by_hand():
    zeros, mask = torch.zeros(2, 2), torch.tensor([[True, True], [True, False]])
    entropy = torch.tensor([[1.0, 2.0], [6.0, 50.0]])
    for aggregation, mean in {"token_mean": 3.0, "sequence_mean": (1.5 + 6.0) / 2}.items():
        options = {"kl_coef": 0.0, "aggregation": aggregation, "entropy_NT": entropy, **CLIP}
        for coefficient in (0.1, -0.1):
            out = grpo_loss(
                zeros, zeros, None, torch.zeros(2), mask, entropy_coef=coefficient, **options
            )
            assert out.loss.item() == pytest.approx(-coefficient * mean)
            assert out.policy_loss == 0
    entropy[1, 0] = math.inf
    out = grpo_loss(zeros, zeros, None, torch.zeros(2), mask, entropy_coef=0.1, **options)
    assert out.nonfinite_tokens == 1


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_rows_of_which_nothing_counts_are_no_sequences(aggregation, ratio):
    x = example()
    options = {"kl_coef": 0.1, "aggregation": aggregation, "ratio": ratio, **CLIP}
    kept = grpo_loss(*(part[[0, 4]] for part in x), **options)
    mask = x[4] & torch.tensor([True, False, False, False, True])[:, None]
    found = grpo_loss(*x[:4], mask, **options)
    same(found.loss, kept.loss, rel=1e-12)
    logp = x[0].clone().requires_grad_()
    nothing = grpo_loss(logp, *x[1:4], torch.zeros_like(mask), **options)
    nothing.loss.backward()
    assert nothing.loss == 0 and (logp.grad == 0).all()


def test_denominators_by_hand():
    mask = torch.tensor([[True, True, True], [False] * 3, [True, False, False]])
    found = [loss_denominator(mask, how, 32) for how in ("token_mean", "sequence_mean", "dr_grpo")]
    assert found == [4.0, 2.0, 64.0]


@pytest.mark.parametrize(
    "options",
    [
        {"clip_low": 1.0},
        {"clip_high": 0.0},
        {"dual_clip": 1.0},
        {"kl_estimator": "k4"},
        {"aggregation": "mean"},
        {"ratio": "word"},
        {"entropy_coef": math.inf},
        {"entropy_coef": math.nan},
        {"clip_high": math.nan},
    ],
)
def test_bad_settings(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LossSettings(**options)
