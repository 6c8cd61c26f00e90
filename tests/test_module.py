import math

import pytest
import torch
from helpers import EvenIsRight, Parity, fit, make_data, make_module, make_trainer, sgd, weights
from near import ROUNDING, logged, same

from fgexpo.callbacks import AKLCallback, KLController
from fgexpo.curriculum.gaussian import Gaussian, Uniform, gaussian_weights
from fgexpo.kl import Linear
from fgexpo.losses import LossSettings
from fgexpo.model.loading import load_model
from fgexpo.model.logprobs import completion_logprobs
from fgexpo.rewards import MathVerifier
from fgexpo.rewards.reward import Accuracy, Reward
from fgexpo.tasks import TinyArithmetic
from fgexpo.templates import AnswerLine


def test_gradients_do_not_depend_on_micro_batches(model_folder, tmp_path):
    found = []
    for aggregation in ("token_mean", "sequence_mean", "dr_grpo"):
        one, other = (
            fit(
                model_folder,
                tmp_path,
                micro_batch_tokens=tokens,
                loss=LossSettings(aggregation=aggregation),
                kl_coef=0.5,
                max_grad_norm=None,
            )[0]
            for tokens in (40, 100_000)
        )
        # SGD at rate 0.1 for four updates: the weights are sums of gradients.
        same(weights(one), weights(other))
        found.append(weights(one))
    assert (found[0] - found[1]).abs().max() > 1e-3, "the aggregations must differ"


@pytest.mark.parametrize(("mini_batch", "policy_passes"), [(4, [16]), (2, [8, 8, 8])])
def test_the_first_update_is_the_old_policys_pass(
    model_folder, tmp_path, monkeypatch, mini_batch, policy_passes
):
    """Rows that the policy reads in a step: first of all the last update's, where there are two."""
    from fgexpo.update import prepare, rollout_loss

    rows = []
    for place in (prepare, rollout_loss):
        monkeypatch.setattr(place, "completion_logprobs", counting(rows))
    options = {"mini_batch_questions": mini_batch, "kl_coef": 0.0, "max_grad_norm": None}
    module, _, recorder = fit(model_folder, tmp_path, 1, warmup_steps=0, **options)
    assert rows == policy_passes
    (batch,) = recorder.batches
    with torch.no_grad():
        start = load_model(model_folder, "float64")
        old, entropy = completion_logprobs(start, batch.sequences, entropy=True)
    same(batch.old_logp_NT, old)
    same(batch.entropy_N, entropy.sum(1))
    assert not batch.old_logp_NT.requires_grad and not batch.entropy_N.requires_grad
    now, _ = completion_logprobs(module.policy, batch.sequences)
    assert (now - old).abs().max() > 1e-3, "the update must show"
    tokens = batch.completions.lengths_N.sum()
    logged(recorder.metrics[0]["entropy"], float(entropy.sum() / tokens))


def counting(rows):
    def counted(model, sequences, temperature, entropy=False):
        rows.append(len(sequences.tokens_NL))
        return completion_logprobs(model, sequences, temperature, entropy)

    return counted


def test_a_question_seen_again_gets_new_noise(model_folder, tmp_path):
    data = make_data(train=TinyArithmetic("pool", 1, levels=[1]), questions_per_step=6)
    frozen = {"optimizer": lambda params: torch.optim.SGD(params, lr=0.0)}
    recorder = fit(model_folder, tmp_path, 2, data=data, **frozen)[2]
    first, second = (
        dict(zip(b.source.index_Q.tolist(), texts_by_question(b), strict=True))
        for b in recorder.batches
    )
    assert first.keys() == second.keys()
    assert all(first[row] != second[row] for row in first)


def texts_by_question(batch):
    return [batch.texts[q * 4 : q * 4 + 4] for q in range(len(batch.source))]


def test_akl_uses_this_batchs_accuracy(model_folder, tmp_path):
    recorder = fit(
        model_folder, tmp_path, 4, [AKLCallback()], verifier=EvenIsRight(), kl_coef=0.02
    )[2]
    accuracies = [float(batch.correct_N.mean()) for batch in recorder.batches]
    assert len(set(accuracies)) > 1, "a lag must be visible"
    for beta, accuracy, metrics in zip(recorder.betas, accuracies, recorder.metrics, strict=True):
        same(beta, 0.02 * (math.tanh(accuracy) + 1) / 2)
        assert metrics["akl/kl_coef"] == pytest.approx(beta)
        assert metrics["akl/batch_accuracy"] == pytest.approx(accuracy)


