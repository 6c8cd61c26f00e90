"""What a run says of itself: its header, lines by time, and that nothing is learned."""

import warnings
from types import SimpleNamespace

import pytest
from fgexpo.callbacks.no_signal import likely_cause
from helpers import Parity, fit, make_data
from rich.console import Console

from fgexpo.callbacks import NoSignal, RolloutProgress, StopAfter
from fgexpo.callbacks import progress as module_under_test
from fgexpo.errors import UserError
from fgexpo.rewards import Accuracy


def shown(capsys):
    return capsys.readouterr().out


def plain():
    """A progress that prints to a file, as a batch system's log is."""
    made = RolloutProgress()
    made.console = Console(width=200, force_terminal=False)
    return made


def test_five_lines_say_what_the_run_is(model_folder, tmp_path, capsys):
    fit(model_folder, tmp_path, 2, [plain()], make_data(), {"enable_progress_bar": True})
    lines = shown(capsys).splitlines()
    heads = [line.split()[0] for line in lines[:5]]
    assert heads == ["model", "questions", "batch", "steps", "folder"]
    assert model_folder in lines[0] and "parameters, float64" in lines[0]
    assert lines[1].endswith("drawn by Gaussian")
    assert lines[2].endswith("4 questions x 4 rollouts, 2 updates per step")
    assert lines[3].split() == ["steps", "2"]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"every_seconds": None, "every_steps": 2}, [2, 4, 6, 7]),
        ({"every_seconds": 35.0}, [4, 7]),
        ({"every_seconds": None}, [7]),
    ],
)
def test_lines_come_by_time_or_by_steps(options, steps, monkeypatch, capsys):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(module_under_test, "time", clock)
    monkeypatch.setattr(module_under_test, "header", lambda *_: [])
    progress = RolloutProgress(**options)
    progress.console = Console(width=200, force_terminal=False)
    trainer = SimpleNamespace(callbacks=[StopAfter(7)], max_steps=-1, callback_metrics={})
    module = SimpleNamespace(rollout_step=0, beta=0.5)
    progress.on_train_start(trainer, module)
    for step in range(1, 8):
        module.rollout_step, clock.now = step, 10.0 * step
        progress.on_train_batch_end(trainer, module, None, None, 0)
    said = [line.split()[1] for line in shown(capsys).splitlines() if line.startswith("step ")]
    assert said == [f"{step}/7" for step in steps]


@pytest.mark.parametrize("setting", ["every_steps", "every_seconds"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_intervals_are_above_zero(setting, value):
    with pytest.raises(UserError, match=rf"progress\.{setting} must be above 0"):
        RolloutProgress(**{setting: value})


def test_five_steps_without_a_signal_are_told_once(model_folder, tmp_path):
    """A random model solves nothing: after five steps it is said, and not again."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        fit(model_folder, tmp_path, 7, [NoSignal()], rewards=[Accuracy()])
        fit(model_folder, tmp_path, 6, [NoSignal()], rewards=[Parity()])
    told = [str(each.message) for each in said if "no group has had a signal" in str(each.message)]
    assert len(told) == 1 and told[0].startswith("step 5: "), told


def counted(callback, steps):
    """The steps at which it warns, when no step has a signal."""
    trainer = SimpleNamespace(callback_metrics={"frac_reward_zero_std": 1.0})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for step in steps:
            module = SimpleNamespace(rollout_step=step)
            callback.on_train_batch_end(trainer, module, None, None, 0)
    return [int(str(each.message).split()[1].rstrip(":")) for each in said]


def test_a_resumed_run_counts_on_the_steps_without_a_signal():
    for first, second in (([1, 2, 3], [5]), ([1, 2, 3, 4, 5], [])):
        before, after = NoSignal(), NoSignal()
        counted(before, first)
        after.load_state_dict(before.state_dict())
        assert counted(after, range(first[-1] + 1, 12)) == second
    assert NoSignal().state_dict(), "Lightning restores no empty state"


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"completions/clipped_ratio": 0.9, "reward/no_answer_frac": 1.0}, "max_new_tokens"),
        ({"reward/no_answer_frac": 0.9}, "model.verifier.reads"),
        ({"reward/timeout_frac": 0.9}, "reward/timeout_frac"),
        ({"accuracy": 0.6}, "too easy for this model (accuracy is 0.6)"),
        ({"accuracy": 0.4}, "too hard for this model (accuracy is 0.4)"),
    ],
)
def test_what_to_look_at(metrics, words):
    assert words in likely_cause(metrics)
