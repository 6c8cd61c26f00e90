import json

import pytest
from fgexpo.callbacks.progress import run_length
from helpers import EvenIsRight, make_data, make_module, make_trainer
from lightning.pytorch.loggers import TensorBoardLogger

from fgexpo.callbacks import RolloutCheckpoint, StopAtBudget, ValidateFirst, ValidationScores


def scored(folder):
    """What every validation of the run has written down, by step."""
    paths = sorted((folder / "run" / "scores").glob("*.json"))
    return {int(path.stem.removeprefix("step=")): json.loads(path.read_text()) for path in paths}


def train(model_folder, folder, rollouts, ckpt_path=None):
    callbacks = [ValidationScores(), StopAtBudget(rollouts), ValidateFirst()]
    callbacks.append(RolloutCheckpoint(every_steps=1, dirpath=str(folder / "ckpt")))
    trainer = make_trainer(
        folder,
        99,
        callbacks,
        enable_checkpointing=True,
        limit_val_batches=None,
        logger=TensorBoardLogger(str(folder), name="", version="run"),
        val_check_interval=2,
        check_val_every_n_epoch=None,
    )
    module = make_module(model_folder, verifier=EvenIsRight())
    trainer.fit(module, make_data(), ckpt_path=ckpt_path, weights_only=True)
    return trainer, module


# The trainer here logs every 50 steps, and six are made.
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_a_budget_ends_with_the_step_that_spends_it_and_its_end_is_judged(model_folder, tmp_path):
    probe, _ = train(model_folder, tmp_path / "probe", 1)
    a_step = probe.lightning_module.counts.rollouts
    assert probe.lightning_module.rollout_step == 1

    trainer, module = train(model_folder, tmp_path, 2 * a_step + 1)
    assert module.rollout_step == 3 and module.counts.rollouts == 3 * a_step
    assert run_length(trainer) == 3
    found = scored(tmp_path)
    assert list(found) == [0, 2, 3]  # the third is no multiple of val_check_interval, but the end
    assert [found[step]["rollouts"] for step in found] == [0, 2 * a_step, 3 * a_step]
    assert found[3]["updates"] == trainer.global_step
    [(name, correct)] = found[3]["correct"].items()
    mean = sum(correct.values()) / len(correct) / found[3]["n"]
    assert float(trainer.callback_metrics[f"val/{name}/pass@1"]) == pytest.approx(mean)


# The trainer here logs every 50 steps, and six are made.
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_a_finished_run_owes_at_most_its_last_validation(model_folder, tmp_path):
    _, module = train(model_folder, tmp_path, 1)
    last = tmp_path / "run" / "scores" / "step=000001.json"
    before = last.read_text()

    last.unlink()  # as if a kill had come while it was made
    _, again = train(model_folder, tmp_path, 1, str(tmp_path / "ckpt" / "last.ckpt"))
    assert again.rollout_step == module.rollout_step == 1 and last.read_text() == before

    written = last.stat().st_mtime_ns
    train(model_folder, tmp_path, 1, str(tmp_path / "ckpt" / "last.ckpt"))
    assert last.stat().st_mtime_ns == written, "it was made already"
