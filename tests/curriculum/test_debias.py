"""Pass-rates corrected for where their averages started: by hand, in every curriculum, resumed."""

import json

import pytest
import torch
from helpers import EvenIsRight, make_data, make_module, make_trainer
from lightning.pytorch import Callback
from near import same

from fgexpo.callbacks import RolloutCheckpoint
from fgexpo.curriculum import (
    Curriculum,
    Gaussian,
    HardFilter,
    Learnability,
    PassRateTable,
    Shared,
    Thompson,
    TowardsHard,
    Uniform,
)
from fgexpo.questions import Question
from fgexpo.robustness.checkpoint import AtomicCheckpointIO


def table(outcomes, decay=0.5, debias=True, initial=0.5):
    """A table that has seen these pass-rates of question 0, 1, ..., the oldest first."""
    made = PassRateTable(len(outcomes), decay, initial, debias)
    for row, rates in enumerate(outcomes):
        for rate in rates:
            made.update(torch.tensor([row]), torch.tensor([rate], dtype=torch.float64))
    return made


def test_one_failed_visit_by_hand():
    assert table([[0.0], []], debias=False).pass_rates.tolist() == [0.25, 0.5]
    assert table([[0.0], []]).pass_rates.tolist() == [0.0, 0.5]
    assert table([[0.0], []]).averages.tolist() == [0.25, 0.5], "what is kept is not corrected"


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("initial", [0.0, 0.3, 1.0])
def test_it_is_the_weighted_mean_of_the_outcomes(decay, initial):
    generator = torch.Generator().manual_seed(3)
    outcomes = [torch.rand(n, generator=generator, dtype=torch.float64) for n in (1, 2, 7, 60)]
    found = table([rates.tolist() for rates in outcomes], decay, initial=initial).pass_rates
    expected = []
    for rates in outcomes:
        weights = [decay**age for age in reversed(range(len(rates)))]
        total = sum(w * float(rate) for w, rate in zip(weights, rates, strict=True))
        expected.append(total / sum(weights))
    same(found, expected)


def test_rounding_leaves_a_rate_in_its_range():
    for decay in (0.1, 0.9, 0.999):
        made = table([[0.0] * n for n in range(1, 9)] + [[1.0] * n for n in range(1, 9)], decay)
        assert made.pass_rates.min() >= 0 and made.pass_rates.max() <= 1
        same(made.pass_rates, torch.tensor([0.0, 1.0], dtype=torch.float64).repeat_interleave(8))


# Once failed, once solved, half solved, never asked.
SEEN = [[0.0], [1.0], [0.5, 0.5], []]


@pytest.mark.parametrize("inner", [Gaussian(), HardFilter(), TowardsHard(), Learnability()])
def test_every_curriculum_reads_the_corrected_rates(inner):
    told = PassRateTable(4)
    told.averages = torch.tensor([0.0, 1.0, 0.5, 0.5], dtype=torch.float64)
    same(inner.weights(table(SEEN)), inner.weights(told))
    assert not torch.equal(inner.weights(table(SEEN, debias=False)), inner.weights(told))


def test_those_that_read_no_rates_change_nothing():
    for made in (Uniform, Thompson):
        on, off = (made().weights(table(SEEN, debias=debias)) for debias in (True, False))
        assert torch.equal(on, off)


def grouped(names):
    shared = Shared("kind", strength=2.0, inner=Gaussian(0.5, 0.2))
    shared.prepare([Question(str(row), "?", "1", {"kind": name}) for row, name in enumerate(names)])
    return shared


def test_sharing_shrinks_corrected_rates_by_hand():
    """Group a: 0 after one visit, 1 after two, so (0 + 2) / 3; group b was never asked."""
    made = table([[0.0], [1.0, 1.0], [], []])
    shared = grouped("aaab")
    mean = 2 / 3
    expected = [(0 + 2 * mean) / 3, (2 + 2 * mean) / 4, mean, 0.5]
    same(shared.rates(made), expected)
    same(shared.weights(made), [2.718281828459045 ** -((p - 0.5) ** 2 / 0.08) for p in expected])
    assert made.debias and made.averages.tolist() == [0.25, 0.875, 0.5, 0.5], "it is left as it was"


def test_the_statistics_are_of_corrected_rates():
    assert table([[0.0], [1.0], []], debias=False).metrics()["frac_frontier"] == 1
    found = table([[0.0], [1.0], []]).metrics()
    assert found == {"frac_seen": 2 / 3, "frac_frontier": 0.0, "mean_pass_rate": 0.5}


class Asks(Callback):
    """What the data module says of the questions before it learns of the step, and after."""

    def __init__(self):
        self.before, self.after, self.shared = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before.append(batch.known.pass_rate_Q)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        data, index = trainer.datamodule, batch.source.index_Q
        self.after.append(data.pass_rates(index))
        self.shared.append(data.curriculum.rates(data.table)[index])


