"""The change test: what researchers swap is one small file, and no file of the project changes."""

from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, fit, make_module, weights
from near import same
from processes import in_folder, start, wait
from slots.outside_any_of_k import AnyOfK
from slots.outside_cispo import HeldRatio

from fgexpo.advantages import AdvantageEstimator, Centred, GroupNormalised
from fgexpo.callbacks import KLController
from fgexpo.losses import (
    K3,
    Clipped,
    Correction,
    KLPenalty,
    PolicyLoss,
    Truncated,
    grpo_loss,
    objective,
)
from fgexpo.rollout.waves import Refill

FOLDER = Path(__file__).parent / "slots"
CONFIG = Path(__file__).parents[1] / "configs" / "tiny.yaml"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("outside_*.py")), ids=lambda path: path.stem)
def test_it_is_a_small_file(path):
    assert len(path.read_text().splitlines()) <= 40


def test_all_of_them_in_one_run(model_folder, tmp_path):
    """Each is named in YAML by its class alone, once its module is among the plug-ins."""
    names = ["cispo", "any_of_k", "kl_rule", "curriculum", "benchmark"]
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(f"""
model:
  name: {model_folder}
  group_size: 4
  mini_batch_questions: 2
  loss: {{class_path: HeldRatio, init_args: {{cap: 1.1, aggregation: sequence_mean}}}}
  advantages: {{class_path: AnyOfK, init_args: {{k: 2}}}}
  rewards: [helpers.Parity]
  evaluation: {{rollouts: 2, ks: [1]}}
data:
  questions_per_step: 4
  train: {{class_path: TinyArithmetic, init_args: {{split: pool, per_cell: 1}}}}
  val:
    squares: {{class_path: Squares, init_args: {{count: 3}}}}
  curriculum: LeastAsked
akl: {{class_path: EndedKL, init_args: {{low: 0.25}}}}
prepare: null
trainer:
  logger: {{class_path: CSVLogger, init_args: {{save_dir: ., name: mine}}}}
""")
    plugins = ",".join(f"slots.outside_{name}" for name in names)
    process = start(
        in_folder,
        tmp_path,
        ["fit", f"--config={CONFIG}", f"--config={overlay}", "--steps=2"],
        log=tmp_path / "log",
        environment={"FGEXPO_PLUGINS": f"helpers,{plugins}"},
    )
    assert wait([process]) == [0], (tmp_path / "log").read_text()
    head, *rows = (tmp_path / "mine/version_0/metrics.csv").read_text().splitlines()
    tags = head.split(",")
    logged = {"held_ratio/capped", "akl/kl_coef", "val/squares/pass@1", "frac_reward_zero_std"}
    assert logged <= {*tags}
    betas = [cells[tags.index("akl/kl_coef")] for cells in (row.split(",") for row in rows)]
    assert all(0.005 <= float(beta) <= 0.02 for beta in betas if beta) and any(betas)


def test_any_of_k_by_hand():
    """G = 4, k = 2: a wrong rollout beside one right one is worth 1/3 of a right one's 1/2."""
    rewards_QG = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1], [0] * 4])
    found = AnyOfK(2)(rewards_QG.double())
    first = torch.tensor([3, -1, -1, -1]) * (1 / 3) / 4
    second = torch.tensor([1, 1, -1, -1]) * (1 / 6) / 2
    zero = torch.zeros(4)
    same(found, torch.stack([first, second, zero, zero, zero]).double(), 1e-7)
    signal = AnyOfK(2).has_signal(rewards_QG.double())
    assert signal.tolist() == [True, True, False, False, False]
    assert GroupNormalised().has_signal(rewards_QG).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_signal(dtype):
    """The mean of equal numbers may be off by a little."""
    value = torch.tensor(0.1, dtype=dtype)

    class Plain(AdvantageEstimator):
        def __call__(self, rewards_QG):
            return rewards_QG - rewards_QG.sum(1, keepdim=True) / rewards_QG.shape[1]

    equal_QG = value.expand(5, 7) * torch.tensor([1.0, 3.0, -7.0, 11.0, 1e-3]).to(dtype)[:, None]
    assert (Plain()(equal_QG) != 0).any(), "else this tests nothing"
    assert not Plain().has_signal(equal_QG).any()
    equal_QG[2, 3] += 1e-3
    assert Plain().has_signal(equal_QG).tolist() == [False, False, True, False, False]


class Mostly(EvenIsRight):
    """Right three times out of four, so that many groups of four have three right."""

    def verify(self, questions, texts):
        found = super().verify(questions, texts)
        return [v._replace(correct=n % 4 != 3 or v.correct) for n, v in enumerate(found)]


def test_dynamic_sampling_and_the_logged_share_ask_the_estimator(model_folder, tmp_path):
    """Groups with three of four right have no signal for pass@2, though their rewards differ."""
    options = {"verifier": Mostly(), "rewards": None, "refill": Refill(3)}
    _, _, recorder = fit(model_folder, tmp_path, 2, advantages=AnyOfK(2), **options)
    for batch, metrics in zip(recorder.batches, recorder.metrics, strict=True):
        assert not batch.asked.informative_A.any() and metrics["refill/waves"] == 3
        assert metrics["frac_reward_zero_std"] == metrics["frac_kl_only"] == 1
        assert metrics["reward_std"] > 0
    _, _, plain = fit(model_folder, tmp_path, 2, **options)
    assert all(batch.asked.informative_A.any() for batch in plain.batches)


