"""Numbers logged the short way end up where Lightning puts them, bit for bit."""

from collections import Counter

import pytest
from helpers import fit, make_data
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from fgexpo.callbacks import AKLCallback
from fgexpo.figures.events import read_run
from fgexpo.update.quick_log import QuickLog

CLOCK = ("time/", "step_time", "reward/seconds")


class OfEveryKind(Callback):
    """Logs what a callback may: for the bar, for an epoch, as a tensor, and now and then."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        step = pl_module.rollout_step
        pl_module.log("own/bar", step / 3, prog_bar=True)
        pl_module.log("own/count", step)
        pl_module.log("own/hidden", -step / 7, logger=False)
        pl_module.log("own/tensor", batch.reward_N.mean())
        pl_module.log("own/mean", step / 3, on_step=False, on_epoch=True, batch_size=step + 1)
        pl_module.log("own/both", step / 3, on_step=True, on_epoch=True, batch_size=1)
        if step % 3 == 1:
            pl_module.log("own/sometimes", step / 5)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        kinds = (trainer.callback_metrics, trainer.progress_bar_metrics, trainer.logged_metrics)
        self.seen.append([_without_clock(kind) for kind in kinds])

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("own/epoch", float(pl_module.rollout_step))


def _without_clock(metrics):
    return {tag: float(x) for tag, x in metrics.items() if not tag.startswith(CLOCK)}


def trained(model_folder, folder):
    """What callbacks saw after each step, and the rows of the event file in order."""
    callback = OfEveryKind()
    logger = TensorBoardLogger(folder, name="", version="")
    fit(
        model_folder,
        folder,
        steps=9,
        callbacks=[AKLCallback(), callback],
        data=make_data(steps_per_epoch=4, refresh="step"),
        trainer={
            "logger": logger,
            "log_every_n_steps": 1,
            "limit_val_batches": None,
            "val_check_interval": 6,
            "check_val_every_n_epoch": None,
        },
    )
    rows = [(row.tag, row.step, row.value) for row in read_run(folder).scalars]
    return callback.seen, [row for row in rows if not row[0].startswith(CLOCK)]


def test_events_and_metrics_are_those_of_lightning(model_folder, tmp_path, monkeypatch):
    quick, short_way = Counter(), QuickLog._log_again

    def counted(self, name, value, given):
        done = short_way(self, name, value, given)
        quick[name] += done
        return done

    monkeypatch.setattr(QuickLog, "_log_again", counted)
    seen, rows = trained(model_folder, tmp_path / "short")
    monkeypatch.setattr(QuickLog, "_log_again", lambda *args: False)
    expected_seen, expected_rows = trained(model_folder, tmp_path / "long")
    assert seen == expected_seen
    assert rows == expected_rows and len(rows) > 300
    # Nine steps in epochs of four, whose first steps are Lightning's: 3 + 3 + 0 are left.
    assert quick["loss"] == quick["accuracy"] == quick["akl/kl_coef"] == 6
    assert quick["own/bar"] == quick["own/count"] == quick["own/hidden"] == 6
    assert not any(quick[f"own/{tag}"] for tag in ("tensor", "mean", "both", "epoch"))


def test_other_options_are_refused_as_lightning_does(model_folder, tmp_path):
    class Changes(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            pl_module.log("own", 1.0, prog_bar=batch_idx == 2)

    with pytest.raises(MisconfigurationException, match="twice"):
        fit(model_folder, tmp_path, steps=3, callbacks=[Changes()])