def run(folder, tmp_path, steps, resume=None, callbacks=(), **data):
    saver = RolloutCheckpoint(every_steps=1, keep=None, dirpath=str(tmp_path))
    trainer = make_trainer(
        tmp_path,
        steps,
        [saver, *callbacks],
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
    )
    made = make_data(**{"decay": 0.5, "refresh": "step", "debias": True, **data})
    trainer.fit(make_module(folder, verifier=EvenIsRight()), made, ckpt_path=resume)
    return made


@pytest.fixture(scope="module")
def whole(model_folder, tmp_path_factory):
    """A run of six steps, its checkpoints, and what was asked of its data module."""
    tmp_path, asks = tmp_path_factory.mktemp("whole"), Asks()
    shared = Shared("level", inner=Gaussian(0.5, 0.2))
    data = run(model_folder, tmp_path, 6, callbacks=[asks], curriculum=shared)
    return data, tmp_path, asks


def test_an_advantage_is_told_the_curriculums_own_estimate(whole):
    data, _, asks = whole
    assert all(rates.tolist() == [0.5] * 4 for rates in asks.before[:1])
    for after, shared in zip(asks.after, asks.shared, strict=True):
        assert torch.equal(after, shared)
    assert not torch.equal(data.curriculum.rates(data.table), data.table.pass_rates)


def test_a_resumed_run_goes_on_with_the_same_rates(model_folder, tmp_path, whole):
    data, folder, _ = whole
    shared = Shared("level", inner=Gaussian(0.5, 0.2))
    path = str(folder / "step=000003.ckpt")
    again = run(model_folder, tmp_path, 6, path, curriculum=shared)
    assert torch.equal(again.table.averages, data.table.averages)
    assert torch.equal(again.table.pass_rates, data.table.pass_rates)
    assert torch.equal(again.sampler.weights, data.sampler.weights)


def test_it_may_be_switched_on_at_a_resumption(model_folder, tmp_path):
    """What is kept is the same, so that only the reading changes."""
    run(model_folder, tmp_path, 2, debias=False)
    path = str(tmp_path / "step=000002.ckpt")
    data = run(model_folder, tmp_path, 3, path)
    seen = data.table.visits > 0
    assert data.table.debias and (data.table.pass_rates != data.table.averages)[seen].any()
    with pytest.raises(ValueError, match=r"data\.debias: .* data\.decay = 0\.5, .* uses 0\.9"):
        run(model_folder, tmp_path, 3, path, decay=0.9)
    # Without the correction another decay is nobody's business, but it is remembered.
    run(model_folder, tmp_path, 3, path, decay=0.9, debias=False)
    with pytest.raises(ValueError, match=r"data\.decay = 0\.5 and 0\.9"):
        run(model_folder, tmp_path, 4, str(tmp_path / "step=000003.ckpt"), decay=0.9)


def test_an_older_checkpoint_has_no_decay(model_folder, tmp_path):
    run(model_folder, tmp_path, 1)
    path = tmp_path / "step=000001.ckpt"
    saved = torch.load(path, weights_only=True)
    del saved["CurriculumDataModule"]["decays"]
    torch.save(saved, path)
    with pytest.raises(ValueError, match=r"data\.debias: the checkpoint is of an earlier version"):
        run(model_folder, tmp_path, 2, str(path))
    assert run(model_folder, tmp_path, 2, str(path), debias=False).step == 2


def test_a_warm_start_holds_what_is_kept(tmp_path, whole):
    data, _, _ = whole
    path = tmp_path / "rates.json"
    data.save_pass_rates(path)
    found = json.loads(path.read_text())
    row, question = next(
        (row, q) for row, q in enumerate(data.pool.questions) if data.table.visits[row] == 1
    )
    assert found[question.id] == [float(data.table.averages[row]), 1]

    def started(**options):
        again = make_data(**{"decay": 0.5, "debias": True, "warm_start": str(path), **options})
        again.trainer = data.trainer
        again.setup("fit")
        return again

    assert torch.equal(started().table.pass_rates, data.table.pass_rates)
    path.write_text(json.dumps({question.id: [0.25, 1]}))
    assert float(started().table.pass_rates[row]) == 0
    with pytest.raises(ValueError, match=r"0\.25 after 1 visits, .* data\.decay = 0\.9 does not"):
        started(decay=0.9)
    assert float(started(decay=0.9, debias=False).table.pass_rates[row]) == 0.25


def test_a_curriculum_without_an_estimate_of_its_own_has_the_tables():
    assert Curriculum.rates(Uniform(), table(SEEN)).tolist() == [0.0, 1.0, 0.5, 0.5]
