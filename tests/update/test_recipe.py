"""Options of other recipes in real runs: GSPO, entropy bonus, overlong punishment and filtering."""

import math
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, fit, make_data, make_module, weights, weights_of
from near import logged, same
from test_distributed import check

from fgexpo.advantages import group_advantages
from fgexpo.callbacks import AKLCallback
from fgexpo.cli.fit import FGExpoCLI
from fgexpo.cli.imports import restrict_imports
from fgexpo.losses import LossSettings
from fgexpo.model.loading import load_model
from fgexpo.questions import Question
from fgexpo.rewards import Accuracy, Graded, Overlong, Verdict
from fgexpo.rollout import Sampling

ROOT = Path(__file__).parents[2]
# Random models end about one completion in four by themselves within so many tokens.
LONG = Sampling(max_new_tokens=16)


def graded(length, finish="stop"):
    return Graded(Question("q", "", ""), "", length, finish, Verdict(True, ""))


def test_the_overlong_punishment_by_hand():
    """Equation (13) of DAPO with a limit of 20 tokens and a buffer of 5."""
    lengths = [0, 1, 15, 16, 17, 19, 20, 21, 500]
    expected = [0, 0, 0, -0.2, -0.4, -0.8, -1, -1, -1]
    assert Overlong(20, 5).score([graded(n) for n in lengths]) == pytest.approx(expected)
    assert Overlong(4, 4).score([graded(n) for n in (1, 4)]) == [-0.25, -1]
    assert (Overlong(20, 5).weight, Overlong(20, 5).name) == (1.0, "overlong")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 1), r"max_tokens must be at least 1, got 0"),
        ((10, 0), r"buffer must be above 0 and at most max_tokens = 10, got 0"),
        ((10, 11), r"got 11"),
        ((10, 5, -1.0), r"weight must not be negative"),
    ],
)
def test_bad_overlong_settings(arguments, words):
    with pytest.raises(ValueError, match=words):
        Overlong(*arguments)


def test_an_overlong_limit_that_no_completion_reaches_is_refused(model_folder):
    words = r"Overlong\.max_tokens = 9 is above model\.sampling\.max_new_tokens = 8"
    with pytest.raises(ValueError, match=words):
        make_module(model_folder, rewards=[Accuracy(), Overlong(9, 2)])
    make_module(model_folder, rewards=[Accuracy(), Overlong(8, 2)])


def test_the_overlong_punishment_leaves_accuracy_and_pass_rates_alone(model_folder, tmp_path):
    data = make_data(refresh="step", decay=0.5)
    rewards = [Accuracy(), Overlong(16, 8, weight=0.5)]
    _, data, recorder = fit(
        model_folder,
        tmp_path,
        3,
        [AKLCallback()],
        data=data,
        rewards=rewards,
        verifier=EvenIsRight(),
        sampling=LONG,
    )
    rates = torch.full((24,), 0.5, dtype=torch.float64)
    for batch, metrics in zip(recorder.batches, recorder.metrics, strict=True):
        right = torch.tensor([len(text) % 2 == 0 for text in batch.texts]).double()
        lengths = batch.completions.lengths_N
        over = -((lengths - 8).clamp_min(0) / 8).double()
        assert torch.equal(batch.correct_N, right)
        same(batch.reward_N, right + 0.5 * over)
        assert metrics["akl/batch_accuracy"] == pytest.approx(float(right.mean()))
        assert metrics["rewards/overlong/mean"] == pytest.approx(float(over.mean())) != 0
        rows = batch.source.index_Q
        rates[rows] = 0.5 * rates[rows] + 0.5 * right.view(4, 4).mean(1).double()
    same(data.table.pass_rates, rates)


