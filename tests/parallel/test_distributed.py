"""Two gloo processes make the run that one process makes."""

from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, Uneven, make_data, make_module, make_trainer, weights
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from near import ROUNDING, logged, same
from processes import run_ranks

from fgexpo.callbacks import AKLCallback
from fgexpo.losses import InReward, LossSettings, Masked
from fgexpo.questions import Question
from fgexpo.tasks import QuestionSource

STEPS = 5
# The engine's log-probs from the trainer's: nothing but rounding.
DIFFERENCES = [f"sampling/sampling_logp_difference/{kind}" for kind in ("mean", "max")]


class Trace(Callback):
    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        rollouts = {
            int(question): (
                batch.texts[rows],
                [verdict.answer for verdict in batch.verdicts[rows]],
                batch.old_logp_NT[rows].sum(1).tolist(),
                q // pl_module.questions_per_update(batch),
            )
            for q, (question, rows) in enumerate(
                zip(batch.source.index_Q, batch.groups.rows, strict=True)
            )
        }
        self.rows.append(
            {
                "rollouts": rollouts,
                "empty": sum(not len(rows) for cut in batch.cuts for rows in cut),
                "tokens": int(batch.sequences.lengths_N.sum()),
                "beta": pl_module.beta,
                "metrics": {k: float(v) for k, v in trainer.callback_metrics.items()},
            }
        )


def train(folder, out, devices, options):
    trace = Trace()
    trainer = make_trainer(
        Path(out).parent,
        STEPS,
        [AKLCallback(), trace],
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        limit_val_batches=1.0,
        val_check_interval=2,
        check_val_every_n_epoch=None,
    )
    module = make_module(
        folder,
        verifier=EvenIsRight(),
        kl_coef=0.1,
        max_grad_norm=None,
        **options,
    )
    data = make_data(decay=0.5, refresh="step", questions_per_eval_batch=2)
    trainer.fit(module, data)
    record = {
        "rows": trace.rows,
        "weights": weights(module),
        "table": data.table.pass_rates,
        "counted": (module.counts.tokens, module.counts.rollouts),
        "shard": [len(batch) for batch in data.val_dataloader()[0]],
    }
    torch.save(record, f"{out}-{module.global_rank}")


OPTIONS = {
    "plain": {},
    "dr_grpo": {"loss": LossSettings(aggregation="dr_grpo"), "inner_epochs": 2},
    "sequence_mean": {"loss": LossSettings(aggregation="sequence_mean")},
    "in_reward": {
        "loss": LossSettings(kl=InReward(), correction=Masked("token", 0.5, 2.0)),
        "engine": Uneven(),
    },
    # So few tokens that the processes differ in the number of their micro-batches.
    "micro": {"advantage_scale": "batch", "micro_batch_tokens": 40},
}


