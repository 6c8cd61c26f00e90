"""Leaving in order: signals, the wall clock, SLURM's queue."""

import os
import signal

import chaos
import pytest
from fgexpo.callbacks.graceful_stop import Left
from helpers import Clock, EvenIsRight, make_data, make_module, make_trainer
from lab import Lab
from lightning.pytorch import Callback
from processes import wait

from fgexpo.callbacks import GracefulStop, RolloutCheckpoint, ValidateFirst

SCONTROL = """#!/bin/sh
echo "$@" >> "$QUEUE"
"""


class Signal(Callback):
    """Sends this process a signal in the middle of a step or of a validation."""

    def __init__(self, number, step=2, moment="on_train_batch_start"):
        self.number, self.step = number, step
        setattr(self, moment, self.send)

    def send(self, trainer, pl_module, *arguments):
        if pl_module.rollout_step == self.step:
            signal.raise_signal(self.number)


def leave(folder, tmp_path, *callbacks, saver=True, stop=None, **options):
    saved = [RolloutCheckpoint(every_steps=None, dirpath=str(tmp_path))] if saver else []
    # The note is taken at the end of a batch, so the order of callbacks does not matter.
    callbacks = [stop or GracefulStop(), *callbacks, *saved]
    trainer = make_trainer(tmp_path, 9, callbacks, enable_checkpointing=saver, **options)
    module = make_module(folder)
    before = [signal.getsignal(number) for number in chaos.SIGNALS]
    with pytest.raises(Left) as left:
        trainer.fit(module, make_data())
    assert [signal.getsignal(number) for number in chaos.SIGNALS] == before
    return module, left.value.code


@pytest.mark.parametrize("number", chaos.SIGNALS)
def test_a_signal_finishes_the_step_and_saves(model_folder, tmp_path, number, caplog):
    module, code = leave(model_folder, tmp_path, Signal(number))
    assert code == 0 and module.rollout_step == 3
    assert os.readlink(tmp_path / "last.ckpt") == "step=000003.ckpt"
    assert f"{signal.Signals(number).name}: stopped after rollout step 3, saved in" in caplog.text


def test_a_long_validation_is_left_too(model_folder, tmp_path):
    class Count(Callback):
        batches = 0

        def on_validation_batch_end(self, *arguments):
            self.batches += 1

    count = Count()
    plant = Signal(signal.SIGTERM, 2, "on_validation_batch_start")
    module, code = leave(
        model_folder,
        tmp_path,
        plant,
        count,
        limit_val_batches=1.0,
        val_check_interval=2,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
    )
    assert code == 0 and module.rollout_step == 2 and count.batches == 0
    assert os.readlink(tmp_path / "last.ckpt") == "step=000002.ckpt"


class Scores(Callback):
    """Validation scores by step."""

    def __init__(self):
        self.found = {}

    def on_validation_end(self, trainer, pl_module):
        scores = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        assert pl_module.rollout_step not in self.found, "once a step"
        self.found[pl_module.rollout_step] = scores


@pytest.mark.parametrize("moment", ["on_validation_batch_start", "on_train_batch_start"])
def test_a_resumed_run_makes_up_for_the_validation_it_owes(model_folder, tmp_path, moment):
    def train(*callbacks, resume=None):
        scores = Scores()
        saver = RolloutCheckpoint(dirpath=str(tmp_path))
        trainer = make_trainer(
            tmp_path,
            6,
            [GracefulStop(), ValidateFirst(), *callbacks, saver, scores],
            enable_checkpointing=True,
            limit_val_batches=1.0,
            val_check_interval=2,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=None,
        )
        module = make_module(model_folder, verifier=EvenIsRight())
        data = make_data(questions_per_eval_batch=2)
        trainer.fit(module, data, ckpt_path=resume)
        return scores.found

    whole = train()
    assert list(whole) == [0, 2, 4, 6]
    step = 2 if moment == "on_validation_batch_start" else 1
    with pytest.raises(Left):
        train(Signal(signal.SIGTERM, step, moment))
    rest = train(resume=str(tmp_path / "last.ckpt"))
    assert rest == {step: whole[step] for step in (2, 4, 6)}


def test_without_a_checkpoint_the_exit_status_tells(model_folder, tmp_path, caplog):
    code = leave(model_folder, tmp_path, Signal(signal.SIGTERM), saver=False)[1]
    assert code == 128 + signal.SIGTERM and "nothing is saved" in caplog.text


def test_the_wall_clock_limit_saves_before_it(model_folder, tmp_path, monkeypatch):
    clock = Clock(seconds_a_step=50)
    monkeypatch.setattr("fgexpo.callbacks.graceful_stop.time", clock)
    stop = GracefulStop(max_minutes=4.0)
    module, code = leave(model_folder, tmp_path, clock, stop=stop)
    # After 200 s another 50 s would pass the limit of 240.
    assert code == 0 and module.rollout_step == 4
    assert os.readlink(tmp_path / "last.ckpt") == "step=000004.ckpt"


def test_a_requeued_job_asks_slurm(model_folder, tmp_path, monkeypatch):
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(tmp_path / "queue"))
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert leave(model_folder, tmp_path / "a", Signal(signal.SIGUSR1))[1] == 0
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "16")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    leave(model_folder, tmp_path / "b", Signal(signal.SIGUSR1))
    leave(model_folder, tmp_path / "c", Signal(signal.SIGTERM))
    off = GracefulStop(requeue=False)
    leave(model_folder, tmp_path / "d", Signal(signal.SIGUSR1), stop=off)
    assert (tmp_path / "queue").read_text().splitlines() == ["requeue 17", "requeue 16_3"]


def test_the_command_line_exits_0_and_goes_on_where_it_left(tmp_path):
    lab = Lab(tmp_path, steps=12)
    engine = ["Signalled", f"number={int(signal.SIGINT)}", "call=9"]
    asked = [f"--model.engine{sign}{what}" for sign, what in zip("=..", engine, strict=True)]
    assert wait(lab.run("one", more=asked)) == [0]
    saved = lab.checkpoints("one")[-1]
    log = (tmp_path / "one.log").read_text()
    assert f"saved in {saved}; resume with --ckpt_path=last" in log
    assert lab.finish("one") is None
    assert f"resuming from {saved}" in (tmp_path / "one.log").read_text()
    # One run, one folder: TensorBoard shows one curve.
    assert [path.name for path in (tmp_path / "one" / "tiny").iterdir()] == ["version_0"]
    assert wait(lab.run("one")) == [0]
    log = (tmp_path / "one.log").read_text()
    assert "has made its 12 rollout steps already" in log and "val/tiny" not in log


@pytest.mark.parametrize("minutes", [0, -1.0])
def test_bad_limits(minutes):
    with pytest.raises(ValueError, match=r"stop\.max_minutes"):
        GracefulStop(max_minutes=minutes)
