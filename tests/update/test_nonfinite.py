"""Planted numbers that are not finite: no process makes that update, and the run ends in time."""

import math
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, fit, make_data, make_module, make_trainer, weights
from lightning.pytorch import Callback
from processes import start_ranks, wait

from fgexpo.callbacks import RolloutCheckpoint, TrajectoryAKL
from fgexpo.losses import grpo_loss


class Poison(Callback):
    """Spoils some steps' batches before their updates; keeps the weights around them."""

    def __init__(self, steps, spoil, rank=None):
        self.steps, self.spoil, self.rank = steps, spoil, rank
        self.before, self.after, self.metrics = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before.append(weights(pl_module))
        if pl_module.rollout_step in self.steps and self.rank in (None, pl_module.global_rank):
            self.spoil(batch, pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after.append(weights(pl_module))
        self.metrics.append({k: float(v) for k, v in trainer.callback_metrics.items()})


def spoil_advantages(batch, module):
    batch.advantages_N[0] = float("nan")


def spoil_old_logp(batch, module):
    # The ratio is 0: loss and gradient stay finite, and only the log-prob itself tells. The first
    # update's rows have none before it.
    batch.old_logp_NT[-1, 0] = math.inf


def spoil_beta(batch, module):
    module.beta = float("inf")


@pytest.mark.parametrize("spoil", [spoil_advantages, spoil_beta])
def test_a_bad_update_is_left_out_and_kept_for_study(model_folder, tmp_path, spoil):
    poison = Poison({1}, spoil)
    module, _, _ = fit(model_folder, tmp_path, 3, [poison], mini_batch_questions=4, inner_epochs=1)
    assert torch.equal(poison.after[1], poison.before[1]), "no update in the poisoned step"
    assert not torch.equal(poison.after[0], poison.before[0])
    assert not torch.equal(poison.after[2], poison.before[2]), "the next one is made again"
    assert [metrics["nonfinite/updates"] for metrics in poison.metrics] == [0, 1, 0]
    assert module.nonfinite.in_a_row == 0
    (path,) = (tmp_path / "nonfinite").iterdir()
    assert path.name == "step=000002-update=0-rank=0.pt"
    record = torch.load(path, weights_only=True)
    assert record["rollout_step"] == 2 and len(record["questions"]) == len(record["tokens"]) == 16


def test_what_is_kept_has_its_own_rows_coefficients(model_folder, tmp_path):
    callbacks = [TrajectoryAKL(signal="confidence"), Poison({0}, spoil_old_logp)]
    _, _, recorder = fit(model_folder, tmp_path, 1, callbacks, kl_coef=0.1)
    (path,) = (tmp_path / "nonfinite").iterdir()
    record = torch.load(path, weights_only=True)
    beta, engine_logp = recorder.betas[0], recorder.batches[0].completions.logp_NT
    assert len(record["beta"]) == len(record["rewards"]) == 8
    for own, logp in zip(record["beta"], record["engine_logp"], strict=True):
        (row,) = torch.nonzero((engine_logp == logp).all(1)).flatten()[:1].tolist()
        assert own == beta[row]


@pytest.mark.parametrize("spoil", [spoil_advantages, spoil_old_logp])
def test_only_the_bad_mini_batch_is_left_out(model_folder, tmp_path, spoil):
    poison = Poison({0}, spoil)
    fit(model_folder, tmp_path, 1, [poison], mini_batch_questions=2)
    assert not torch.equal(poison.after[0], poison.before[0])
    assert poison.metrics[0]["nonfinite/updates"] == 1
    assert math.isfinite(poison.metrics[0]["loss"]) and math.isfinite(
        poison.metrics[0]["grad_norm"]
    )


# Every update is left out, so the schedule goes on before the first.
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_after_some_in_a_row_the_run_stops_and_says_why(model_folder, tmp_path):
    poison = Poison({0, 1, 2, 3}, spoil_advantages)
    words = r"rollout step 3: 3 updates in a row .*loss nan.*nonfinite.*max_nonfinite_updates"
    with pytest.raises(RuntimeError, match=words):
        options = {"max_nonfinite_updates": 3, "mini_batch_questions": 4}
        fit(model_folder, tmp_path, 4, [poison], **options)
    assert all(torch.equal(start, poison.before[0]) for start in poison.before)


def test_the_count_survives_a_resumption(model_folder, tmp_path):
    saver = RolloutCheckpoint(every_steps=1, dirpath=str(tmp_path))
    options = {"max_nonfinite_updates": 2, "mini_batch_questions": 4}
    trainer = make_trainer(
        tmp_path, 2, [Poison({1}, spoil_advantages), saver], enable_checkpointing=True
    )
    trainer.fit(make_module(model_folder, **options), make_data())
    again = make_trainer(tmp_path, 4, [Poison({2}, spoil_advantages)])
    with pytest.raises(RuntimeError, match=r"rollout step 3: 2 updates in a row"):
        again.fit(
            make_module(model_folder, **options), make_data(), ckpt_path=tmp_path / "last.ckpt"
        )


def test_a_log_prob_that_the_clip_hides_is_counted():
    old = torch.tensor([[0.0, -math.inf], [0.0, -math.inf]])
    mask = torch.tensor([[True, True], [True, False]])
    out = grpo_loss(
        torch.zeros(2, 2), old, None, torch.ones(2), mask, kl_coef=0.0, clip_low=0.2, clip_high=0.2
    )
    assert math.isfinite(out.loss) and int(out.nonfinite_tokens) == 1


class Corrupt(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.rollout_step == 2:
            with torch.no_grad():
                next(pl_module.policy.parameters()).view(-1)[0] = float("inf")


def test_weights_that_are_not_finite_are_never_saved(model_folder, tmp_path):
    saver = RolloutCheckpoint(every_steps=1)
    trainer = {"enable_checkpointing": True}
    with pytest.raises(RuntimeError, match=r"rollout step 2: policy weight .* is not finite"):
        fit(model_folder, tmp_path, 3, [Corrupt(), saver], trainer=trainer)
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "step=000001.ckpt"]


def train(folder, tmp_path, limit, spoil):
    poison = Poison({1}, spoil, rank=1)
    trainer = make_trainer(Path(tmp_path), 3, [poison], devices=2, strategy="ddp")
    module = make_module(folder, verifier=EvenIsRight(), max_nonfinite_updates=limit)
    try:
        trainer.fit(module, make_data())
    finally:
        torch.save((poison.before, poison.after), f"{tmp_path}/out-{module.global_rank}")


@pytest.mark.parametrize(
    ("limit", "spoil", "update"),
    [(3, spoil_advantages, 0), (3, spoil_old_logp, 1), (1, spoil_advantages, 0)],
)
def test_one_bad_process_stops_the_update_of_all(model_folder, tmp_path, limit, spoil, update):
    ranks = start_ranks(train, model_folder, str(tmp_path), limit, spoil, log=tmp_path / "log")
    codes = wait(ranks)
    logs = [(tmp_path / f"log-{rank}").read_text() for rank in range(2)]
    kept = {path.name for path in (tmp_path / "nonfinite").iterdir()}
    if limit == 1:
        assert codes == [1, 1], logs
        assert all("1 updates in a row" in log for log in logs)
        return
    assert codes == [0, 0], logs
    assert {f"step=000002-update={update}-rank={rank}.pt" for rank in range(2)} <= kept
    (before, after), (_, other) = (torch.load(tmp_path / f"out-{rank}") for rank in range(2))
    # Only the poisoned half: the other mini-batch of the step is sound.
    assert not torch.equal(before[0], after[0])
    assert all(torch.equal(one, two) for one, two in zip(after, other, strict=True))
