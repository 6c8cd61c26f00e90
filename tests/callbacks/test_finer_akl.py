"""AKL by rollout and by token, and the control that spreads the same pull evenly."""

import math
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, Recorder, fit, make_data, make_module, make_trainer, weights
from near import logged, same
from processes import run_ranks

from fgexpo.callbacks import (
    AccuracyConditionedClip,
    AKLCallback,
    KLController,
    Matched,
    QuestionAKL,
    RolloutCheckpoint,
    TargetKL,
    TokenAKL,
    TrajectoryAKL,
)
from fgexpo.kl import Linear, confidence, running_confidence
from fgexpo.losses import Clipped, objective

HALF, QUARTER = math.log(0.5), math.log(0.25)


@pytest.mark.usefixtures("in_float64")
def test_confidence_by_hand():
    """What stands in the padding does not count, be it NaN; no token is no doubt."""
    logp = torch.tensor([[HALF, QUARTER], [math.log(0.9), math.nan], [3.0, 4.0], [1e-9, 0.0]])
    mask = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    same(confidence(logp, mask), [math.sqrt(0.125), 0.9, 1.0, 1.0])
    assert float(confidence(logp, mask)[3]) == 1.0, "rounding above 1 is cut"
    found = running_confidence(logp, mask, start=0.81, prior=2.0)
    first = (0.81**2 * 0.5) ** (1 / 3)
    same(found[0], [0.81, first])
    same(found[1, 1], (0.81**2 * 0.9) ** (1 / 3))


def test_competence_by_token_is_causal():
    """Bit for bit: neither a token's own probability nor a later one's reaches its coefficient."""
    generator = torch.Generator().manual_seed(1)
    logp = -torch.rand(3, 9, generator=generator)
    mask = torch.ones(3, 9, dtype=torch.bool)
    found = running_confidence(logp, mask, 0.5, 3.0)
    for t in range(9):
        other = logp.clone()
        other[:, t:] = -torch.rand(3, 9 - t, generator=generator)
        changed = running_confidence(other, mask, 0.5, 3.0)
        assert torch.equal(changed[:, : t + 1], found[:, : t + 1])
        assert t == 8 or not torch.equal(changed[:, t + 1], found[:, t + 1])


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
def test_a_finer_coefficient_under_each_aggregation(aggregation):
    """Equal everywhere it is the number; else each token's KL gradient is scaled by its own."""
    generator = torch.Generator().manual_seed(2)
    logp, old, reference = (
        torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    advantages = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
    loss = Clipped(aggregation=aggregation)
    logp.requires_grad_()

    def gradient(beta):
        out = objective(loss, logp, old, reference, advantages, mask, kl_coef=beta)
        return torch.autograd.grad(out.loss, logp)[0]

    without, plain = gradient(0.0), gradient(0.3)
    assert (plain - without).abs().max() > 1e-2
    for shape in ((3,), (3, 4)):
        same(gradient(torch.full(shape, 0.3, dtype=torch.float64)), plain)
        beta = torch.rand(shape, generator=generator, dtype=torch.float64)
        scale = beta.view(3, -1) / 0.3
        same(gradient(beta), without + (plain - without) * scale)


RHO = Linear(0.5, 2.0)


def expected_factor(rule, batch):
    """Rollout by rollout, with Python's numbers."""
    done = batch.completions
    rows = []
    for n, length in enumerate(done.lengths_N.tolist()):
        logps = done.logp_NT[n, :length].tolist()
        if isinstance(rule, TokenAKL):
            row = []
            for t in range(length):
                shown = (rule.prior * math.log(rule.start) + sum(logps[:t])) / (rule.prior + t)
                row.append(RHO(math.exp(shown)))
            rows.append(row)
        elif rule.signal == "verdict":
            rows.append([RHO(float(batch.verdicts[n].correct))])
        else:
            rows.append([RHO(math.exp(sum(logps) / length))])
    return rows


RULES = {
    "verdict": lambda: TrajectoryAKL(RHO),
    "confidence": lambda: TrajectoryAKL(RHO, "confidence"),
    "token": lambda: TokenAKL(RHO, prior=2.0, start=0.3),
}
OPTIONS = {"verifier": EvenIsRight(), "kl_coef": 0.2, "max_grad_norm": None}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_in_a_run_and_its_control(model_folder, tmp_path, name):
    """Coefficients by hand; micro-batches do not matter; the control has their mean."""
    rule = RULES[name]()
    module, _, recorder = fit(model_folder, tmp_path, 2, [rule], **OPTIONS)
    if name == "token":
        small = fit(model_folder, tmp_path, 2, [RULES[name]()], micro_batch_tokens=40, **OPTIONS)
        same(weights(module), weights(small[0]))
    means = []
    for batch, beta, metrics in zip(
        recorder.batches, recorder.betas, recorder.metrics, strict=True
    ):
        rows = expected_factor(rule, batch)
        flat = [0.2 * factor for row in rows for factor in row]
        same(beta[batch.completions.mask_NT] if beta.ndim == 2 else beta, flat)
        assert max(flat) > 1.05 * min(flat), "the example must differ within a batch"
        means.append(sum(flat) / len(flat))
        logged(metrics["akl/kl_coef"], means[-1])
    control, _, found = fit(model_folder, tmp_path, 2, [Matched(RULES[name]())], **OPTIONS)
    same(found.betas[0], means[0])
    assert (weights(control) - weights(module)).abs().max() > 1e-6, "where it pulls must matter"


class Learning(KLController):
    """A rule by rollout that learns from each step."""

    def __init__(self):
        self.steps = 0

    def factor(self, batch, accuracy):
        return torch.arange(1.0, len(batch.texts) + 1).double() / (1 + self.steps)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state_dict):
        self.steps = state_dict["steps"]