def test_an_outside_loss_against_its_formula():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    logp, advantages = draw(3, 5).requires_grad_(), draw(3)
    old = logp.detach() + 0.5 * draw(3, 5)
    mask = torch.arange(5) < torch.tensor([5, 2, 4])[:, None]
    out = objective(HeldRatio(1.1), logp, old, None, advantages, mask, kl_coef=0.0)
    (gradient,) = torch.autograd.grad(out.loss, logp)
    ratio = (logp.detach() - old).exp()
    expected = -ratio.clamp(max=1.1) * advantages[:, None] * mask / mask.sum()
    same(gradient, expected)
    assert float(out.own["held_ratio/capped"]) == float((ratio > 1.1)[mask].double().mean()) > 0
    assert float(out.clip_fraction) == 0


def test_a_loss_need_not_call_its_parents_init():
    class Plain(PolicyLoss):
        def __init__(self):
            pass

        def policy_loss(self, ratio_NT, logp_NT, advantages_N):
            return -ratio_NT * advantages_N[:, None]

    assert (Plain().aggregation, Plain().engine_correction()) == ("token_mean", None)
    assert isinstance(Plain().penalty(), K3)


class Doubled(KLPenalty):
    def penalty(self, logp_NT, ref_logp_NT, ratio_NT):
        return 2 * K3().penalty(logp_NT, ref_logp_NT, ratio_NT)


class Halves(Correction):
    def weights(self, trainer_logp_NT, engine_logp_NT, mask_NT):
        return torch.full_like(trainer_logp_NT, 0.5)


def test_a_penalty_and_a_correction_of_ones_own(model_folder, tmp_path):
    """Twice the penalty at half the coefficient; half the policy loss by weights of one half."""
    plain = {"kl_coef": 0.4, "max_grad_norm": None, "warmup_steps": 0}
    one = fit(model_folder, tmp_path, 1, **plain)
    other = fit(model_folder, tmp_path, 1, loss=Clipped(kl=Doubled()), **{**plain, "kl_coef": 0.2})
    same(weights(one[0]), weights(other[0]))
    halved = fit(model_folder, tmp_path, 1, loss=Clipped(correction=Halves()), **plain)
    first, second = (run[2].metrics[0] for run in (one, halved))
    assert second["policy_loss"] != first["policy_loss"] and not torch.equal(
        weights(one[0]), weights(halved[0])
    )


def test_a_coefficient_for_each_token():
    """The same number for every token is the number; others scale their own token's gradient."""
    generator = torch.Generator().manual_seed(1)
    logp = torch.randn(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    reference = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    zero = torch.zeros(2, dtype=torch.float64)

    def gradient(beta):
        out = grpo_loss(
            logp, logp.detach(), reference, zero, mask, kl_coef=beta, clip_low=0.2, clip_high=0.2
        )
        return torch.autograd.grad(out.loss, logp)[0]

    plain = gradient(0.3)
    same(gradient(torch.full((2, 3), 0.3, dtype=torch.float64)), plain)
    beta = torch.tensor([[1.0, 2.0, 0.0], [3.0, 9.0, 9.0]], dtype=torch.float64)
    same(gradient(beta), gradient(1.0) * beta * mask)


class ByToken(KLController):
    def factor(self, batch, accuracy):
        return torch.full_like(batch.completions.logp_NT, 0.5)


def test_a_rule_may_set_one_for_each_token(model_folder, tmp_path):
    options = {"kl_coef": 0.4, "max_grad_norm": None, "warmup_steps": 0}
    tokens, _, recorder = fit(model_folder, tmp_path, 2, [ByToken()], **options)
    plain = fit(model_folder, tmp_path, 2, **{**options, "kl_coef": 0.2})[0]
    same(weights(tokens), weights(plain))
    assert recorder.metrics[0]["akl/kl_coef"] == pytest.approx(0.2)


def test_the_old_flags_choose_an_estimator(model_folder):
    assert isinstance(make_module(model_folder).advantages, GroupNormalised)
    assert isinstance(make_module(model_folder, advantage_scale="none").advantages, Centred)
    for flags in ({"advantage_scale": "none"}, {"advantage_unbiased": True}):
        with pytest.raises(ValueError, match=r"model.advantages is AnyOfK, which does not read"):
            make_module(model_folder, advantages=AnyOfK(), **flags)


def test_settings_that_exclude_each_other():
    with pytest.raises(ValueError, match=r"model.loss.kl is K3 and model.loss.kl_estimator is k1"):
        Clipped(kl=K3(), kl_estimator="k1")
    with pytest.raises(ValueError, match=r"model.loss.correction.cap must be at least 1, got 0.5"):
        Truncated("token", 0.5)
    with pytest.raises(ValueError, match=r"model.loss.correction must be one of"):
        Clipped(correction="tokens")


def test_the_correction_by_name_is_the_class(model_folder, tmp_path):
    corrections = ("token", Truncated("token"))
    runs = [fit(model_folder, tmp_path, 2, loss=Clipped(correction=c))[0] for c in corrections]
    assert torch.equal(*map(weights, runs))
