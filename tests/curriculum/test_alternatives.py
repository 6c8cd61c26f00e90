"""The alternatives in both slots: KL rules and curricula, by hand and in runs."""

import math

import pytest
import torch
from helpers import EvenIsRight, fit, make_data
from lab import CONFIG
from near import same, within

from fgexpo.callbacks import QuestionAKL, RolloutCheckpoint, TargetKL
from fgexpo.cli import main
from fgexpo.curriculum.alternatives import HardFilter, Learnability, Thompson, TowardsHard
from fgexpo.curriculum.gaussian import Gaussian, Uniform
from fgexpo.curriculum.pass_rates import PassRateTable
from fgexpo.curriculum.shared import Shared, shrunk_rates
from fgexpo.groups import Groups
from fgexpo.kl import Linear, adapted_factor, question_factors
from fgexpo.questions import Question


def table(rates, visits=None):
    made = PassRateTable(len(rates))
    made.averages = torch.tensor(rates, dtype=torch.float64)
    if visits is not None:
        made.visits = torch.tensor(visits)
    return made


def test_a_factor_for_each_question():
    found = question_factors(Linear(0.5, 1.5), torch.tensor([0.0, 0.25, 1.0]), Groups([2, 1, 3]))
    assert found.tolist() == [0.5, 0.5, 0.75, 1.5, 1.5, 1.5]


def test_the_proportional_controller_by_hand():
    # 10 % above the target, then far above and far below, where the error is cut at 20 %.
    assert adapted_factor(2.0, 0.011, 0.01, 0.1) == pytest.approx(2.0 * 1.01)
    assert adapted_factor(2.0, 1.0, 0.01, 0.1) == pytest.approx(2.0 * 1.02)
    assert adapted_factor(2.0, 0.0, 0.01, 0.1) == pytest.approx(2.0 * 0.98)
    assert adapted_factor(2.0, 0.01, 0.01, 0.1) == 2.0


def test_akl_by_question_in_a_run(model_folder, tmp_path):
    _, _, recorder = fit(
        model_folder, tmp_path, 2, [QuestionAKL()], verifier=EvenIsRight(), kl_coef=0.1
    )
    for batch, beta in zip(recorder.batches, recorder.betas, strict=True):
        rates = batch.correct_N.view(-1, 4).mean(1).repeat_interleave(4)
        expected = 0.1 * (rates.tanh() + 1) / 2
        same(beta, expected)
    assert len(recorder.betas[0].unique()) > 1


def test_the_target_moves_the_coefficient_and_is_resumed(model_folder, tmp_path):
    options = {"kl_coef": 0.1, "trainer": {"enable_checkpointing": True}}
    saver = [RolloutCheckpoint(every_steps=2, keep=None, dirpath=str(tmp_path))]
    _, _, recorder = fit(model_folder, tmp_path, 4, [TargetKL(1e-3, 0.5), *saver], **options)
    value, expected = 1.0, []
    for metrics in recorder.metrics:
        expected.append(0.1 * value)
        value = adapted_factor(value, metrics["kl"], 1e-3, 0.5)
    assert recorder.betas == pytest.approx(expected)
    assert len(set(recorder.betas)) == 4
    state = torch.load(tmp_path / "step=000002.ckpt")["callbacks"]
    again = TargetKL(1e-3, 0.5)
    again.load_state_dict(state[again.state_key])
    assert 0.1 * again.value == pytest.approx(recorder.betas[2])


def test_weights_by_hand():
    rates = [0.0, 0.04, 0.5, 0.9, 1.0]
    assert HardFilter(0.05).weights(table(rates)).tolist() == [0, 0, 1, 1, 0]
    assert HardFilter(0.0).weights(table(rates)).tolist() == [0, 1, 1, 1, 0]
    found = TowardsHard(power=2, floor=0.02).weights(table(rates))
    assert found.tolist() == pytest.approx([1.0, 0.9216, 0.25, 0.02, 0.02])
    found = Learnability(floor=0.01).weights(table(rates))
    assert found.tolist() == pytest.approx([0.01, 0.0384, 0.25, 0.09, 0.01])


