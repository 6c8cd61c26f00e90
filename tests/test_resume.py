import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer, weights
from lightning.pytorch import Callback

from fgexpo.callbacks import AKLCallback, RolloutCheckpoint
from fgexpo.checkpoint import AtomicCheckpointIO


class Trace(Callback):
    """What a run must repeat exactly: questions, completions, beta and loss of every step."""

    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        loss = float(trainer.callback_metrics["loss"])
        self.rows.append((batch.source.index_Q.tolist(), batch.texts, pl_module.beta, loss))


def run(folder, tmp_path, steps, refresh, resume=None, seed=0):
    trace = Trace()
    checkpoint = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(tmp_path / "checkpoints"))
    trainer = make_trainer(
        tmp_path,
        steps,
        [AKLCallback(), trace, checkpoint],
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
    )
    module = make_module(
        folder,
        verifier=EvenIsRight(),
        seed=seed,
        kl_coef=0.1,
        optimizer=lambda params: torch.optim.AdamW(params, lr=1e-2),
    )
    data = make_data(refresh=refresh, decay=0.5, seed=seed)
    trainer.fit(module, data, ckpt_path=resume)
    return module, data, trace.rows


@pytest.mark.parametrize("refresh", ["epoch", "step"])
def test_a_resumed_run_equals_an_undisturbed_one(model_folder, tmp_path, refresh):
    # Epochs are six steps long: resume in the middle, on the last batch and at the start of one.
    whole, table, rows = run(model_folder, tmp_path, 8, refresh)
    for cut in (3, 6, 7):
        path = str(tmp_path / "checkpoints" / f"step={cut:06d}.ckpt")
        module, data, rest = run(model_folder, tmp_path / "again", 8, refresh, path, seed=9)
        assert rest == rows[cut:], f"resumed after step {cut}"
        assert torch.equal(weights(module), weights(whole))
        assert torch.equal(data.table.pass_rates, table.table.pass_rates)
        assert (module.rollout_step, data.step) == (8, 8)
        assert module.num_tokens == whole.num_tokens


def test_resuming_a_finished_run_does_nothing(model_folder, tmp_path):
    module, _, _ = run(model_folder, tmp_path, 2, "epoch")
    path = str(tmp_path / "checkpoints" / "step=000002.ckpt")
    again, data, rows = run(model_folder, tmp_path / "again", 2, "epoch", path)
    assert rows == [] and (again.rollout_step, data.step) == (2, 2)
    assert torch.equal(weights(again), weights(module))
