"""Estimators in training: beside AKL, GCS and dynamic sampling, and where they are refused."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import EvenIsRight, fit, make_data, make_module, make_trainer
from lightning.pytorch import Callback
from test_distributed import check
from test_resume import FEWER, check_every_cut
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from objectives import ROWS

from fgexpo.advantages import (
    CompetenceExponent,
    Known,
    NegativeWeighted,
    PassAtK,
    ReinforcePlusPlus,
)
from fgexpo.callbacks import AKLCallback
from fgexpo.groups import Groups
from fgexpo.rewards import Accuracy, Overlong
from fgexpo.rollout.waves import Refill

OPTIONS = {
    "group_size": 6,
    "verifier": EvenIsRight(),
    "rewards": [Accuracy(), Overlong(8, 8, weight=0.5)],
    "refill": Refill(2),
}


class Table(Callback):
    """What the curriculum knew of a step's questions before it saw how they went."""

    def __init__(self):
        self.known = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.known.append(trainer.datamodule.pass_rates(batch.source.index_Q).clone())


# One that judges by question, one over the batch, one by what is known; a second each.
FAST = (PassAtK, ReinforcePlusPlus, CompetenceExponent)
RUNS = [
    pytest.param(row, id=row.name, marks=() if type(row.estimator) in FAST else pytest.mark.slow)
    for row in ROWS
    if row.name not in ("`PassAtK(2)`", "`PassAtK(4, over_std)`")
]


@pytest.mark.parametrize("row", RUNS)
def test_with_akl_gcs_and_dynamic_sampling(model_folder, tmp_path, row):
    """Under a shaped reward: training's advantages are the estimator's own, and so is a signal."""
    table, data = Table(), make_data(decay=0.5, refresh="step")
    callbacks = [AKLCallback(), table]
    options = {**OPTIONS, "advantages": row.estimator, "kl_coef": 0.1}
    _, _, recorder = fit(model_folder, tmp_path, 2, callbacks, data, **options)
    for batch, known_Q in zip(recorder.batches, table.known, strict=True):
        expected = row.estimator.judge(batch.reward_N, Groups([6] * 4), Known(known_Q))
        assert torch.equal(batch.advantages_N, expected)
        moved_Q = (batch.advantages_N.view(4, 6) != 0).any(1)
        assert row.estimator.has_signal(batch.reward_N.view(-1, 6)).tolist() == moved_Q.tolist()
        assert moved_Q.sum() == min(4, int(batch.asked.informative_A.sum()))
    assert any(len(set(batch.reward_N.tolist())) > 2 for batch in recorder.batches)


# Two processes a case.
@pytest.mark.slow
@pytest.mark.parametrize("estimator", [CompetenceExponent(), ReinforcePlusPlus()], ids=type)
def test_two_processes_equal_one(model_folder, tmp_path, estimator):
    """What is known, and what is compared, is that of the questions of both."""
    check(model_folder, tmp_path, {"advantages": estimator})


# A run for every step at which it may be cut.
@pytest.mark.slow
def test_what_is_known_is_resumed(model_folder, tmp_path):
    check_every_cut(model_folder, tmp_path, "step", cuts=FEWER, advantages=CompetenceExponent())


class Never(EvenIsRight):
    def verify(self, questions, texts):
        return [each._replace(correct=False) for each in super().verify(questions, texts)]


def test_groups_that_are_all_wrong_teach_what_to_leave(model_folder, tmp_path):
    """Dynamic sampling asks once where they have a signal, and to the end where they have none."""
    options = {**OPTIONS, "verifier": Never(), "rewards": None}
    for estimator, waves in ((NegativeWeighted(0.0), 1), (PassAtK(4), 2)):
        _, _, recorder = fit(model_folder, tmp_path, 1, advantages=estimator, **options)
        (batch,), (metrics,) = recorder.batches, recorder.metrics
        assert batch.asked.waves == waves and metrics["frac_reward_zero_std"] == waves - 1
        assert batch.advantages_N.unique().tolist() == [-1.0 if waves == 1 else 0.0]


def test_k_and_the_size_of_groups(model_folder):
    words = r"model\.advantages\.k = 4 must be below the fewest rollouts .*, 4 \(model\.group_size"
    with pytest.raises(ValueError, match=words):
        make_module(model_folder, advantages=PassAtK(4), group_size=4)


# No data is the point.
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
def test_pass_rates_that_nobody_keeps(model_folder, tmp_path):
    """Refused before any weight is loaded."""
    module = make_module(model_folder, advantages=CompetenceExponent())
    trainer = make_trainer(tmp_path, 1)
    with pytest.raises(ValueError, match=r"CompetenceExponent reads the questions' pass-rates: it"):
        trainer.fit(module, DataLoader([0]))
    assert module.policy is None