def test_thompson_believes_what_it_saw():
    rule = Thompson(std=0.1, keep=0.5, rollouts=8)
    rule.observe(torch.tensor([0, 2]), torch.tensor([0.5, 1.0]))
    rule.observe(torch.tensor([0]), torch.tensor([0.25]))
    # Half of (4, 4) and then (2, 6); (8, 0); nothing about question 1.
    assert rule._counts_M2.tolist() == [[4.0, 8.0], [0, 0], [8, 0]]
    many = torch.stack([rule.weights(table([0.5] * 3)) for _ in range(4000)])
    expected = []
    for successes, failures in ((5, 9), (1, 1), (9, 1)):
        p = torch.linspace(0, 1, 20001, dtype=torch.float64)[1:-1]
        log_norm = (
            math.lgamma(successes + failures) - math.lgamma(successes) - math.lgamma(failures)
        )
        density = torch.exp(log_norm + (successes - 1) * p.log() + (failures - 1) * (1 - p).log())
        expected.append(float((density * torch.exp(-((p - 0.5) ** 2) / 0.02)).mean()))
    within(many.mean(0), expected, 0.02)


def test_thompson_is_resumed_exactly():
    rule = Thompson()
    rule.observe(torch.tensor([1]), torch.tensor([0.5]))
    rule.weights(table([0.5] * 3))
    again = Thompson()
    again.load_state_dict(rule.state_dict())
    assert torch.equal(rule.weights(table([0.5] * 3)), again.weights(table([0.5] * 3)))
    assert not torch.equal(rule.weights(table([0.5] * 3)), rule.weights(table([0.5] * 3)))


def test_shared_rates_by_hand():
    rates = torch.tensor([1.0, 0.5, 0.5, 0.5])
    visits = torch.tensor([2, 0, 1, 0])
    found = shrunk_rates(rates, visits, torch.tensor([0, 0, 0, 1]), strength=2.0)
    # The first group's mean is (2 x 1 + 1 x .5) / 3 = 5/6; the second was never visited.
    mean = 2.5 / 3
    expected = [(2 + 2 * mean) / 4, mean, (0.5 + 2 * mean) / 3, 0.5]
    assert found.tolist() == pytest.approx(expected)


def test_shared_asks_what_kin_of_solved_questions_would_not():
    questions = [Question(str(n), "?", "1", {"level": str(n // 2)}) for n in range(4)]
    rule = Shared("level", strength=1.0, inner=Gaussian(std=0.1))
    rule.prepare(questions)
    weights = rule.weights(table([0.99, 0.5, 0.5, 0.5], [9, 0, 9, 0]))
    assert 10 * weights[1] < weights[3]
    with pytest.raises(ValueError, match=r"question 'x' has no tag 'level', only \['kind'\]"):
        rule.prepare([Question("x", "?", "1", {"kind": "1"})])


RULES = [
    HardFilter(), TowardsHard(), Learnability(), Thompson(rollouts=4), Shared("level"),
    Shared("family", inner=Thompson()), Uniform(),
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_trains(model_folder, tmp_path, rule):
    data = make_data(curriculum=rule, refresh="step", decay=0.5)
    _, data, recorder = fit(
        model_folder, tmp_path, 3, data=data, verifier=EvenIsRight(), kl_coef=0.0
    )
    state = data.state_dict()
    assert data.step == 3 and torch.isfinite(state["weights"]).all()
    assert len(recorder.batches) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TargetKL(target=0), "akl.target and akl.gain must be above 0"),
        (lambda: HardFilter(0.5), r"margin must be in \[0, 0.5\)"),
        (lambda: TowardsHard(power=-1), "power must not be negative"),
        (lambda: Learnability(floor=-1), "floor must not be negative"),
        (lambda: Thompson(keep=2), "Thompson needs"),
        (lambda: Shared("level", strength=0), "strength must be above 0"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "flags",
    [
        "--akl=QuestionAKL --akl.rho=Linear --data.curriculum=Shared --data.curriculum.key=level",
        "--akl=TargetKL --akl.target=0.01 --data.curriculum=Thompson --data.curriculum.keep=0.8",
        "--data.curriculum=HardFilter --akl.rho=Constant --akl.rho.value=0.69",
    ],
)
def test_each_is_named_on_the_command_line(flags, capsys):
    flags = flags.split()
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", str(CONFIG), *flags, "--print_config"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for flag in flags:
        assert flag.split("=")[1] in printed