def by_formula(folder, batch, settings, temperature, kl_coef=0.3, rate=0.1, kept=None):
    """The weights after one SGD step on the kept rollouts alone, at a ratio of 1 and with K1."""
    model = load_model(folder, "float64")
    kept = range(len(batch.texts)) if kept is None else kept
    advantages = group_advantages(batch.reward_N.view(4, 4)).flatten().tolist()
    total, tokens = 0.0, 0
    for n in kept:
        prompt = batch.source.prompts[n // 4]
        row = batch.completions.tokens_NT[n, : int(batch.completions.lengths_N[n])]
        logits = model(torch.tensor([prompt + row.tolist()])).logits[0, len(prompt) - 1 : -1]
        logs = (logits / temperature).log_softmax(-1)
        entropy = -(logs.exp() * logs).sum(-1)
        own = logs.gather(1, row[:, None])[:, 0]
        loss = (kl_coef - advantages[n]) * own - settings.entropy_coef * entropy
        total = total + (loss.mean() if settings.aggregation == "sequence_mean" else loss.sum())
        tokens += len(row)
    counts = {"token_mean": tokens, "sequence_mean": len(kept), "dr_grpo": len(kept) * 16}
    (total / counts[settings.aggregation]).backward()
    return torch.cat([(p - rate * p.grad).detach().flatten() for p in model.parameters()])


def one_update(folder, tmp_path, settings, **options):
    defaults = {
        "mini_batch_questions": None,
        "sampling": LONG,
        "kl_coef": 0.3,
        "warmup_steps": 0,
        "max_grad_norm": None,
        "loss": settings,
    }
    module, _, recorder = fit(folder, tmp_path, 1, **{**defaults, **options})
    return module, recorder.batches[0], recorder.metrics[0]


@pytest.mark.parametrize("tokens", [40, 100_000])
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "dr_grpo"])
def test_truncated_completions_are_left_out_altogether(model_folder, tmp_path, aggregation, tokens):
    settings = LossSettings(aggregation=aggregation, mask_truncated=True, kl_estimator="k1")
    module, batch, metrics = one_update(model_folder, tmp_path, settings, micro_batch_tokens=tokens)
    kept = [n for n, reason in enumerate(batch.completions.finish) if reason == "stop"]
    assert 1 < len(kept) < 12
    start = weights_of(model_folder)
    expected = by_formula(model_folder, batch, settings, 1.0, kept=kept)
    assert (expected - start).abs().max() > 1e-3
    same(weights(module), expected)
    advantages = group_advantages(batch.reward_N.view(4, 4)).flatten()[kept]
    lengths = batch.completions.lengths_N[kept]
    by_hand = {
        "token_mean": (advantages * lengths).sum() / lengths.sum(),
        "sequence_mean": advantages.mean(),
        "dr_grpo": (advantages * lengths).sum() / (len(kept) * 16),
    }
    logged(metrics["policy_loss"], -float(by_hand[aggregation]))


def test_a_mini_batch_of_truncated_completions_moves_nothing(model_folder, tmp_path):
    """Plain SGD: a gradient of zero leaves the weights as they are, and the update is made."""
    settings = LossSettings(mask_truncated=True, entropy_coef=0.1, kl_estimator="k1")
    module, batch, metrics = one_update(
        model_folder, tmp_path, settings, sampling=Sampling(max_new_tokens=2)
    )
    assert set(batch.completions.finish) == {"length"}
    assert torch.equal(weights(module), weights_of(model_folder))
    assert (metrics["loss"], metrics["grad_norm"], metrics["nonfinite/updates"]) == (0, 0, 0)
    assert module.trainer.global_step == 1


@pytest.mark.parametrize("tokens", [40, 100_000])
def test_an_entropy_bonus_reaches_the_gradient(model_folder, tmp_path, tokens):
    settings = LossSettings(entropy_coef=0.5, kl_estimator="k1")
    module, batch, metrics = one_update(
        model_folder,
        tmp_path,
        settings,
        micro_batch_tokens=tokens,
        sampling=Sampling(max_new_tokens=16, temperature=1.3),
    )
    expected = by_formula(model_folder, batch, settings, 1.3)
    same(weights(module), expected)
    plain = by_formula(model_folder, batch, LossSettings(), 1.3)
    assert (expected - plain).abs().max() > 1e-3
    bonus = metrics["policy_loss"] + 0.3 * metrics["kl"] - metrics["loss"]
    logged(bonus, 0.5 * metrics["entropy"])


def test_without_a_coefficient_only_the_first_update_asks_for_entropies(
    model_folder, tmp_path, monkeypatch
):
    from fgexpo.update import rollout_loss

    asked, original = [], rollout_loss.completion_logprobs

    def spy(policy, part, temperature, entropy=False):
        asked.append(entropy)
        return original(policy, part, temperature, entropy=entropy)

    monkeypatch.setattr(rollout_loss, "completion_logprobs", spy)
    for coefficient in (0.0, -0.1):
        settings = LossSettings(entropy_coef=coefficient)
        one_update(model_folder, tmp_path, settings, mini_batch_questions=2)
    assert asked == [True, False, True, True]


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_gradients_do_not_depend_on_micro_batches(model_folder, tmp_path, ratio):
    """Four passes over each batch, so that ratios leave 1 and are cut."""
    settings = LossSettings(
        ratio=ratio,
        aggregation="sequence_mean",
        clip_low=3e-3,
        clip_high=4e-3,
        mask_truncated=True,
        correction="token",
    )
    runs = [
        one_update(
            model_folder,
            tmp_path,
            settings,
            micro_batch_tokens=tokens,
            inner_epochs=4,
            optimizer=lambda params: torch.optim.SGD(params, lr=0.02),
        )
        for tokens in (40, 100_000)
    ]
    one, other = (weights(module) for module, _, _ in runs)
    same(one, other)
    for _, _, metrics in runs:
        assert metrics["clip_ratio/region_mean"] > 0
        assert all(map(math.isfinite, metrics.values()))