@pytest.mark.parametrize("name", ["plain", "micro"])
def test_two_processes_equal_one(model_folder, tmp_path, name):
    check(model_folder, tmp_path, OPTIONS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dr_grpo", "sequence_mean", "in_reward"])
def test_two_processes_equal_one_with_other_losses(model_folder, tmp_path, name):
    check(model_folder, tmp_path, OPTIONS[name])


def check(folder, tmp_path, options):
    run_ranks(train, folder, str(tmp_path / "two"), 2, options, log=tmp_path / "log")
    train(folder, str(tmp_path / "one"), 1, options)
    one = torch.load(tmp_path / "one-0")
    ranks = [torch.load(tmp_path / f"two-{rank}") for rank in range(2)]
    for step, whole in enumerate(one["rows"]):
        shares = [rank["rows"][step] for rank in ranks]
        assert not shares[0]["rollouts"].keys() & shares[1]["rollouts"].keys()
        found = shares[0]["rollouts"] | shares[1]["rollouts"]
        assert found.keys() == whole["rollouts"].keys()
        for question, (texts, answers, logp, update) in whole["rollouts"].items():
            assert found[question][:2] == (texts, answers)
            same(found[question][2], logp)
            assert found[question][3] == update, "in the optimizer step that it was drawn for"
        assert shares[0]["beta"] == shares[1]["beta"] == whole["beta"]
        for share in shares:
            same_metrics(share["metrics"], whole["metrics"])
    assert len({row["beta"] for row in one["rows"]}) > 1
    assert torch.equal(ranks[0]["weights"], ranks[1]["weights"])
    same(ranks[0]["weights"], one["weights"])
    assert torch.equal(ranks[0]["table"], one["table"])
    assert torch.equal(ranks[1]["table"], one["table"])
    assert ranks[0]["counted"] == ranks[1]["counted"] == one["counted"]
    one["empty"] = [row["empty"] for rank in ranks for row in rank["rows"]]
    assert ranks[0]["shard"] == ranks[1]["shard"], "as many evaluation batches on each"
    return one


def same_metrics(found, expected):
    timed = ("time/", "reward/seconds", "step_time")
    assert found.keys() == expected.keys()
    for tag, value in expected.items():
        if tag in DIFFERENCES and value < ROUNDING:
            assert found[tag] < ROUNDING, tag
        elif not tag.startswith(timed):
            logged(found[tag], value)


class One(QuestionSource):
    def questions(self):
        return [Question("only", "1+1", "2")]


def evaluate_one_question(folder, out, strategy):
    data = make_data(val={"one": One()})
    module = make_module(folder, verifier=EvenIsRight())
    trainer = make_trainer(Path(out).parent, 1, devices=2, strategy=strategy, limit_val_batches=1.0)
    scores = trainer.validate(module, data, verbose=False)[0]
    torch.save((len(data.val_sets[0]), scores), f"{out}-{module.global_rank}")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_more_processes_than_questions(model_folder, tmp_path, strategy):
    out = str(tmp_path / "out")
    run_ranks(evaluate_one_question, model_folder, out, strategy, log=tmp_path / "log")
    (count, one), (_, two) = (torch.load(tmp_path / f"out-{rank}") for rank in range(2))
    assert count == 1 and one == two and "val/one/pass@1" in one


def refused(folder, out):
    cases = [
        ("3 is not divisible by the 2 processes", make_data(questions_per_step=3), {}, "ddp"),
        ("= 1 is not divisible by", make_data(), {"mini_batch_questions": 1}, "ddp"),
        ("ModelParallelStrategy is not supported", make_data(), {}, ModelParallelStrategy(2, 1)),
    ]
    for words, data, settings, strategy in cases:
        trainer = make_trainer(Path(out).parent, 1, devices=2, strategy=strategy)
        with pytest.raises(ValueError, match=words):
            trainer.fit(make_module(folder, **settings), data)
        print(f"refused: {words}")


def test_what_two_processes_cannot_do_is_refused(model_folder, tmp_path):
    logs = run_ranks(refused, model_folder, str(tmp_path / "out"), log=tmp_path / "log")
    assert [log.count("refused: ") for log in logs] == [3, 3]


class FromElsewhere(Callback):
    def on_fit_start(self, trainer, pl_module):
        pl_module.rollout_step = 7 * trainer.global_rank


def disagree(folder, out):
    trainer = make_trainer(Path(out).parent, 9, [FromElsewhere()], devices=2, strategy="ddp")
    with pytest.raises(ValueError, match=r"the processes begin after steps 0 to 7"):
        trainer.fit(make_module(folder), make_data())
    print("refused")


def test_processes_that_resume_at_different_steps_are_refused(model_folder, tmp_path):
    logs = run_ranks(disagree, model_folder, str(tmp_path / "out"), log=tmp_path / "log")
    assert all("refused" in log for log in logs)


def test_lightnings_own_distributed_sampler_is_refused(model_folder, tmp_path):
    trainer = make_trainer(tmp_path, 1, use_distributed_sampler=True)
    with pytest.raises(ValueError, match="use_distributed_sampler must be false"):
        trainer.fit(make_module(model_folder), make_data())
