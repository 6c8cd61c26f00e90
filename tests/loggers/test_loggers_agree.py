"""Every logger gets what TensorBoard gets, and a killed run's curve is one curve in each."""

import csv
import json
import os
import re
import signal
import time
from pathlib import Path

import near
import pytest
from click.testing import CliRunner
from helpers import EvenIsRight, make_data, make_module, make_trainer
from lightning.pytorch import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from logged import (
    csv_scalars,
    mlflow_runs,
    mlflow_scalars,
    wandb_ends,
    wandb_objects,
    wandb_records,
    wandb_rows,
    wandb_scalars,
)
from matplotlib.image import imread
from processes import start, wait

from fgexpo.callbacks import (
    AKLCallback,
    FrontierImages,
    HParams,
    RolloutCheckpoint,
    TensorBoardPanels,
)
from fgexpo.figures.events import curves, read_run
from fgexpo.loggers import CSVRun, MLflowRun, WandbRun
from fgexpo.loggers.mlflow import metric_name

VARIABLES = ("WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI")
STEPS = 6
# Of the clock, so that no two starts of a run log the same.
# What rounding alone makes of a difference of float64 log-probs.
NOISE = 1e-12
TIMES = ("time/", "train/step_time", "step_time", "reward/seconds")


class Killed(Callback):
    """Kills the process in its fourth step, whose panels are written and whose scalars are not."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.rollout_step == 4:
            time.sleep(0.5)  # longer than what a kill may lose in Weights & Biases
            os.kill(os.getpid(), signal.SIGKILL)


def train(model_folder, folder, steps=STEPS, callbacks=()):
    """A start of a run with all loggers in one folder; it resumes if there is a checkpoint."""
    last = folder / "checkpoints" / "last.ckpt"
    resume = last.exists()
    loggers = [
        TensorBoardLogger(folder.parent, name="", version=folder.name),
        WandbRun(name="mine", folder=folder, resume=resume, offline=True),
        MLflowRun(name="mine", folder=folder, save_dir=folder.parent, resume=resume),
        CSVRun(folder.parent, name="", version=folder.name, resume=resume),
    ]
    panels = [HParams(), FrontierImages(every_steps=1), TensorBoardPanels(every_steps=1)]
    saver = RolloutCheckpoint(every_steps=2, keep=None)
    options = {"enable_checkpointing": True, "limit_val_batches": 1.0, "val_check_interval": 2}
    options |= {"check_val_every_n_epoch": None, "num_sanity_val_steps": 0, "log_every_n_steps": 1}
    callbacks = [*panels, saver, AKLCallback(), *callbacks]
    trainer = make_trainer(folder.parent, steps, callbacks, logger=loggers, **options)
    checkpoint = str(last) if resume else None
    module = make_module(model_folder, verifier=EvenIsRight())
    trainer.fit(module, make_data(), ckpt_path=checkpoint)


def train_until_killed(model_folder, folder):
    train(model_folder, folder, callbacks=[Killed()])


@pytest.fixture(scope="module")
def folder(model_folder, tmp_path_factory):
    """The folder of a run that was killed in its fourth step and resumed from its second."""
    folder = tmp_path_factory.mktemp("runs") / "version_0"
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_MODE", "offline")
        log = folder.with_name("killed.log")
        process = start(train_until_killed, model_folder, folder, log=log)
        assert wait([process]) == [-signal.SIGKILL], log.read_text()
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        [run] = mlflow_runs(folder)[1]
        assert run.info.status == "RUNNING"
        assert not json.loads((folder / "settings.json").read_text())["finished"]
        assert wandb_ends(folder) == [None]
        train(model_folder, folder)
        yield folder


@pytest.fixture(scope="module")
def drawn(folder):
    """What TensorBoard draws: steps and values by tag."""
    found = curves(read_run(folder).scalars)
    return {tag: list(zip(*map(list, pair), strict=True)) for tag, pair in found.items()}


def check(found, drawn, first=False):
    """The same curves; where the first value of a step stays, times of repeated steps differ."""
    assert found.keys() == drawn.keys()
    for tag, points in drawn.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points], tag
        values, expected = ([value for _, value in pairs] for pairs in (found[tag], points))
        if first and max(map(abs, expected)) < NOISE:  # of a repeated step, it is noise twice
            assert max(map(abs, values)) < NOISE, tag
        elif not (first and tag.startswith(TIMES)):
            near.logged(values, expected)


def test_the_run_has_every_step_once(drawn):
    assert [step for step, _ in drawn["accuracy"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in drawn["val/tiny/pass@1"]] == [2, 4, 6]


def test_csv_has_tensorboards_scalars_one_row_a_step(folder, drawn):
    check(csv_scalars(folder), drawn)
    assert len((folder / "metrics.csv").read_text().splitlines()) == 1 + STEPS


def test_wandb_has_tensorboards_scalars_in_rows_that_only_grow(folder, drawn):
    check(wandb_scalars(folder), drawn, first=True)
    numbers = [row["_step"] for row in wandb_rows(folder)]
    assert numbers == list(range(len(numbers))), "wandb sync would drop rows"
    ids = {r.run.run_id for start in wandb_records(folder) for r in start if r.HasField("run")}
    assert len(ids) == 1 and wandb_ends(folder) == [None, 0]


def test_mlflow_has_tensorboards_scalars_under_its_own_spelling(folder, drawn):
    client, [run] = mlflow_runs(folder)
    check(
        mlflow_scalars(client, run),
        {metric_name(tag): points for tag, points in drawn.items()},
        first=True,
    )
    assert run.info.status == "FINISHED" and run.info.run_name == "version_0"
    assert run.data.tags["folder"] == str(folder)


def test_panels_are_written_once_a_step(folder):
    steps, files = list(range(1, STEPS + 1)), [f"step={step:06d}" for step in range(1, STEPS + 1)]
    found = wandb_objects(folder)
    assert found.pop(("completions", "table-file")) == steps
    assert found.pop(("curriculum/frontier", "image-file")) == steps
    histograms = {tag for tag, kind in found if kind == "histogram"}
    assert histograms == {"curriculum/pass_rates_seen", "curriculum/weights", "completions/length"}
    assert all(each == steps for each in found.values())

    client, [run] = mlflow_runs(folder)
    images = [each.path for each in client.list_artifacts(run.info.run_id, "images")]
    shown = sorted(int(path.split("+")[2]) for path in images if path.endswith(".png"))
    assert shown == steps
    tables = [each.path for each in client.list_artifacts(run.info.run_id, "completions")]
    assert sorted(tables) == [f"completions/{name}.csv" for name in files]

    assert sorted(path.stem for path in (folder / "completions").iterdir()) == files
    with (folder / "completions" / "step=000003.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head[:4] == ["question", "gold", "rollouts", "completion"]
    assert len(rows) == 4 and {row[2] for row in rows} == {"4 of 4"}
    frontier = folder / "curriculum" / "frontier"
    assert sorted(path.stem for path in frontier.iterdir()) == files
    assert imread(frontier / "step=000003.png").shape[:2] == (600, 460)


def test_settings_are_those_of_tensorboard(folder):
    [run] = mlflow_runs(folder)[1]
    kept = json.loads((folder / "settings.json").read_text())
    assert kept["finished"] and kept["settings"]["akl"] == "AKLCallback"
    assert {name: str(value) for name, value in kept["settings"].items()} == run.data.params
    updates = [
        {item.key: json.loads(item.value_json) for item in record.config.update}
        for record in wandb_records(folder)[0]
        if record.HasField("config")
    ]
    written = {name: value for update in updates for name, value in update.items()}
    assert {**kept["settings"], "folder": str(folder)}.items() <= written.items()


def test_the_page_says_how_to_read_and_upload(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "runs" / "tiny" / "version_0"
    place.parent.mkdir(parents=True)
    place.symlink_to(folder)
    page = (Path(__file__).parents[2] / "docs" / "loggers.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})
    assert "accuracy" in capsys.readouterr().out

    from mlflow.environment_variables import MLFLOW_ALLOW_FILE_STORE
    from wandb.cli.cli import cli

    (pattern,) = re.findall(r"^wandb (sync) (.*)$", page, re.MULTILINE)
    starts = sorted(str(path) for path in tmp_path.glob(pattern[1]))
    assert len(starts) == 2
    told = CliRunner().invoke(cli, ["sync", "--dry-run", *starts])
    assert told.exit_code == 0 and all(Path(each).name in told.output for each in starts)
    assert f"\n{MLFLOW_ALLOW_FILE_STORE.name}=true mlflow ui" in page
