"""Settings that would train nothing, or the wrong thing, are refused before a model is loaded."""

import warnings

import pytest
import torch
from helpers import EvenIsRight, Parity, fit, make_data, make_module, make_trainer

from fgexpo.advantages import (
    AdvantageEstimator,
    BatchNormalised,
    Centred,
    Focal,
    GroupNormalised,
    LeaveOneOut,
    MaxLikelihood,
    NegativeWeighted,
    ReinforcePlusPlus,
)
from fgexpo.callbacks import AKLCallback
from fgexpo.checks.kl_in_reward import check_kl_in_reward
from fgexpo.checks.numbers import check_numbers
from fgexpo.checks.settings import missing_answer_form
from fgexpo.errors import UserError
from fgexpo.losses import Clipped, InReward
from fgexpo.rewards import Accuracy, MathVerifier
from fgexpo.rollout import Sampling
from fgexpo.templates import AnswerLine, Custom, Plain, PromptEncoder

REFUSED = [
    ({"group_size": 1}, r"model\.group_size = 1 trains nothing with .* GroupNormalised"),
    ({"group_size": 1, "advantage_scale": "none"}, r"trains nothing with .* Centred"),
    ({"group_size": 1, "advantage_scale": "batch"}, r"trains nothing with .* BatchNormalised"),
    ({"rewards": [Accuracy(0.0), Parity(0.0)]}, r"model\.rewards: all weights are 0"),
    ({"rewards": [Parity(float("nan"))]}, r"Parity\.weight must be finite, got nan"),
    ({"max_grad_norm": 0.0}, r"model\.max_grad_norm must be above 0, or null .* got 0\.0"),
    ({"max_grad_norm": -1.0}, r"model\.max_grad_norm must be above 0"),
    ({"max_grad_norm": float("nan")}, r"model\.max_grad_norm must be above 0"),
    ({"warmup_steps": -1}, r"model\.warmup_steps must not be negative, got -1"),
    ({"kl_coef": float("nan")}, r"model\.kl_coef must be finite"),
    ({"kl_coef": float("inf")}, r"model\.kl_coef must be finite"),
    ({"sampling": Sampling(8, top_k=1)}, r"model\.sampling\.top_k must not be 1 to train"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_settings_that_train_nothing(model_folder, options, words):
    with pytest.raises(ValueError, match=words):
        make_module(model_folder, **options)


class Plainly(AdvantageEstimator):
    def __call__(self, rewards_QG):
        return rewards_QG - 0.5


def test_a_single_rollout_will_do_for_an_estimator_that_judges_it_alone(model_folder, tmp_path):
    module, _, _ = fit(model_folder, tmp_path, 1, group_size=1, advantages=Plainly())
    assert module.rollout_step == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_that_lose_their_updates(model_folder, tmp_path, dtype):
    words = rf"model\.dtype = {dtype} cannot be trained: .* trainer\.precision=bf16-mixed"
    with pytest.raises(ValueError, match=words):
        fit(model_folder, tmp_path, 1, dtype=dtype)


def test_such_weights_may_be_evaluated(model_folder, tmp_path):
    module = make_module(model_folder, dtype="bfloat16", verifier=EvenIsRight())
    trainer = make_trainer(tmp_path, 1, limit_val_batches=1.0)
    scores = trainer.validate(module, make_data(), verbose=False)[0]
    assert 0 <= scores["val/tiny/pass@1"] <= 1
    assert next(module.policy.parameters()).dtype == torch.bfloat16


OPTIMIZERS = [
    (lambda params: torch.optim.AdamW(params, lr=-1.0), r"model\.optimizer .*Invalid learning ra"),
    (lambda params: torch.optim.AdamW(params, learning=1), r"model\.optimizer .*'learning'"),
    (lambda params: torch.optim.LBFGS(params), r"model\.optimizer LBFGS evaluates the loss itself"),
]


@pytest.mark.parametrize(("optimizer", "words"), OPTIMIZERS)
def test_optimizers_that_would_not_do(model_folder, tmp_path, optimizer, words):
    with pytest.raises(ValueError, match=words):
        fit(model_folder, tmp_path, 1, optimizer=optimizer)


def test_a_learning_rate_of_zero_is_said(model_folder, tmp_path, caplog):
    fit(model_folder, tmp_path, 1, optimizer=lambda params: torch.optim.SGD(params, lr=0.0))
    assert caplog.text.count("model.optimizer.lr is 0, so no weight will change") == 1


def test_two_rules_for_one_coefficient(model_folder, tmp_path):
    with pytest.raises(ValueError, match=r"hold AKLCallback and AKLCallback, and each would"):
        fit(model_folder, tmp_path, 1, [AKLCallback(), AKLCallback()])


class Overwriting(Clipped):
    def metrics(self, ratio_NT, advantages_N):
        return {"kl": ratio_NT}


def test_a_loss_that_would_log_over_anothers_tag(model_folder, tmp_path):
    with pytest.raises(ValueError, match=r"model\.loss logs 'kl', which is another value's tag"):
        fit(model_folder, tmp_path, 1, loss=Overwriting())


def test_evaluation_batches_of_no_question():
    with pytest.raises(ValueError, match=r"data\.questions_per_eval_batch must be at least 1"):
        make_data(questions_per_eval_batch=0)


def test_not_a_number_anywhere():
    config = {"model": {"init_args": {"rewards": [{"init_args": {"weight": float("nan")}}]}}}
    with pytest.raises(ValueError, match=r"^model\.rewards\[0\]\.weight must be a number, got nan"):
        check_numbers(config)
    check_numbers({"trainer": {"limit_val_batches": float("inf"), "callbacks": [None, "nan"]}})


SAID = [
    (Plain(), MathVerifier(), True),
    (Plain(answer="box"), MathVerifier(), False),
    (Custom("Q: {question} A:"), MathVerifier(), True),
    (Custom("{question} Put it into \\boxed{}."), MathVerifier(), False),
    (Plain(), EvenIsRight(), False),
]


@pytest.mark.parametrize(("template", "verifier", "said"), SAID)
def test_a_prompt_that_asks_for_no_form_of_answer(tokenizer, template, verifier, said):
    found = missing_answer_form(PromptEncoder(tokenizer, template, 32), verifier)
    words = f"model.template {type(template).__name__} asks for no form of answer"
    assert words in found if said else found is None


def test_that_is_said_at_the_start(model_folder, tmp_path, caplog):
    make_trainer(tmp_path, 1).fit(make_module(model_folder), make_data())
    assert caplog.text.count("model.verifier.reads = 'box': a model that does not answer") == 1


def test_a_reader_of_the_last_number_reads_any_form(model_folder):
    class LastNumber(EvenIsRight):
        reads = "last_number"

    module = make_module(model_folder, template=AnswerLine(), verifier=LastNumber())
    assert missing_answer_form(module.prompts, module.verifier) is None
    bare = PromptEncoder(module.prompts.tokenizer, Plain(), 32)
    assert missing_answer_form(bare, module.verifier) is None


def test_a_form_of_answer_that_there_is_not():
    with pytest.raises(ValueError, match=r"model\.template\.answer must be one of"):
        Plain(answer="boxes")


@pytest.mark.parametrize(
    ("estimator", "loud"),
    [
        (GroupNormalised(), True),
        (Focal(right_above=0.5), True),
        (MaxLikelihood(right_above=0.5), False),
        (Centred(), False),
        (LeaveOneOut(), False),
        (BatchNormalised(), False),
        (ReinforcePlusPlus(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_kl_in_the_reward_that_would_be_as_loud_as_a_verdict(estimator, loud):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_kl_in_reward(Clipped(kl=InReward()), estimator, 0.02, 8)
        check_kl_in_reward(Clipped(), GroupNormalised(), 0.0, 8)
    assert len(said) == loud
    if loud:
        assert f"model.advantages {type(estimator).__name__}" in str(said[0].message)


@pytest.mark.parametrize("estimator", [NegativeWeighted(), MaxLikelihood(), Focal()])
def test_a_kl_that_could_make_a_wrong_rollout_right(estimator):
    with pytest.raises(UserError, match=r"InReward with .*right_above = 0 counts as right"):
        check_kl_in_reward(Clipped(kl=InReward()), estimator, 0.02, 8)


def test_a_kl_in_the_reward_that_there_is_not():
    with pytest.raises(UserError, match=r"InReward takes nothing off .* model.kl_coef = 0"):
        check_kl_in_reward(Clipped(kl=InReward()), Centred(), 0.0, 8)