def test_the_control_keeps_its_rules_state(model_folder, tmp_path):
    saver = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(tmp_path))
    options = {"kl_coef": 0.1, "trainer": {"enable_checkpointing": True}}
    _, _, whole = fit(model_folder, tmp_path, 3, [Matched(Learning()), saver], **options)
    assert whole.betas == pytest.approx([0.1 * 8.5, 0.1 * 8.5 / 2, 0.1 * 8.5 / 3])
    recorder = Recorder()
    trainer = make_trainer(tmp_path, 3, [Matched(Learning()), recorder])
    module = make_module(model_folder, kl_coef=0.1)
    trainer.fit(module, make_data(), ckpt_path=str(tmp_path / "step=000002.ckpt"))
    assert recorder.betas == whole.betas[2:]


def train(folder, out, devices):
    """A rule with a mean over uneven rollouts, one without, and a clip by accuracy."""
    found = {}
    rules = {"rollout": TrajectoryAKL(RHO, "confidence"), "matched": Matched(TokenAKL(RHO))}
    for name, akl in rules.items():
        recorder = Recorder()
        trainer = make_trainer(
            Path(out).parent,
            2,
            [akl, AccuracyConditionedClip(0.05, 0.001), recorder],
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
        )
        module = make_module(folder, **OPTIONS, inner_epochs=2)
        trainer.fit(module, make_data())
        betas = {}
        for step, (batch, beta) in enumerate(zip(recorder.batches, recorder.betas, strict=True)):
            for q, question in enumerate(batch.source.index_Q.tolist()):
                own = beta[q * 4 : q * 4 + 4] if isinstance(beta, torch.Tensor) else beta
                betas[step, question] = own
        tags = ("akl/kl_coef", "schedule/loss.clip_high", "clip_ratio/region_mean")
        logs = [[metrics[tag] for tag in tags] for metrics in recorder.metrics]
        found[name] = (betas, logs, weights(module))
    torch.save(found, f"{out}-{trainer.global_rank}")


def test_two_processes_pull_as_one(model_folder, tmp_path):
    run_ranks(train, model_folder, str(tmp_path / "two"), 2, log=tmp_path / "log")
    train(model_folder, str(tmp_path / "one"), 1)
    one = torch.load(tmp_path / "one-0")
    ranks = [torch.load(tmp_path / f"two-{rank}") for rank in range(2)]
    for name, (betas, logs, final) in one.items():
        shares = [rank[name] for rank in ranks]
        together = shares[0][0] | shares[1][0]
        assert together.keys() == betas.keys()
        for question, beta in betas.items():
            same(together[question], beta)
        for share in shares:
            logged(share[1], logs)
            same(share[2], final)
        assert logs[0][2] > 0, "the clip must cut something"
    assert len(set(map(float, one["matched"][0].values()))) == 2, "one for each step"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TrajectoryAKL(Linear(1.0, 0.5)), "non-decreasing"),
        (lambda: TrajectoryAKL(signal="reward"), r"akl.signal must be one of \('verdict'"),
        (lambda: TokenAKL(Linear(0.0, 0.5)), "above 0 everywhere"),
        (lambda: TokenAKL(prior=0.0), "akl.prior must be above 0 and finite, got 0"),
        (lambda: TokenAKL(prior=math.inf), "akl.prior must be above 0 and finite, got inf"),
        (lambda: TokenAKL(start=math.nan), r"akl.start must be in \(0, 1\], got nan"),
        (lambda: Matched(AKLCallback()), "akl.rule: AKLCallback has one factor for the whole"),
        (lambda: Matched(TargetKL()), "akl.rule: TargetKL has one factor"),
        (lambda: Matched(Matched(QuestionAKL())), "akl.rule: Matched has one factor"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_control_and_its_rule_are_two_controllers(model_folder, tmp_path):
    trainer = make_trainer(tmp_path, 1, [Matched(TokenAKL()), TokenAKL()])
    with pytest.raises(ValueError, match=r"hold Matched and TokenAKL, and each would overwrite"):
        trainer.fit(make_module(model_folder), make_data())
