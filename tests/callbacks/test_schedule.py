"""Scheduled settings in runs: what the step uses, what is resumed, what is refused."""

import inspect
import math
from types import SimpleNamespace

import pytest
import torch
from fgexpo.callbacks.schedule import configured
from helpers import EvenIsRight, Recorder, fit, make_data, make_module, make_trainer, weights
from lab import CONFIG
from near import ROUNDING, logged, same

from fgexpo.callbacks import (
    AccuracyConditionedClip,
    AccuracySchedule,
    AKLCallback,
    RolloutCheckpoint,
    Schedule,
)
from fgexpo.cli import main
from fgexpo.losses import Clipped, PolicyLoss
from fgexpo.module import GRPOModule
from fgexpo.rollout import Native, Sampling
from fgexpo.schedules import CosineCurve, Curve, LinearCurve, PiecewiseCurve

TEMPERATURE = "sampling.temperature"


class Spy(Native):
    """Notes the temperature that each step samples at."""

    def __init__(self):
        super().__init__()
        self.temperatures = []

    def generate(self, policy, request):
        self.temperatures.append(request.sampling.temperature)
        return super().generate(policy, request)


class Noting(Clipped):
    """Notes the clip bounds of every update."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = []

    def policy_loss(self, ratio_NT, logp_NT, advantages_N):
        self.seen.append((self.clip_low, self.clip_high))
        return super().policy_loss(ratio_NT, logp_NT, advantages_N)


def run(folder, tmp_path, steps, schedules, resume=None):
    """One update a step, so that the loss is asked once a step."""
    recorder, engine, loss = Recorder(), Spy(), Noting()
    # First of all, so that what it saves cannot wait for the callbacks behind it.
    saver = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(tmp_path))
    callbacks = [saver, *schedules, recorder]
    trainer = make_trainer(tmp_path, steps, callbacks, enable_checkpointing=True)
    module = make_module(
        folder,
        verifier=EvenIsRight(),
        mini_batch_questions=None,
        kl_coef=0.1,
        engine=engine,
        loss=loss,
    )
    trainer.fit(module, make_data(decay=0.5, refresh="step"), ckpt_path=resume)
    return SimpleNamespace(
        module=module,
        temperatures=engine.temperatures,
        clips=loss.seen,
        betas=recorder.betas,
        accuracies=[batch.asked.accuracy for batch in recorder.batches],
        texts=[batch.texts for batch in recorder.batches],
        metrics=recorder.metrics,
    )


def everything():
    return [
        Schedule("kl_coef", LinearCurve(0.2, 0.0, until=4)),
        Schedule("loss.clip_low", PiecewiseCurve([(0, 0.2), (3, 0.1)])),
        AccuracyConditionedClip(failing=0.4, succeeding=0.1),
        AccuracySchedule(TEMPERATURE, LinearCurve(1.5, 0.5, until=1.0)),
        AKLCallback(),
    ]


def test_each_step_uses_its_own_values_and_resumes_with_them(model_folder, tmp_path):
    """By hand; then a run that is cut repeats the rest, bit for bit."""
    whole = run(model_folder, tmp_path, 4, everything())
    kl = LinearCurve(0.2, 0.0, until=4)
    for step, accuracy in enumerate(whole.accuracies):
        same(whole.betas[step], kl(step) * (math.tanh(accuracy) + 1) / 2)
        same(whole.clips[step], [0.2 - 0.1 * min(step, 3) / 3, 0.4 - 0.3 * accuracy])
        before = 1.0 if step == 0 else 1.5 - whole.accuracies[step - 1]
        same(whole.temperatures[step], before)
        tags = ("kl_coef", "loss.clip_low", "loss.clip_high", TEMPERATURE)
        used = [kl(step), *whole.clips[step], before]
        logged([whole.metrics[step][f"schedule/{tag}"] for tag in tags], used)
    assert len(set(whole.accuracies)) > 2, "accuracy must move what follows it"
    module = whole.module
    assert (module.kl_coef, module.sampling.temperature) == (0.1, 1.0), "as configured again"
    assert (module.loss.clip_low, module.loss.clip_high) == (0.2, 0.28)
    path = str(tmp_path / "step=000002.ckpt")
    rest = run(model_folder, tmp_path / "again", 4, everything(), resume=path)
    for name in ("temperatures", "clips", "betas", "accuracies", "texts"):
        assert getattr(rest, name) == getattr(whole, name)[2:], name
    assert torch.equal(weights(rest.module), weights(module))


def test_the_order_of_callbacks_and_a_constant_schedule_change_nothing(model_folder, tmp_path):
    options = {"kl_coef": 0.3, "verifier": EvenIsRight(), "mini_batch_questions": None}
    plain = fit(model_folder, tmp_path, 2, [AKLCallback()], **options)[0]
    constant = [
        Schedule("kl_coef", LinearCurve(0.3, 0.3, until=2)),
        Schedule("loss.clip_high", CosineCurve(0.28, 0.28, until=2)),
        Schedule(TEMPERATURE, LinearCurve(1.0, 1.0, until=2)),
    ]
    for order in ([*constant, AKLCallback()], [AKLCallback(), *constant]):
        # The configured coefficient is another, and must not show.
        found = fit(model_folder, tmp_path, 2, order, **{**options, "kl_coef": 0.9})[0]
        assert torch.equal(weights(found), weights(plain))
        assert found.kl_coef == 0.9
    defaults = inspect.signature(GRPOModule).parameters
    assert defaults["loss"].default.clip_high == 0.28


def test_sampling_scoring_and_updates_share_the_temperature(model_folder, tmp_path):
    """The engine's log-probs and the trainer's agree at each, or the alarm would end the run."""
    curve = PiecewiseCurve([(0, 0.6), (1, 1.4)])
    engine = Spy()
    _, _, recorder = fit(
        model_folder, tmp_path, 2, [Schedule(TEMPERATURE, curve)], engine=engine, kl_coef=0.1
    )
    assert engine.temperatures == [0.6, 1.4]
    for batch, metrics in zip(recorder.batches, recorder.metrics, strict=True):
        same(batch.old_logp_NT, batch.completions.logp_NT)
        assert metrics["sampling/sampling_logp_difference/max"] < ROUNDING


def test_an_entropy_bonus_begins_in_the_middle(model_folder, tmp_path):
    curve = PiecewiseCurve([(0, 0.0), (1, 0.5)])
    plain, bonus = (
        fit(model_folder, tmp_path, 2, callbacks, mini_batch_questions=None)
        for callbacks in ([], [Schedule("loss.entropy_coef", curve)])
    )
    losses = [[m["loss"] for m in each[2].metrics] for each in (plain, bonus)]
    assert losses[0][0] == losses[1][0]
    logged(losses[1][1], losses[0][1] - 0.5 * plain[2].metrics[1]["entropy"])


class Bare(PolicyLoss):
    def policy_loss(self, ratio_NT, logp_NT, advantages_N):
        return -ratio_NT * advantages_N[:, None]


def high(end=0.2):
    return Schedule("loss.clip_high", LinearCurve(0.3, end, until=9))


REFUSED = {
    "twice": ([high(), high()], {}, "Schedule and Schedule both set loss.clip_high; keep one"),
    "two kinds": (
        [high(), AccuracyConditionedClip()],
        {},
        "Schedule and AccuracyConditionedClip both set loss.clip_high",
    ),
    "twice by accuracy": (
        [AccuracyConditionedClip(), AccuracyConditionedClip()],
        {},
        "AccuracyConditionedClip and AccuracyConditionedClip both set",
    ),
    "no such bound": (
        [high()],
        {"loss": Bare()},
        "loss.clip_high cannot be scheduled, since model.loss Bare has no number clip_high",
    ),
    "no reference": (
        [Schedule("kl_coef", LinearCurve(0.0, 0.1, until=9))],
        {"kl_coef": 0.0},
        "a schedule of kl_coef needs model.kl_coef above 0, since at 0 no reference is loaded",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_scheduled_is_refused_before_any_weight(model_folder, tmp_path, name):
    callbacks, options, words = REFUSED[name]
    module = make_module(model_folder, **options)
    with pytest.raises(ValueError, match=words):
        make_trainer(tmp_path, 1, callbacks).fit(module, make_data())
    assert module.policy is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AccuracySchedule("kl_coef", LinearCurve(0.1, 0.2, 1.0)), "by accuracy is akl"),
        (lambda: AccuracyConditionedClip(failing=0.0), "loss.clip_high must be above 0"),
        (lambda: AccuracyConditionedClip(succeeding=math.nan), "end must be finite, got nan"),
        (lambda: Schedule(TEMPERATURE, LinearCurve(1.0, 0.0, 9)), "temperature must be above 0"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ValueError, match=words):
        make()


class Outside(Curve):
    """Says less than it does."""

    def __call__(self, x):
        return -x

    def bounds(self):
        return 0.1, 0.2


def test_a_curve_that_leaves_its_own_bounds_ends_the_run(model_folder, tmp_path):
    """And the module is as it was configured."""
    module = make_module(model_folder, sampling=Sampling(8, temperature=0.8))
    with pytest.raises(ValueError, match=r"temperature must be above 0 .*, but Outside has 0"):
        make_trainer(tmp_path, 2, [Schedule(TEMPERATURE, Outside())]).fit(module, make_data())
    assert module.sampling.temperature == 0.8


def test_the_row_of_hparams_shows_what_was_configured():
    schedule = high()
    module = SimpleNamespace(kl_coef=0.1, loss=Clipped(clip_high=0.5))
    trainer = SimpleNamespace(callbacks=[schedule])
    schedule.setup(trainer, module, "fit")
    schedule.move_to(module, 9)
    assert module.loss.clip_high == 0.2
    assert configured(trainer, module, "loss.clip_high") == 0.5
    assert configured(trainer, module, "kl_coef") == 0.1


def test_they_are_named_in_yaml(capsys):
    """Beside a rule for the KL coefficient whose rho has the name of no curve."""
    flags = [
        "--trainer.callbacks=[{class_path: Schedule, init_args: {setting: loss.clip_low, "
        "curve: {class_path: PiecewiseCurve, init_args: {points: [[0, 0.2], [50, 0.1]]}}}}, "
        "{class_path: AccuracyConditionedClip, init_args: {failing: 0.5}}]",
        "--akl=Matched",
        "--akl.rule=TokenAKL",
        "--akl.rule.rho=fgexpo.kl.Linear",  # as earlier runs have saved it
        "--akl.rule.prior=4",
        "--model.rewards=[{class_path: Unlikeliness}]",
    ]
    with pytest.raises(SystemExit) as end:
        main(["fit", "--config", str(CONFIG), *flags, "--print_config"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for words in ("PiecewiseCurve", "failing: 0.5", "kl.Linear", "setting: loss.clip_low"):
        assert words in printed
    for words in ("Matched", "TokenAKL", "prior: 4", "rewards.Unlikeliness"):
        assert words in printed
