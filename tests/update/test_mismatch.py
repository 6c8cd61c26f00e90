import math

import pytest
import torch
from helpers import fit, make_data, make_module, make_trainer, weights, weights_of
from near import logged, same

from fgexpo.losses import LossSettings, grpo_loss, importance_weights
from fgexpo.model.loading import load_model
from fgexpo.rollout import Native, RolloutRequest, Sampling
from fgexpo.update.mismatch import EngineMismatch, MismatchAlarm

TRAINER = torch.tensor([[-1.0, -2.0, 9.0], [-0.5, -0.5, -0.5]]).double()
ENGINE = torch.tensor([[-1.5, -1.9, -9.0], [-0.5, -3.0, -0.4]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, True, True]])


def test_weights_by_hand():
    token = importance_weights(TRAINER, ENGINE, MASK, "token", 2.0)
    expected = [[math.exp(0.5), math.exp(-0.1), 1.0], [1.0, 2.0, math.exp(-0.1)]]
    same(token, expected)
    sequence = importance_weights(TRAINER, ENGINE, MASK, "sequence", 2.0)
    expected = [[math.exp(0.4)] * 3, [2.0] * 3]
    same(sequence, expected)
    assert importance_weights(TRAINER, ENGINE, MASK, "off", 2.0) is None


@pytest.mark.usefixtures("in_float64")
def test_weights_scale_the_surrogate_and_not_the_kl():
    logp = torch.full((2, 2), -1.0, requires_grad=True)
    ref = torch.full((2, 2), -1.2)
    advantages, mask = torch.tensor([1.0, -2.0]), torch.ones(2, 2, dtype=torch.bool)
    weights = torch.tensor([[0.5, 2.0], [1.0, 0.25]])
    options = {"kl_coef": 0.3, "clip_low": 0.2, "clip_high": 0.28}
    plain = grpo_loss(logp, logp.detach(), ref, advantages, mask, **options)
    found = grpo_loss(logp, logp.detach(), ref, advantages, mask, **options, weight_NT=weights)
    assert found.kl == plain.kl
    assert float(found.policy_loss) == pytest.approx((-0.5 - 2.0 + 2.0 + 0.5) / 4)
    (gradient,) = torch.autograd.grad(found.policy_loss + found.loss - found.loss.detach(), logp)
    kl_part = 0.3 * (1 - math.exp(-0.2)) / 4
    expected = torch.tensor([[-0.5, -2.0], [2.0, 0.5]]) / 4 + kl_part
    same(gradient, expected)


@pytest.mark.parametrize(
    ("settings", "words"), [({"correction": "all"}, "correction"), ({"correction_cap": 0.5}, "cap")]
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=rf"model\.loss\.correction.*{words}|{words}"):
        LossSettings(**settings)


def test_the_alarm_goes_off_above_the_limit_and_at_a_jump():
    alarm = MismatchAlarm()
    for difference in (1e-6, 2e-6, 5e-6):
        alarm.check(difference, 1e-4)
    with pytest.raises(EngineMismatch, match=r"jumped to 3e-05.*weights were not handed over"):
        alarm.check(3e-5, 1e-4)
    with pytest.raises(EngineMismatch, match=r"is 0\.2, and at most 0\.0001.*prefix cache"):
        MismatchAlarm().check(0.2, 1e-4)
    with pytest.raises(EngineMismatch):
        MismatchAlarm().check(float("nan"), 1e-4)
    MismatchAlarm().check(0.2, None)


class Off(Native):
    """Claims log-probs that are off by a tenth, and says by how much they may be."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def generate(self, policy, request):
        found = super().generate(policy, request)
        found.logp_NT -= 0.1 * found.mask_NT.double()
        return found

    def logp_limit(self):
        return self.limit


def test_a_run_stops_when_the_engine_leaves_the_policy(model_folder, tmp_path):
    module = make_module(model_folder, engine=Off(0.05))
    with pytest.raises(EngineMismatch, match=r"is 0\.1, and at most 0\.05"):
        make_trainer(tmp_path, 2).fit(module, make_data())
    assert torch.equal(weights(module), weights_of(model_folder)), "no update before the check"
    fit(model_folder, tmp_path, engine=Off(0.2))


def test_the_correction_reaches_the_update(model_folder, tmp_path):
    losses = {}
    for correction in ("off", "token", "sequence"):
        settings = LossSettings(correction=correction)
        _, _, found = fit(model_folder, tmp_path, 1, engine=Off(None), loss=settings)
        batch = found.batches[0]
        losses[correction] = found.metrics[0]["policy_loss"]
        if correction == "token":
            done = batch.completions
            difference = (batch.old_logp_NT - done.logp_NT)[done.mask_NT]
            same(difference, torch.full_like(difference, 0.1))
    logged(losses["token"], math.exp(0.1) * losses["off"])
    assert len({round(loss, 6) for loss in losses.values()}) == 3


def test_engines_whose_logprobs_are_cut_do_not_train_with_top_p(model_folder):
    class Cuts(Native):
        cuts_logprobs = True

    with pytest.raises(ValueError, match=r"top_p and top_k must be off to train with Cuts"):
        make_module(model_folder, engine=Cuts(), sampling=Sampling(8, top_p=0.9))


class Shifted(Native):
    """Samples from another policy than it is given: its log-probs are a little off."""

    def generate(self, policy, request):
        found = super().generate(policy, request)
        found.logp_NT -= 0.01 * found.mask_NT.double()
        return found


def test_the_native_engine_has_a_limit(model_folder, tmp_path):
    """Whatever its cache may get wrong, and nobody thought of, ends the run."""
    module = make_module(model_folder, engine=Shifted())
    with pytest.raises(EngineMismatch, match=r"is 0\.01, and at most 1e-06"):
        make_trainer(tmp_path, 2).fit(module, make_data())
    fit(model_folder, tmp_path, engine=Shifted(max_logp_difference=0.02))
    with pytest.raises(ValueError, match=r"max_logp_difference must be above 0, got 0"):
        Native(max_logp_difference=0)


@pytest.mark.parametrize(
    ("dtype", "autocast", "limit"),
    [("float64", False, 1e-6), ("float32", False, 1e-3), ("float32", True, 0.3)],
)
def test_its_limit_is_what_the_dtype_rounds(model_folder, dtype, autocast, limit):
    policy, engine = load_model(model_folder, dtype), Native()
    assert engine.logp_limit() is None, "before any sample"
    request = RolloutRequest([[3, 4]], [[1]], Sampling(2), [1], torch.device("cpu"), 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        engine.generate(policy, request)
    assert engine.logp_limit() == limit
