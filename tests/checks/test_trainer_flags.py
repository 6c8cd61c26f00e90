"""Every flag of Lightning's trainer is either harmless or in the table."""

import inspect

import pytest
from helpers import fit, make_data, make_module, make_trainer
from lightning.pytorch import Trainer, callbacks

from fgexpo.checks.trainer import FLAGS, ROLLOUT_FLAGS, check_rollout_trainer, check_trainer

# What Lightning does with these leaves questions, updates and tags as they are.
HARMLESS = {
    *("accelerator", "strategy", "devices", "num_nodes", "deterministic", "benchmark", "profiler"),
    *("logger", "callbacks", "plugins", "max_time", "inference_mode"),
    *("num_sanity_val_steps", "log_every_n_steps", "enable_checkpointing", "enable_progress_bar"),
    *("enable_model_summary", "detect_anomaly", "sync_batchnorm", "default_root_dir"),
    *("enable_autolog_hparams", "model_registry"),
}


def make(**options):
    quiet = {"accelerator": "cpu", "logger": False, "use_distributed_sampler": False}
    return Trainer(**{**quiet, "enable_checkpointing": False, "max_epochs": -1, **options})


def check(trainer, stage):
    check_trainer(trainer, stage)
    if stage == "fit":
        check_rollout_trainer(trainer)


def test_every_flag_is_decided():
    decided = HARMLESS.union(ROLLOUT_FLAGS, *FLAGS.values())
    assert set(inspect.signature(Trainer.__init__).parameters) - {"self"} <= decided


REFUSED = [
    ("fit", {"fast_dev_run": True}, r"trainer\.fast_dev_run = True would replace .* --steps=1"),
    ("test", {"fast_dev_run": 2}, r"trainer\.fast_dev_run = 2"),
    ("fit", {"overfit_batches": 1}, r"trainer\.overfit_batches = 1 would cut or replace"),
    ("fit", {"overfit_batches": 0.1}, r"trainer\.overfit_batches = 0\.1"),
    ("fit", {"limit_train_batches": 3}, r"trainer\.limit_train_batches = 3 .* --steps"),
    ("fit", {"limit_train_batches": 1}, r"trainer\.limit_train_batches = 1"),
    ("fit", {"limit_train_batches": 0.5}, r"trainer\.limit_train_batches = 0\.5"),
    ("fit", {"limit_val_batches": 2}, r"trainer\.limit_val_batches = 2 would score some"),
    ("validate", {"limit_val_batches": 0.5}, r"trainer\.limit_val_batches = 0\.5 would score"),
    ("validate", {"limit_val_batches": 0}, r"trainer\.limit_val_batches = 0 would score"),
    ("predict", {"limit_predict_batches": 0}, r"limit_predict_batches = 0 would ask nothing"),
    ("test", {"limit_test_batches": 1}, r"trainer\.limit_test_batches = 1 would score some"),
    ("fit", {"accumulate_grad_batches": 2}, r"= 2 .* model\.mini_batch_questions"),
    ("fit", {"gradient_clip_val": 1.0}, r"gradient_clip_val = 1\.0 .* set model\.max_grad_norm"),
    ("fit", {"gradient_clip_algorithm": "value"}, r"model\.max_grad_norm"),
    ("fit", {"reload_dataloaders_every_n_epochs": 1}, r"every_n_epochs = 1"),
    ("fit", {"check_val_every_n_epoch": 0}, r"check_val_every_n_epoch = 0 must be at least 1"),
    ("fit", {"val_check_interval": 0}, r"val_check_interval = 0 is not above 0"),
    ("fit", {"val_check_interval": "00:00:10:00"}, r"val_check_interval = 0:10:00 .* a time"),
    ("fit", {"max_epochs": 0}, r"trainer\.max_epochs = 0 would train nothing"),
    ("fit", {"use_distributed_sampler": True}, r"use_distributed_sampler = True"),
    ("fit", {"precision": "16-true"}, r"trainer\.precision = 16-true is not supported"),
]


@pytest.mark.parametrize(("stage", "options", "words"), REFUSED)
def test_flags_that_would_spoil_a_run(stage, options, words):
    with pytest.raises(ValueError, match=words):
        check(make(**options), stage)


def test_a_trainer_without_logs_and_scores():
    trainer = Trainer(accelerator="cpu", barebones=True)
    with pytest.raises(ValueError, match=r"trainer\.barebones = True would log nothing"):
        check_trainer(trainer, "fit")


def test_callbacks_that_need_lightnings_own_updates():
    for callback in (callbacks.GradientAccumulationScheduler({0: 2}), callbacks.WeightAveraging()):
        with pytest.raises(ValueError, match=rf"callbacks: {type(callback).__name__} does not"):
            check(make(callbacks=[callback]), "fit")


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("fit", {}),
        ("fit", {"limit_val_batches": 0, "overfit_batches": 0, "gradient_clip_val": 0}),
        ("fit", {"val_check_interval": 25, "check_val_every_n_epoch": None}),
        ("fit", {"val_check_interval": 0.5, "limit_train_batches": 1.0, "precision": "bf16-mixed"}),
        ("test", {"precision": "bf16-true", "limit_val_batches": 2}),
        ("predict", {"limit_predict_batches": 2}),
    ],
)
def test_flags_that_do_no_harm(stage, options):
    check(make(**options), stage)


def test_they_are_refused_before_anything_else(model_folder, tmp_path):
    """Lightning's own words on clipping come before its set-up, and data are read in it."""
    module = make_module(model_folder)
    with pytest.raises(ValueError, match=r"set model\.max_grad_norm instead"):
        make_trainer(tmp_path, 1, gradient_clip_val=1.0).fit(module, make_data())
    trainer = make_trainer(tmp_path, 1, limit_test_batches=1)
    with pytest.raises(ValueError, match=r"trainer\.limit_test_batches = 1"):
        trainer.test(module, make_data())
    assert module.policy is None


def test_validation_that_no_epoch_reaches(model_folder, tmp_path):
    """The pool has 24 questions, four a step."""
    with pytest.raises(ValueError, match=r"val_check_interval = 7 is more than the 6 steps of an"):
        fit(model_folder, tmp_path, 1, trainer={"val_check_interval": 7})
    fit(model_folder, tmp_path, 1, trainer={"val_check_interval": 6})