def test_akl_reads_correctness_not_reward(model_folder, tmp_path):
    _, _, recorder = fit(
        model_folder, tmp_path, 1, [AKLCallback(Linear(0.5, 1.0))], rewards=[Parity(weight=5.0)]
    )
    assert float(recorder.batches[0].reward_N.mean()) > 0
    assert (
        recorder.metrics[0]["akl/batch_accuracy"]
        == float(recorder.batches[0].correct_N.mean())
        == 0.0
    )


def test_the_loss_uses_beta(model_folder, tmp_path):
    """AKL with rho = 2 equals plain GRPO with twice the coefficient, and differs from once."""

    class Double(KLController):
        def factor(self, batch, accuracy):
            return 2.0

    class DoubleByRollout(KLController):
        def factor(self, batch, accuracy):
            return torch.full((len(batch.texts),), 2.0)

    options = {"steps": 3, "mini_batch_questions": 2}
    doubled = weights(fit(model_folder, tmp_path, callbacks=[Double()], kl_coef=0.4, **options)[0])
    by_rollout = weights(
        fit(model_folder, tmp_path, callbacks=[DoubleByRollout()], kl_coef=0.4, **options)[0]
    )
    plain = weights(fit(model_folder, tmp_path, kl_coef=0.8, **options)[0])
    once = weights(fit(model_folder, tmp_path, kl_coef=0.4, **options)[0])
    same(doubled, plain)
    same(by_rollout, plain)
    assert (plain - once).abs().max() > 1e-5


def test_beta_starts_every_batch_at_its_base(model_folder, tmp_path):
    class Once(KLController):
        def factor(self, batch, accuracy):
            return 3.0

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if pl_module.rollout_step == 0:
                super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    recorder = fit(model_folder, tmp_path, 2, [Once()], kl_coef=0.1)[2]
    assert recorder.betas == [pytest.approx(0.3), 0.1]


def test_the_reference_is_frozen_and_nowhere(model_folder, tmp_path):
    module, _, _ = fit(model_folder, tmp_path, 3)
    start = weights(make_with_policy(model_folder))
    held = torch.cat([p.flatten() for p in module.reference.model.parameters()])
    assert torch.equal(held, start) and not torch.equal(weights(module), start)
    assert not module.reference.model.training and module.policy.training
    assert not any("reference" in name for name in module.state_dict())
    assert len(list(module.parameters())) == len(list(module.policy.parameters()))


def make_with_policy(folder):
    module = make_module(folder)
    module.policy = module.open_policy()
    return module


def test_without_kl_no_reference_is_loaded(model_folder, tmp_path):
    module, _, recorder = fit(model_folder, tmp_path, 1, kl_coef=0.0)
    assert module.reference is None
    assert recorder.batches[0].ref_logp_NT is None
    assert recorder.metrics[0]["kl"] == 0.0


@pytest.mark.parametrize("refresh", ["epoch", "step"])
def test_the_curriculum_sees_every_training_batch_and_steers_the_next(
    model_folder, tmp_path, refresh
):
    """Recompute table, weights and draws of a whole run from its recorded batches."""
    data = make_data(refresh=refresh, decay=0.5, curriculum=Gaussian(0.5, 0.1), seed=3)
    _, data, recorder = fit(
        model_folder,
        tmp_path,
        13,
        data=data,
        verifier=EvenIsRight(),
        trainer={"limit_val_batches": 1.0},
    )
    rates = torch.full((24,), 0.5, dtype=torch.float64)
    in_force = gaussian_weights(rates, 0.5, 0.1)
    drew_by_stale_weights = 0
    for step, batch in enumerate(recorder.batches):
        data.sampler.weights = in_force
        rows = data.sampler.draw(step)
        assert batch.source.index_Q.tolist() == rows, "the sampler must follow the weights"
        data.sampler.weights = torch.ones(24, dtype=torch.float64)
        drew_by_stale_weights += data.sampler.draw(step) != rows
        rates[rows] = 0.5 * rates[rows] + 0.5 * batch.correct_N.view(4, 4).mean(1).double()
        if refresh == "step" or (step + 1) % 6 == 0:
            in_force = gaussian_weights(rates, 0.5, 0.1)
    assert drew_by_stale_weights, "the weights must have made a difference"
    same(data.table.pass_rates, rates)
    assert data.table.visits.sum() == 13 * 4, "validation must not be observed"


def test_rewards_are_weighted_and_named(model_folder, tmp_path):
    recorder = fit(
        model_folder, tmp_path, 1, rewards=[Accuracy(), Parity(weight=0.5, name="even")]
    )[2]
    batch, metrics = recorder.batches[0], recorder.metrics[0]
    even = (batch.completions.lengths_N % 2 == 0).double()
    assert torch.equal(batch.reward_N, batch.correct_N + 0.5 * even)
    assert metrics["rewards/even/mean"] == pytest.approx(even.mean().item())
    assert metrics["rewards/accuracy/mean"] == 0.0