def test_the_second_update_of_gspo_against_the_formula(model_folder, tmp_path):
    """Plain SGD on GSPO's equations (5) and (7); at the second update the ratio has moved."""
    settings = LossSettings(0.02, 0.03, None, aggregation="sequence_mean", ratio="sequence")
    module, batch, metrics = one_update(
        model_folder,
        tmp_path,
        settings,
        kl_coef=0.0,
        inner_epochs=2,
        optimizer=lambda params: torch.optim.SGD(params, lr=0.01),
    )
    model, start = (load_model(model_folder, "float64") for _ in range(2))
    advantages = group_advantages(batch.reward_N.view(4, 4)).flatten().tolist()

    def mean_log(model, n):
        prompt = batch.source.prompts[n // 4]
        row = batch.completions.tokens_NT[n, : int(batch.completions.lengths_N[n])]
        logits = model(torch.tensor([prompt + row.tolist()])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(1, row[:, None]).mean()

    cut = 0
    for _ in range(2):
        total = torch.tensor(0.0, dtype=torch.float64)
        for n, a in enumerate(advantages):
            s = (mean_log(model, n) - mean_log(start, n).detach()).exp()
            inside = (a > 0 and s <= 1.03) or (a < 0 and s >= 0.98)
            cut += a != 0 and not inside
            total = total - (s * a if inside else 0.0)
        model.zero_grad()
        (total / 16).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.01 * p.grad
    expected = torch.cat([p.detach().flatten() for p in model.parameters()])
    same(weights(module), expected)
    assert 0 < cut < 16, cut
    # The mean over the two updates of the share of sequences that are cut; none is in the first.
    assert metrics["clip_ratio/region_mean"] == pytest.approx(cut / 16 / 2)


def test_two_processes_equal_one_where_nothing_counts_on_some(model_folder, tmp_path):
    settings = LossSettings(
        ratio="sequence", aggregation="sequence_mean", mask_truncated=True, kl_estimator="k1"
    )
    options = {"loss": settings, "micro_batch_tokens": 40}
    check(model_folder, tmp_path, options)
    # The same run again, to see what each of two processes had in each mini-batch.
    batches = fit(
        model_folder,
        tmp_path,
        5,
        [AKLCallback()],
        data=make_data(decay=0.5, refresh="step"),
        verifier=EvenIsRight(),
        kl_coef=0.1,
        max_grad_norm=None,
        **options,
    )[2].batches
    ended = [[reason == "stop" for reason in batch.completions.finish] for batch in batches]
    has_some = torch.tensor(ended).view(-1, 2, 4).any(2)  # [mini-batches, processes]
    assert (has_some.sum(1) == 1).any() and (has_some.sum(1) == 0).any()


@pytest.mark.parametrize("recipe", ["gspo", "dapo"])
def test_recipes_make_a_module(model_folder, recipe):
    restrict_imports()
    configs = [f"--config={ROOT}/configs/{name}.yaml" for name in ("tiny", f"recipes/{recipe}")]
    own = [f"--model.name={model_folder}", "--model.mini_batch_questions=null"]
    if recipe == "dapo":
        short = "{class_path: Overlong, init_args: {max_tokens: 32, buffer: 6, weight: 0.5}}"
        own.append(f"--model.rewards=[Accuracy, {short}]")
    kind = type("Cli", (FGExpoCLI,), {"_run_subcommand": lambda self, subcommand: None})
    module = kind(["fit", *configs, *own]).model
    assert module.loss.ratio == {"gspo": "sequence", "dapo": "token"}[recipe]
    if recipe == "dapo":
        assert [type(reward) for reward in module.rewards] == [Accuracy, Overlong]
        assert (module.rewards[1].max_tokens, module.rewards[1].weight) == (32, 0.5)
