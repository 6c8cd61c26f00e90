"""GSPO, CISPO, Unclipped and SAPO against formulas in plain Python, and what they log."""

import math

import pytest
import torch
from helpers import fit
from near import logged, same

from fgexpo.losses import CISPO, GSPO, SAPO, Clipped, Unclipped, objective

NAN, INF = math.nan, math.inf
LOSSES = [CISPO(), GSPO(), SAPO(), Unclipped(), Clipped()]


def draw(seed=0, spread=0.6):
    """Log-probs now and before, advantages of both signs and zero, and a mask."""
    generator = torch.Generator().manual_seed(seed)
    logp = -3 * torch.rand(4, 6, generator=generator, dtype=torch.float64)
    old = logp + spread * torch.randn(4, 6, generator=generator, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([6, 2, 4, 5])[:, None]
    return logp, old, torch.tensor([1.5, -0.5, 0.0, -2.0], dtype=torch.float64), mask


def run(loss, logp, old, advantages, mask):
    """The loss, its gradient, and what was logged."""
    logp = logp.clone().requires_grad_()
    out = objective(loss, logp, old, None, advantages, mask, kl_coef=0.0)
    return out, torch.autograd.grad(out.loss, logp)[0]


def slope_of_gate(ratio, tau):
    """The derivative of 4 / tau * sigmoid(tau (r - 1)), by way of the hyperbolic cosine."""
    return 1 / math.cosh(tau * (ratio - 1) / 2) ** 2


def by_hand(name, logp, old, advantages, mask):
    """Value and gradient with respect to each log-prob, token by token."""
    rows, gradient = [], torch.zeros_like(logp)
    lengths = mask.sum(1).tolist()
    for n, a in enumerate(advantages.tolist()):
        ratios = (logp[n] - old[n]).exp().tolist()
        mean = math.exp(sum(map(math.log, ratios[: lengths[n]])) / lengths[n])
        row = []
        for t in range(lengths[n]):
            r = ratios[t]
            if name == "CISPO":
                weight = min(r, 1.1)
                row.append(-weight * a * float(logp[n, t]))
                slope = weight
            elif name == "Unclipped":
                row.append(-r * a)
                slope = r
            elif name == "SAPO":
                tau = 2.0 if a > 0 else 3.0
                row.append(-a * 4 / tau / (1 + math.exp(-tau * (r - 1))))
                slope = r * slope_of_gate(r, tau)
            else:
                cut = (a > 0 and mean > 1.05) or (a < 0 and mean < 0.97)
                row.append(-a * min(max(mean, 0.97), 1.05) if cut else -a * mean)
                slope = 0.0 if cut else mean
            gradient[n, t] = -a * slope
        rows.append(row)
    if name == "GSPO":  # the mean of sequence means
        gradient /= torch.tensor(lengths)[:, None] * len(rows)
        return sum(sum(row) / len(row) for row in rows) / len(rows), gradient
    return sum(map(sum, rows)) / sum(lengths), gradient / sum(lengths)


@pytest.mark.parametrize(
    "loss",
    [CISPO(1.1), Unclipped(), SAPO(2.0, 3.0), GSPO(0.03, 0.05)],
    ids=lambda loss: type(loss).__name__,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_value_and_gradient_against_a_direct_formula(loss, seed):
    x = draw(seed)
    out, gradient = run(loss, *x)
    value, expected = by_hand(type(loss).__name__, *x)
    same(out.loss, value, rel=1e-12)
    same(gradient, expected, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_at_ratio_1_every_gradient_is_minus_advantage(loss):
    logp, _, advantages, mask = draw()
    _, gradient = run(loss, logp, logp, advantages, mask)
    lengths = mask.sum(1, keepdim=True)
    shares = lengths * 4 if loss.aggregation == "sequence_mean" else mask.sum()
    same(gradient, -advantages[:, None] * mask / shares, rel=1e-12)


def test_what_they_log_by_hand():
    # Ratios of 1/2, 1, 2 and 8 for an advantage above and one below zero.
    logp = torch.tensor([[0.5, 1.0, 2.0, 8.0]] * 2, dtype=torch.float64).log()
    x = (logp, torch.zeros_like(logp), torch.tensor([1.0, -1.0]).double(), logp.isfinite())
    assert run(CISPO(1.5), *x)[0].own == {"cispo/capped": 0.5}
    found = run(Unclipped(), *x)[0].own
    assert found.keys() == {"unclipped/squared_ratio"}
    same(found["unclipped/squared_ratio"], (0.25 + 1 + 4 + 64) / 4)
    found = run(SAPO(1.0, 2.0), *x)[0].own
    assert found.keys() == {"sapo/attenuated_positive", "sapo/attenuated_negative"}
    for sign, tau in {"positive": 1.0, "negative": 2.0}.items():
        taken = [1 - slope_of_gate(ratio, tau) for ratio in (0.5, 1, 2, 8)]
        same(found[f"sapo/attenuated_{sign}"], sum(taken) / 8)
    for loss in (CISPO(), Unclipped(), SAPO()):
        assert run(loss, *x)[0].clip_fraction == 0, "its gradient is zero nowhere"
    # The geometric mean of the four ratios is 8^(1/4): too high for the first alone.
    out, _ = run(GSPO(), *x)
    assert (out.clip_high_fraction, out.clip_low_fraction, out.own) == (0.5, 0, {})


def test_gspo_is_the_recipe_of_flags():
    """configs/recipes/gspo.yaml says it with the settings of Clipped."""
    x = draw(2, spread=2e-3)
    flags = Clipped(3e-4, 4e-4, None, ratio="sequence", aggregation="sequence_mean")
    out, gradient = run(GSPO(), *x)
    expected, by_flags = run(flags, *x)
    assert out.loss == expected.loss and torch.equal(gradient, by_flags)
    assert 0 < out.clip_fraction == expected.clip_fraction < 1


def test_extremes_of_sapo():
    """A narrow gate lets nothing through off-policy; a wide one is the unclipped loss."""
    x = draw(3)
    _, wide = run(SAPO(1e-4, 1e-4), *x)
    same(wide, run(Unclipped(), *x)[1], rel=1e-6)  # of tau^2
    _, narrow = run(SAPO(1e6, 1e6), *x)
    assert (narrow == 0).all()


@pytest.mark.parametrize(
    ("make", "setting", "values"),
    [
        (CISPO, "cap", (1.0, 0.5, NAN, INF)),
        (SAPO, "tau_positive", (0.0, -1.0, NAN, INF)),
        (SAPO, "tau_negative", (0.0, NAN)),
        (GSPO, "low", (0.0, 1.0, NAN)),
        (GSPO, "high", (0.0, NAN, INF)),
        (Unclipped, "aggregation", ("mean",)),
    ],
)
def test_settings_out_of_range(make, setting, values):
    for value in values:
        with pytest.raises(ValueError, match=rf"^model\.loss\.{setting} must be"):
            make(**{setting: value})


def test_what_is_logged_per_token_is_so_under_a_constant_length(model_folder, tmp_path):
    """Before the first update every ratio is 1, so the mean of its square is, whatever lengths."""
    loss = Unclipped(aggregation="dr_grpo")
    options = {"mini_batch_questions": None, "micro_batch_tokens": 40}
    _, _, found = fit(model_folder, tmp_path, 1, loss=loss, **options)
    lengths_N = found.batches[0].completions.lengths_N
    assert lengths_N.min() < 8
    logged(found.metrics[0]["unclipped/squared_ratio"], 1.0)