TAGS = """
reward reward_std frac_reward_zero_std kl entropy loss accuracy grad_norm learning_rate num_tokens
num_rollouts step_time clip_ratio/low_mean clip_ratio/high_mean clip_ratio/region_mean
completions/mean_length completions/min_length completions/max_length completions/clipped_ratio
completions/mean_terminated_length reward/no_answer_frac reward/timeout_frac
sampling/sampling_logp_difference/mean sampling/sampling_logp_difference/max
sampling/importance_sampling_ratio/min sampling/importance_sampling_ratio/mean
sampling/importance_sampling_ratio/max akl/kl_coef akl/batch_accuracy
curriculum/effective_sample_size curriculum/frac_seen curriculum/frac_frontier frac_kl_only
"""


def test_logged_tags(model_folder, tmp_path):
    metrics = fit(model_folder, tmp_path, 1, [AKLCallback()])[2].metrics[0]
    for tag in TAGS.split():
        assert tag in metrics, tag
        assert math.isfinite(metrics[tag])
    assert metrics["sampling/sampling_logp_difference/max"] < ROUNDING


def test_updates_and_learning_rate_count_as_they_should(model_folder, tmp_path):
    module, _, recorder = fit(model_folder, tmp_path, 2, inner_epochs=3)
    # Two rollout steps of three passes over two mini-batches; the rate rises by rollout steps.
    assert module.trainer.global_step == 2 * 3 * 2
    assert [m["learning_rate"] for m in recorder.metrics] == pytest.approx([0.01, 0.02])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mini_batch_questions": 3}, "mini_batch_questions = 3 does not divide"),
        ({"kl_coef": -1.0}, "kl_coef"),
        ({"group_size": 0}, "group_size"),
        ({"rewards": []}, "rewards"),
        ({"mini_batch_questions": 0}, "mini_batch_questions must be at least 1"),
        ({"group_size": 1, "advantage_unbiased": True}, "advantage_unbiased needs"),
        ({"max_prompt_tokens": 255}, "the model's limit is 256"),
    ],
)
def test_bad_settings(model_folder, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        fit(model_folder, tmp_path, 1, **options)


def test_run_length_in_optimizer_steps_is_refused(model_folder, tmp_path):
    with pytest.raises(ValueError, match="--steps"):
        fit(model_folder, tmp_path, 1, trainer={"max_steps": 5})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_epochs": 2}, r"min_epochs"),
        ({"min_steps": 5}, r"min_steps"),
        ({"precision": "16-true"}, r"expected one of 32-true, 64-true, bf16-mixed"),
        ({"precision": "bf16-true"}, r"precision = bf16-true is not supported"),
    ],
)
def test_trainers_that_would_not_do(model_folder, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        fit(model_folder, tmp_path, 1, trainer=options)


def test_same_seed_same_run(model_folder, tmp_path):
    one = fit(model_folder, tmp_path, 3, [AKLCallback()])[0]
    two = fit(model_folder, tmp_path, 3, [AKLCallback()])[0]
    other = fit(model_folder, tmp_path, 3, [AKLCallback()], seed=1)[0]
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(other))


def test_a_uniform_curriculum_is_plain_grpo(model_folder, tmp_path):
    data = make_data(curriculum=Uniform())
    fit(model_folder, tmp_path, 7, data=data, verifier=MathVerifier())
    assert (data.sampler.weights == 1).all()


def test_validation_scores(model_folder, tmp_path):
    module = make_module(model_folder, verifier=EvenIsRight(), optimizer=sgd)
    trainer = make_trainer(tmp_path, 1, limit_val_batches=1.0)
    scores = trainer.validate(module, make_data(), verbose=False)[0]
    again = make_trainer(tmp_path, 1, limit_val_batches=1.0).validate(
        module, make_data(), verbose=False
    )[0]
    assert 0 < scores["val/tiny/pass@1"] <= scores["val/tiny/pass@2"] <= 1
    assert scores == again, "the same policy must get the same score"


class NotANumber(Reward):
    def score(self, rollouts):
        return [float("nan")] * len(rollouts)


def test_a_reward_that_is_not_finite_is_named(model_folder, tmp_path):
    with pytest.raises(ValueError, match="NotANumber gave a score that is not finite"):
        fit(model_folder, tmp_path, 1, rewards=[NotANumber()])


def test_a_verifier_must_read_what_the_template_asks_for(model_folder):
    with pytest.raises(ValueError, match=r"set model\.verifier\.reads=line"):
        make_module(model_folder, template=AnswerLine())
    make_module(model_folder, template=AnswerLine(), verifier=MathVerifier(reads="line"))
    make_module(model_folder, template=AnswerLine(), verifier=EvenIsRight())
